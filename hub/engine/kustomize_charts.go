// Charts that a kustomization inflates (helmCharts): rendered by the same engine as charts that are applications, before
// Kustomize runs, which sees them as resources.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// inflated is one chart of a kustomization.
type inflated struct {
	at    place
	chart types.HelmChart
	// folder is where the chart's files are.
	folder string
	values []helmValues
}

// inflatedFile is where the objects of the charts of a folder are shown to Kustomize.
const inflatedFile = ".fairlead-helm-charts.yaml"

// visitCharts notes the charts of a kustomization, and what they need.
func (found *references) visitCharts(at place, root, list *yaml.Node) {
	home := types.HelmDefaultHome
	if globals := fieldOf(root, "helmGlobals"); globals != nil {
		if written := fieldOf(globals, "chartHome"); written != nil && written.Value != "" {
			home = written.Value
		}
	}
	for _, item := range list.Content {
		chart := &inflated{at: at.of(item)}
		if err := decodeChart(item, &chart.chart); err != nil {
			found.refuse(chart.at, renderFailed, shorten(err.Error()))
			continue
		}
		if !found.locateChart(chart, home) {
			continue
		}
		found.findChartValues(chart)
		found.charts = append(found.charts, chart)
	}
}

// decodeChart reads a chart as Kustomize does: as YAML 1.1, and without fields that nobody knows.
func decodeChart(item *yaml.Node, into *types.HelmChart) error {
	text, err := yaml.Marshal(item)
	if err != nil {
		return err
	}
	return sigsyaml.UnmarshalStrict(text, into)
}

// locateChart finds the chart's files: in the repository, or in a declared repository of charts, in one version.
func (found *references) locateChart(chart *inflated, home string) bool {
	wanted := chart.chart
	switch {
	case wanted.Name == "":
		found.refuse(chart.at, renderFailed, "a chart has no name")
		return false
	case wanted.NameTemplate != "":
		found.refuse(chart.at, renderFailed, wanted.Name+": nameTemplate is not supported; give releaseName")
		return false
	case wanted.Repo == "":
		folder, ok := found.resolve(chart.at, path.Join(home, wanted.Name))
		if !ok || !found.tree.isRead(folder) {
			return false
		}
		if !found.tree.isFolder(folder) {
			found.refuse(chart.at, pathNotFound, fmt.Sprintf("there is no chart at %s; with repo and version it is fetched", path.Join(home, wanted.Name)))
			return false
		}
		chart.folder = folder
	default:
		if wanted.Version == "" || !exactVersion.MatchString(wanted.Version) {
			found.refuse(chart.at, renderFailed, wanted.Name+" is not pinned; give the whole version, such as 1.2.3")
			return false
		}
		chart.folder = "/charts/" + url.PathEscape(strings.TrimRight(wanted.Repo, "/")) + "/" + url.PathEscape(wanted.Name) +
			"/" + url.PathEscape(wanted.Version)
		if !found.tree.isRead(chart.folder) {
			return false
		}
	}
	return true
}

var exactVersion = regexp.MustCompile(`^v?\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?$`)

// findChartValues puts the values into the order in which they win, as Kustomize has it.
func (found *references) findChartValues(chart *inflated) {
	wanted := chart.chart
	own := path.Join(chart.folder, "values.yaml")
	if wanted.ValuesFile != "" {
		own = found.valuesFile(chart.at, wanted.ValuesFile)
	} else if found.tree.files[own] == nil {
		own = ""
	}
	inline := helmValues{Field: "valuesInline"}
	if len(wanted.ValuesInline) > 0 {
		text, err := json.Marshal(wanted.ValuesInline)
		if err != nil {
			found.refuse(chart.at, renderFailed, "valuesInline: "+shorten(err.Error()))
			return
		}
		inline.Values = text
	}
	var layers []helmValues
	switch wanted.ValuesMerge {
	case "", "override":
		layers = []helmValues{{File: own}, inline}
	case "merge":
		layers = []helmValues{inline, {File: own}}
	case "replace":
		layers = []helmValues{inline}
	default:
		found.refuse(chart.at, renderFailed, fmt.Sprintf("valuesMerge %s is none of merge, override, replace", shorten(wanted.ValuesMerge)))
	}
	for _, written := range wanted.AdditionalValuesFiles {
		layers = append(layers, helmValues{File: found.valuesFile(chart.at, written)})
	}
	for _, layer := range layers {
		if layer.File != "" || layer.Values != nil {
			chart.values = append(chart.values, layer)
		}
	}
}

