// Charts, rendered by Helm's engine: the steps of `helm template`, on files in memory.
package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"helm.sh/helm/v4/pkg/ignore"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	"sigs.k8s.io/yaml"
)

// Most bytes of the files of one archive below charts/.
const maxArchiveBytes = 32 << 20

func init() {
	archive.MaxDecompressedChartSize = maxArchiveBytes
}

// renderHelm does what `helm template` does: its command reads from disk, so its steps are here once more.
func renderHelm(request *request) *outcome {
	rendering := &helmRendering{request: request, chartFile: path.Join(request.Path, "Chart.yaml")}
	outputs, err := rendering.run()
	if len(request.tree.needs) > 0 {
		return &outcome{Needs: request.tree.neededPaths()}
	}
	if err != nil {
		return refused(rendering.explain(err))
	}
	return &outcome{Outputs: outputs}
}

type helmRendering struct {
	request   *request
	chartFile string
	chart     *chart.Chart
}

func (rendering *helmRendering) run() ([]output, error) {
	values, err := rendering.values()
	if err != nil {
		return nil, err
	}
	if err := rendering.loadWithDependencies(); err != nil {
		return nil, err
	}
	if err := rendering.orderDependencies(rendering.chart); err != nil {
		return nil, err
	}
	if err := rendering.checkChart(); err != nil {
		return nil, err
	}
	if err := chartutil.ProcessDependencies(rendering.chart, values); err != nil {
		return nil, fmt.Errorf("dependencies: %w", err)
	}
	capabilities, err := rendering.capabilities()
	if err != nil {
		return nil, err
	}
	options := rendering.request.Helm
	release := common.ReleaseOptions{Name: options.ReleaseName, Namespace: options.Namespace, Revision: 1, IsInstall: true}
	prepared, err := util.ToRenderValues(rendering.chart, values, release, capabilities)
	if err != nil {
		return nil, err
	}
	templates, err := rendering.engine().Render(rendering.chart, prepared)
	if err != nil {
		return nil, err
	}
	return rendering.collect(templates), nil
}

// values joins the values of all places; later ones win.
func (rendering *helmRendering) values() (map[string]any, error) {
	joined := map[string]any{}
	for _, layer := range rendering.request.Helm.Values {
		values, err := rendering.layer(layer)
		if err != nil {
			return nil, err
		}
		joined = loader.MergeMaps(joined, values)
	}
	return joined, nil
}

