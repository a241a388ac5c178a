// Dependencies of a chart that are not in its charts/: read from where Chart.yaml says, in the versions of Chart.lock.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

// loadWithDependencies reads the chart, and with it what `helm dependency build` would put into its charts/.
func (rendering *helmRendering) loadWithDependencies() error {
	files, err := rendering.chartFiles()
	if err != nil {
		return err
	}
	if rendering.chart, err = loadFiles(files); err != nil {
		return err
	}
	missing := rendering.missingDependencies()
	if len(missing) == 0 {
		return nil
	}
	for _, dependency := range missing {
		fetched, err := rendering.dependencyFiles(dependency)
		if err != nil {
			return err
		}
		files = append(files, fetched...)
	}
	if len(rendering.request.tree.needs) > 0 {
		return fmt.Errorf("dependencies are still to be read")
	}
	rendering.chart, err = loadFiles(files)
	return err
}

func loadFiles(files []*archive.BufferedFile) (*chart.Chart, error) {
	loaded, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("the chart cannot be read: %w", err)
	}
	return loaded, nil
}

// missingDependencies are those that are not in charts/, each name once: aliases share a chart.
func (rendering *helmRendering) missingDependencies() []*chart.Dependency {
	seen := map[string]bool{}
	for _, dependency := range rendering.chart.Dependencies() {
		seen[dependency.Name()] = true
	}
	var missing []*chart.Dependency
	for _, dependency := range rendering.chart.Metadata.Dependencies {
		if dependency == nil || seen[dependency.Name] {
			continue
		}
		seen[dependency.Name] = true
		missing = append(missing, dependency)
	}
	return missing
}

// dependencyFiles are the files of a dependency by where they belong in the chart; none as long as they are still to be read.
func (rendering *helmRendering) dependencyFiles(dependency *chart.Dependency) ([]*archive.BufferedFile, error) {
	folder, err := rendering.folderOf(dependency)
	if err != nil {
		return nil, err
	}
	tree := rendering.request.tree
	if !tree.isRead(folder) {
		return nil, nil
	}
	for _, name := range slices.Sorted(maps.Keys(tree.skipped)) {
		if isWithin(name, folder) {
			entry := tree.skipped[name]
			return nil, rendering.dependencyProblem(entry.Code, "%s: %s", dependency.Name, entry.Message)
		}
	}
	var files []*archive.BufferedFile
	for _, below := range tree.filesBelow(folder) {
		data := bytes.TrimPrefix(tree.files[path.Join(folder, below)].bytes, utf8bom)
		files = append(files, &archive.BufferedFile{Name: path.Join("charts", dependency.Name, below), Data: data})
	}
	if len(files) == 0 {
		return nil, rendering.dependencyProblem(pathNotFound, "%s: there is no chart at %s", dependency.Name, dependency.Repository)
	}
	return files, nil
}

// folderOf is where the hub puts a dependency: a folder of the repository, or for what is elsewhere a path that begins with
// a slash (hub/server/mounts.ts).
func (rendering *helmRendering) folderOf(dependency *chart.Dependency) (string, error) {
	address := dependency.Repository
	switch {
	case address == "":
		return "", rendering.dependencyProblem(renderFailed, "%s is not in charts/, and no repository is given for it", dependency.Name)
	case strings.HasPrefix(address, "file://"):
		folder, isInside := resolve(rendering.request.Path, strings.TrimPrefix(address, "file://"))
		if !isInside || strings.HasPrefix(address, "file:///") {
			return "", rendering.dependencyProblem(unsafePath, "%s: %s leads out of the repository", dependency.Name, address)
		}
		if folder == "" || isWithin(rendering.request.Path, folder) {
			return "", rendering.dependencyProblem(unsafePath, "%s: %s is a folder that the chart is in", dependency.Name, address)
		}
		return folder, nil
	case !strings.HasPrefix(address, "https://") && !strings.HasPrefix(address, "http://") && !strings.HasPrefix(address, "oci://"):
		return "", rendering.dependencyProblem(renderFailed,
			"%s: %s is a name that somebody's own Helm knows; write the address of the repository", dependency.Name, shorten(address))
	}
	version, err := rendering.lockedVersion(dependency)
	if err != nil {
		return "", err
	}
	return "/charts/" + url.PathEscape(strings.TrimRight(address, "/")) + "/" + url.PathEscape(dependency.Name) + "/" +
		url.PathEscape(version), nil
}

// lockedVersion is the version in Chart.lock, which must be that of this Chart.yaml: a range would be another chart tomorrow.
func (rendering *helmRendering) lockedVersion(dependency *chart.Dependency) (string, error) {
	lock := rendering.chart.Lock
	if lock == nil {
		return "", rendering.dependencyProblem(renderFailed,
			"%s is not in charts/, and there is no Chart.lock that says which version; run `helm dependency update` and commit it", dependency.Name)
	}
	// Locks of Helm 2 have another digest.
	isOld := rendering.chart.Metadata.APIVersion == chart.APIVersionV1
	if !isOld && lock.Digest != hashOfDependencies(rendering.chart.Metadata.Dependencies, lock.Dependencies) {
		return "", rendering.dependencyProblem(renderFailed,
			"Chart.lock is not that of this Chart.yaml; run `helm dependency update` and commit it")
	}
	for _, locked := range lock.Dependencies {
		if locked != nil && locked.Name == dependency.Name && locked.Version != "" {
			return locked.Version, nil
		}
	}
	return "", rendering.dependencyProblem(renderFailed, "Chart.lock does not name %s; run `helm dependency update` and commit it", dependency.Name)
}

// hashOfDependencies is what Helm writes into Chart.lock (helm.sh/helm/v4/internal/resolver, HashReq).
func hashOfDependencies(wanted, locked []*chart.Dependency) string {
	data, err := json.Marshal([2][]*chart.Dependency{wanted, locked})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (rendering *helmRendering) dependencyProblem(code, format string, values ...any) error {
	return located{problem{
		Code: code, Message: "dependencies: " + fmt.Sprintf(format, values...), File: rendering.chartFile,
		Line: rendering.lineOf("dependencies"),
	}}
}