func (found *references) valuesFile(at place, written string) string {
	found.visitFile(at, written)
	target, isInside := resolve(at.folder, written)
	if !isInside || isRemote(written) {
		return ""
	}
	return target
}

// inflate renders the charts, and has Kustomize see what they give as resources of their folders.
func inflate(system fileSystem, found *references, defaults *kustomize) error {
	texts := map[string][]byte{}
	files := map[string]string{}
	for _, chart := range found.charts {
		text, err := chart.render(found.tree, defaults)
		if err != nil {
			return err
		}
		texts[chart.at.folder] = append(texts[chart.at.folder], text...)
		files[chart.at.folder] = chart.at.file
	}
	if len(found.tree.needs) > 0 {
		return errors.New("charts are still to be read")
	}
	for folder, text := range texts {
		name := path.Join(folder, inflatedFile)
		found.tree.files[name] = &file{Path: name, bytes: text}
		found.tree.addBelow(name)
		if err := showResources(system, files[folder]); err != nil {
			return err
		}
	}
	return nil
}

func (chart *inflated) render(tree *tree, defaults *kustomize) ([]byte, error) {
	wanted := chart.chart
	options := &helm{
		ReleaseName: wanted.ReleaseName, Namespace: wanted.Namespace, Values: chart.values,
		KubeVersion: wanted.KubeVersion, APIVersions: append(defaults.APIVersions[:len(defaults.APIVersions):len(defaults.APIVersions)], wanted.ApiVersions...),
		IncludeCRDs: wanted.IncludeCRDs,
	}
	if options.ReleaseName == "" {
		// Helm would draw one by lot.
		options.ReleaseName = wanted.Name
	}
	if options.Namespace == "" {
		options.Namespace = cmp.Or(chart.at.namespace, "default")
	}
	if options.KubeVersion == "" {
		options.KubeVersion = defaults.KubeVersion
	}
	rendering := &helmRendering{
		request:   &request{Path: chart.folder, tree: tree, Helm: options},
		chartFile: path.Join(chart.folder, "Chart.yaml"),
	}
	outputs, err := rendering.run()
	if err != nil {
		explained := rendering.explain(err)
		if explained.File == "" || strings.HasPrefix(explained.File, "/") {
			explained.File, explained.Line = chart.at.file, chart.at.line
		}
		explained.Message = fmt.Sprintf("helmCharts: %s: %s", wanted.Name, explained.Message)
		return nil, located{explained}
	}
	var text bytes.Buffer
	for _, output := range outputs {
		for _, document := range bytes.Split(output.text, []byte("\n---\n")) {
			if isLeftOut(document, wanted) {
				continue
			}
			text.WriteString("---\n")
			text.Write(markGenerated(bytes.TrimPrefix(document, []byte("---\n"))))
			text.WriteString("\n")
		}
	}
	return text.Bytes(), nil
}

// markGenerated notes where a document comes from, as Kustomize does: it leaves the namespaces of such objects to Helm.
func markGenerated(document []byte) []byte {
	node, err := yaml.Parse(string(document))
	if err != nil || node.IsNilOrEmpty() || node.YNode().Kind != yaml.MappingNode {
		return document
	}
	if err := node.PipeE(yaml.SetAnnotation(konfig.HelmGeneratedAnnotation, "true")); err != nil {
		return document
	}
	text, err := node.String()
	if err != nil {
		return document
	}
	return []byte(text)
}

// isLeftOut tells hooks and tests, where the kustomization wants none.
func isLeftOut(document []byte, chart types.HelmChart) bool {
	var object struct {
		Metadata struct {
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"metadata"`
	}
	if err := yaml.Unmarshal(document, &object); err != nil {
		return false
	}
	hook := object.Metadata.Annotations["helm.sh/hook"]
	return hook != "" && (chart.SkipHooks || chart.SkipTests && strings.HasPrefix(hook, "test"))
}

// showResources has a kustomization name the objects of its charts in place of the charts.
func showResources(system fileSystem, name string) error {
	root := parseMapping(system.content(name))
	if root == nil {
		return errors.New("the kustomization is no mapping")
	}
	var content []*yaml.Node
	for index := 0; index+1 < len(root.Content); index += 2 {
		if key := root.Content[index].Value; key != "helmCharts" && key != "helmGlobals" {
			content = append(content, root.Content[index], root.Content[index+1])
		}
	}
	root.Content = content
	if err := addToList(root, "resources", []any{inflatedFile}); err != nil {
		return err
	}
	text, err := yaml.Marshal(root)
	if err != nil {
		return err
	}
	system.replaced[name] = text
	return nil
}
