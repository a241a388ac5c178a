// The repository as the file system that Kustomize reads from.
package main

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// mount is where Kustomize sees the repository: one level deep, so that a path that leads out of it is seen to.
const mount = "repository"

// fileSystem shows a tree to Kustomize. It cannot be written to, and knows nothing but the tree.
type fileSystem struct {
	tree *tree
	// replaced are files that Kustomize sees otherwise than they are, by path.
	replaced map[string][]byte
}

var _ filesys.FileSystem = fileSystem{}

func notThere(name string) error {
	return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func readOnly(name string) error {
	return fmt.Errorf("%s: files cannot be written here", name)
}

// find is the path in the repository; false when it leads out of it, or is still to be read.
func (system fileSystem) find(name string) (string, bool) {
	if !path.IsAbs(name) {
		name = path.Join("/"+mount, name)
	}
	if clean := path.Clean(name); strings.HasPrefix(clean, remotes) {
		return clean, system.tree.isRead(clean)
	}
	found, isInside := strings.CutPrefix(path.Clean(name)+"/", "/"+mount+"/")
	found = strings.TrimSuffix(found, "/")
	return found, isInside && system.tree.isRead(found)
}

// shownAt is where Kustomize sees a path.
func shownAt(name string) string {
	if strings.HasPrefix(name, remotes) {
		return name
	}
	return path.Join("/"+mount, name)
}

func (system fileSystem) IsDir(name string) bool {
	found, ok := system.find(name)
	return ok && system.tree.isFolder(found)
}

func (system fileSystem) Exists(name string) bool {
	found, ok := system.find(name)
	return ok && (system.tree.isFolder(found) || system.tree.files[found] != nil)
}

func (system fileSystem) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	found, ok := system.find(name)
	switch {
	case !ok:
		return "", "", notThere(name)
	case system.tree.isFolder(found):
		return filesys.ConfirmedDir(shownAt(found)), "", nil
	case system.tree.files[found] != nil:
		return filesys.ConfirmedDir(shownAt(parentOf(found))), path.Base(found), nil
	}
	return "", "", notThere(name)
}

func (system fileSystem) ReadFile(name string) ([]byte, error) {
	found, ok := system.find(name)
	if !ok {
		return nil, notThere(name)
	}
	if content := system.content(found); content != nil {
		return content, nil
	}
	if entry, ok := system.tree.skipped[found]; ok {
		return nil, fmt.Errorf("%s: %s", found, entry.Message)
	}
	if system.tree.isFolder(found) {
		return nil, fmt.Errorf("%s is a folder", found)
	}
	return nil, notThere(name)
}

// content is what Kustomize sees of a file; nil when there is none.
func (system fileSystem) content(name string) []byte {
	if replaced, ok := system.replaced[name]; ok {
		return replaced
	}
	if entry := system.tree.files[name]; entry != nil {
		return entry.bytes
	}
	return nil
}

func (system fileSystem) ReadDir(name string) ([]string, error) {
	found, ok := system.find(name)
	if !ok || !system.tree.isFolder(found) {
		return nil, notThere(name)
	}
	return slices.Sorted(maps.Keys(system.tree.folders[found])), nil
}

func (system fileSystem) Glob(pattern string) ([]string, error) {
	var matches []string
	for name := range system.tree.files {
		matched, err := path.Match(path.Clean(pattern), shownAt(name))
		if err != nil {
			return nil, err
		}
		if matched {
			matches = append(matches, shownAt(name))
		}
	}
	slices.Sort(matches)
	return matches, nil
}

func (system fileSystem) Walk(name string, _ filepath.WalkFunc) error { return notThere(name) }

func (system fileSystem) Open(name string) (filesys.File, error) { return nil, notThere(name) }

func (system fileSystem) Create(name string) (filesys.File, error) { return nil, readOnly(name) }

func (system fileSystem) Mkdir(name string) error { return readOnly(name) }

func (system fileSystem) MkdirAll(name string) error { return readOnly(name) }

func (system fileSystem) RemoveAll(name string) error { return readOnly(name) }

func (system fileSystem) WriteFile(name string, _ []byte) error { return readOnly(name) }