func (rendering *helmRendering) layer(layer helmValues) (map[string]any, error) {
	if layer.File != "" {
		return rendering.valueFile(layer.File)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(layer.Values, &values); err != nil {
		return nil, fmt.Errorf("%s: %w", layer.Field, err)
	}
	return values, nil
}

// valueFile reads a file; one that is still to be read is noted as such and counts as empty.
func (rendering *helmRendering) valueFile(name string) (map[string]any, error) {
	tree := rendering.request.tree
	if !tree.isRead(name) {
		return nil, nil
	}
	if entry, isSkipped := tree.skipped[name]; isSkipped {
		return nil, located{problem{Code: entry.Code, Message: entry.Message, File: name}}
	}
	entry := tree.files[name]
	if entry == nil {
		return nil, located{problem{Code: pathNotFound, Message: "the value file is not in the repository", File: name}}
	}
	if isEncrypted(entry.bytes) {
		return nil, located{problem{Code: renderFailed, Message: "the value file is " + encryptedPart, File: name}}
	}
	values, err := loader.LoadValues(bytes.NewReader(bytes.TrimPrefix(entry.bytes, utf8bom)))
	if err != nil {
		return nil, located{problem{Code: renderFailed, Message: "Helm: " + shorten(err.Error()), File: name, Line: lineIn(err)}}
	}
	return values, nil
}

var utf8bom = []byte{0xEF, 0xBB, 0xBF}

// chartFiles are the files of the chart as Helm reads a folder: without what .helmignore names.
func (rendering *helmRendering) chartFiles() ([]*archive.BufferedFile, error) {
	tree, root := rendering.request.tree, rendering.request.Path
	if !tree.isRead(root) {
		return nil, errors.New("the chart is still to be read")
	}
	rules := ignore.Empty()
	if file := tree.files[path.Join(root, ignore.HelmIgnore)]; file != nil {
		parsed, err := ignore.Parse(bytes.NewReader(file.bytes))
		if err != nil {
			return nil, located{problem{Code: renderFailed, Message: "Helm: " + err.Error(), File: file.Path}}
		}
		rules = parsed
	}
	rules.AddDefaults()
	for _, name := range slices.Sorted(maps.Keys(tree.skipped)) {
		entry := tree.skipped[name]
		below := strings.TrimPrefix(strings.TrimPrefix(name, root), "/")
		if isWithin(name, root) && !isIgnored(rules, below) {
			return nil, located{problem{Code: entry.Code, Message: entry.Message, File: name}}
		}
	}
	var files []*archive.BufferedFile
	for _, below := range tree.filesBelow(root) {
		if !isIgnored(rules, below) {
			data := bytes.TrimPrefix(tree.files[path.Join(root, below)].bytes, utf8bom)
			files = append(files, &archive.BufferedFile{Name: below, Data: data})
		}
	}
	return files, nil
}

// isIgnored asks the rules as a walk over the folder would: for each folder above the file, then for the file.
func isIgnored(rules *ignore.Rules, name string) bool {
	for index, character := range name {
		if character == '/' && rules.Ignore(name[:index], entryInfo{name: name[:index], isFolder: true}) {
			return true
		}
	}
	return rules.Ignore(name, entryInfo{name: name})
}

// entryInfo is what the rules want to know of an entry.
type entryInfo struct {
	name     string
	isFolder bool
}

func (info entryInfo) Name() string { return path.Base(info.name) }
func (info entryInfo) IsDir() bool  { return info.isFolder }
func (info entryInfo) Mode() fs.FileMode {
	if info.isFolder {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
func (info entryInfo) Size() int64        { return 0 }
func (info entryInfo) ModTime() time.Time { return time.Time{} }
func (info entryInfo) Sys() any           { return nil }

// orderDependencies puts the charts in charts/ in order, which Helm reads in a random one: else that of their crds/ were
// random, and which of several charts of one name is taken. Of one name and version there must be one.
func (rendering *helmRendering) orderDependencies(parent *chart.Chart) error {
	dependencies := slices.SortedFunc(slices.Values(parent.Dependencies()), func(a, b *chart.Chart) int {
		return cmp.Or(cmp.Compare(a.Name(), b.Name()), cmp.Compare(b.Metadata.Version, a.Metadata.Version))
	})
	for index, dependency := range dependencies {
		if index > 0 && dependency.Name() == dependencies[index-1].Name() &&
			dependency.Metadata.Version == dependencies[index-1].Metadata.Version {
			return located{problem{
				Code: renderFailed, File: rendering.chartFile,
				Message: fmt.Sprintf("charts/ of %s holds %s %s twice", parent.Name(), dependency.Name(), dependency.Metadata.Version),
			}}
		}
		if err := rendering.orderDependencies(dependency); err != nil {
			return err
		}
	}
	parent.SetDependencies(dependencies...)
	return nil
}

func (rendering *helmRendering) checkChart() error {
	metadata := rendering.chart.Metadata
	if metadata.Type != "" && metadata.Type != "application" {
		return located{problem{
			Code: renderFailed, Message: fmt.Sprintf("a %s chart cannot be run by itself", metadata.Type), File: rendering.chartFile,
			Line: rendering.lineOf("type"),
		}}
	}
	return nil
}

func (rendering *helmRendering) lineOf(key string) int {
	if file := rendering.request.tree.files[rendering.chartFile]; file != nil {
		return lineOfKey(file.bytes, key)
	}
	return 0
}

func (rendering *helmRendering) capabilities() (*common.Capabilities, error) {
	options := rendering.request.Helm
	version, err := common.ParseKubeVersion(options.KubeVersion)
	if err != nil {
		return nil, fmt.Errorf("render.helm.kubeVersion: %w", err)
	}
	if wanted := rendering.chart.Metadata.KubeVersion; wanted != "" && !chartutil.IsCompatibleRange(wanted, version.String()) {
		return nil, located{problem{
			Code: renderFailed, File: rendering.chartFile, Line: rendering.lineOf("kubeVersion"),
			Message: fmt.Sprintf("the chart requires Kubernetes %s and is rendered for %s; set render.helm.kubeVersion to what the clusters run",
				wanted, version.Version),
		}}
	}
	return &common.Capabilities{
		KubeVersion: *version,
		APIVersions: slices.Clone(options.APIVersions),
		HelmVersion: common.DefaultCapabilities.HelmVersion,
	}, nil
}

func (rendering *helmRendering) engine() engine.Engine {
	if rendering.request.Helm.EmptyLookup {
		return engine.Engine{}
	}
	lookup := func(_, kind, _, name string) (map[string]any, error) {
		return nil, fmt.Errorf("lookup of %s %q: charts are rendered without a cluster; "+
			"set render.helm.emptyLookup to have lookup find nothing, as helm template does", kind, name)
	}
	return engine.Engine{CustomTemplateFuncs: map[string]any{"lookup": lookup}}
}

// collect leaves out what is no manifest. Custom resource definitions of crds/ come first.
func (rendering *helmRendering) collect(templates map[string]string) []output {
	var outputs []output
	if rendering.request.Helm.IncludeCRDs {
		for _, crd := range rendering.chart.CRDObjects() {
			outputs = append(outputs, output{File: rendering.sourceOf(crd.Filename), text: crd.File.Data})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(templates)) {
		if strings.HasSuffix(name, "NOTES.txt") || strings.TrimSpace(templates[name]) == "" {
			continue
		}
		outputs = append(outputs, output{File: rendering.sourceOf(name), text: splitDocuments(templates[name])})
	}
	return outputs
}

// splitDocuments separates documents as Helm does: wherever a line begins with three dashes, also where a template took
// away the line break after them.
func splitDocuments(text string) []byte {
	documents := releaseutil.SplitManifests(text)
	names := slices.Sorted(maps.Keys(documents))
	sort.Sort(releaseutil.BySplitManifestsOrder(names))
	var joined bytes.Buffer
	for _, name := range names {
		joined.WriteString("---\n")
		joined.WriteString(documents[name])
		joined.WriteString("\n")
	}
	return joined.Bytes()
}

// sourceOf is the file in Git of a template, which Helm calls by the names of the charts that it is in.
func (rendering *helmRendering) sourceOf(name string) string {
	tree, folder := rendering.request.tree, rendering.request.Path
	rest := strings.TrimPrefix(name, rendering.chart.Name()+"/")
	for current := rendering.chart; ; {
		below, isBelow := strings.CutPrefix(rest, "charts/")
		if !isBelow {
			return path.Join(folder, rest)
		}
		subchart, after, _ := strings.Cut(below, "/")
		folderName := subchart
		for _, dependency := range current.Metadata.Dependencies {
			if dependency.Alias == subchart {
				folderName = dependency.Name
			}
		}
		if !tree.isFolder(path.Join(folder, "charts", folderName)) {
			return rendering.archiveOf(path.Join(folder, "charts"), folderName)
		}
		folder, rest = path.Join(folder, "charts", folderName), after
		next := current
		for _, dependency := range current.Dependencies() {
			if dependency.Name() == subchart {
				next = dependency
			}
		}
		if next == current {
			return path.Join(folder, rest)
		}
		current = next
	}
}

// archiveOf is <name>-<version>.tgz; db-ha-1.0.0.tgz is not that of db.
func (rendering *helmRendering) archiveOf(folder, name string) string {
	for _, entry := range slices.Sorted(maps.Keys(rendering.request.tree.folders[folder])) {
		if rest, ok := strings.CutPrefix(entry, name+"-"); ok && archiveVersion.MatchString(rest) {
			return path.Join(folder, entry)
		}
	}
	return rendering.chartFile
}

var archiveVersion = regexp.MustCompile(`^v?\d.*\.tgz$`)
