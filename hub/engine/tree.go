// The repository as far as it was read, and what turns out to be needed beside that.
package main

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// tree is the repository as far as it was read.
type tree struct {
	files   map[string]*file
	skipped map[string]skipped
	// folders hold the names of what is directly below.
	folders map[string]map[string]bool
	read    []string
	// needs are paths that were asked for and lie outside of what was read.
	needs map[string]bool
}

func newTree(request *request) *tree {
	made := &tree{
		files:   make(map[string]*file, len(request.Files)),
		skipped: make(map[string]skipped, len(request.Skipped)),
		folders: map[string]map[string]bool{"": {}},
		read:    request.Read,
		needs:   map[string]bool{},
	}
	for index := range request.Files {
		entry := &request.Files[index]
		made.files[entry.Path] = entry
		made.addBelow(entry.Path)
	}
	for _, entry := range request.Skipped {
		made.skipped[entry.Path] = entry
		made.addBelow(entry.Path)
	}
	return made
}

func (tree *tree) addBelow(file string) {
	for below := file; below != "" && below != "/"; {
		folder := parentOf(below)
		names := tree.folders[folder]
		known := names != nil
		if !known {
			names = map[string]bool{}
			tree.folders[folder] = names
		}
		names[path.Base(below)] = true
		if known {
			return
		}
		below = folder
	}
}

// isRead says whether the tree knows all that Git has at the path; if not, the path is noted as needed.
func (tree *tree) isRead(wanted string) bool {
	for _, folder := range tree.read {
		if isWithin(wanted, folder) {
			return true
		}
	}
	tree.needs[wanted] = true
	return false
}

func (tree *tree) neededPaths() []string {
	return slices.Sorted(maps.Keys(tree.needs))
}

func (tree *tree) isFolder(wanted string) bool {
	return tree.folders[wanted] != nil
}

// filesBelow are the files of a folder by their path in it, sorted.
func (tree *tree) filesBelow(folder string) []string {
	var found []string
	for name := range tree.files {
		if name != folder && isWithin(name, folder) {
			found = append(found, strings.TrimPrefix(strings.TrimPrefix(name, folder), "/"))
		}
	}
	slices.Sort(found)
	return found
}

// isWithin says whether a path is a folder or below it. What is not of the repository begins with a slash, and is not below
// its root.
func isWithin(name, folder string) bool {
	if folder == "" {
		return !strings.HasPrefix(name, "/")
	}
	return name == folder || strings.HasPrefix(name, folder+"/")
}

func parentOf(name string) string {
	slash := strings.LastIndexByte(name, '/')
	if slash == 0 {
		return "/"
	}
	if slash > 0 {
		return name[:slash]
	}
	return ""
}

// resolve joins a path as it stands in a file of a folder; false when it leads out of the repository.
func resolve(folder, written string) (string, bool) {
	if root := remoteRoot(folder); root != "" {
		joined := path.Join(folder, written)
		return joined, joined == root || strings.HasPrefix(joined, root+"/")
	}
	joined := path.Join("/"+mount, folder, written)
	if joined == "/"+mount {
		return "", true
	}
	inside, found := strings.CutPrefix(joined, "/"+mount+"/")
	return inside, found
}
