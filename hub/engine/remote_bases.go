// Remote bases: folders of other Git repositories, at a commit. The hub brings them, if their repository is declared; Kustomize
// sees them beside the repository.
package main

import (
	"bytes"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// remotes is where the paths of remote bases begin: /git/<address>/<commit>/<folder> (hub/server/mounts.ts).
const remotes = "/git/"

var commitID = regexp.MustCompile(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`)

// remoteBase is the path of what a kustomization names by an address, or why it is none.
func remoteBase(written string) (string, error) {
	address, query, _ := strings.Cut(strings.TrimPrefix(written, "git::"), "?")
	hasScheme := strings.HasPrefix(address, "https://") || strings.HasPrefix(address, "http://") || strings.HasPrefix(address, "ssh://")
	isShort := strings.Contains(address, "@") && strings.Contains(address, ":")
	if !hasScheme && !isShort {
		return "", fmt.Errorf("is remote; write the whole address: https://<host>/<repository>//<folder>?ref=<commit>")
	}
	scheme, rest, _ := strings.Cut(address, "://")
	if !hasScheme {
		scheme, rest = "", address
	}
	repository, folder, isSplit := strings.Cut(rest, "//")
	if !isSplit {
		if before, after, ok := strings.Cut(rest, ".git/"); ok {
			repository, folder = before+".git", after
		}
	}
	parameters, err := url.ParseQuery(query)
	if err != nil {
		return "", fmt.Errorf("is remote, and what follows the question mark cannot be read")
	}
	commit := parameters.Get("ref")
	if commit == "" {
		commit = parameters.Get("version")
	}
	if !commitID.MatchString(commit) {
		return "", fmt.Errorf("is remote and not pinned; give the full id of a commit: ?ref=<40 hexadecimal digits>")
	}
	folder = path.Clean("/" + folder)[1:]
	if scheme != "" {
		repository = scheme + "://" + repository
	}
	return path.Join(remotes+url.PathEscape(strings.TrimRight(repository, "/")), commit, folder), nil
}

// remoteRoot is the root of the repository that a path of a remote base is in; empty for other paths.
func remoteRoot(name string) string {
	if !strings.HasPrefix(name, remotes) {
		return ""
	}
	parts := strings.SplitN(name, "/", 5)
	if len(parts) < 4 {
		return ""
	}
	return strings.Join(parts[:4], "/")
}

// replaceRemote has Kustomize see a path in place of an address, which it would try to fetch.
func (found *references) replaceRemote(at place, written, target string) {
	content := found.replaced[at.file]
	if content == nil {
		content = found.tree.files[at.file].bytes
	}
	lines := bytes.Split(content, []byte("\n"))
	line := lines[at.line-1]
	if !bytes.Contains(line, []byte(written)) {
		found.refuse(at, renderFailed, "an address must stand on one line as it is")
		return
	}
	// Up to the root of what Kustomize sees.
	up := strings.Repeat("../", strings.Count(shownAt(at.folder), "/"))
	replacement := []byte(`"` + up + strings.TrimPrefix(target, "/") + `"`)
	for _, quoted := range []string{`"` + written + `"`, "'" + written + "'", written} {
		if bytes.Contains(line, []byte(quoted)) {
			line = bytes.Replace(line, []byte(quoted), replacement, 1)
			break
		}
	}
	lines[at.line-1] = line
	found.replaced[at.file] = bytes.Join(lines, []byte("\n"))
}
