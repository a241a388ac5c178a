// What kustomizations refer to, found before Kustomize runs: one look at Git then fetches all of a level.
package main

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// references walks over kustomizations: it notes everything that is still to be read, and what cannot be read at all,
// with its line.
type references struct {
	tree     *tree
	visited  map[string]bool
	problems []problem
	// replaced are kustomizations in which paths stand for the addresses of remote bases.
	replaced map[string][]byte
	// charts that kustomizations inflate.
	charts []*inflated
}

// findReferences looks at the kustomization of a folder and at all that it refers to. What is not read yet is noted in the tree.
func findReferences(tree *tree, folder string) *references {
	found := &references{tree: tree, visited: map[string]bool{}, replaced: map[string][]byte{}}
	found.visit(folder, "")
	return found
}

// place is where a reference is written.
type place struct {
	folder string
	file   string
	field  string
	line   int
	// namespace is what the charts of the kustomization and of those below it go to, where they do not say.
	namespace string
}

func (found *references) visit(folder, namespace string) {
	if found.visited[folder] {
		return
	}
	found.visited[folder] = true
	name := found.tree.kustomizationFile(folder)
	if name == "" {
		return
	}
	root := parseMapping(found.tree.files[name].bytes)
	if root == nil {
		return
	}
	if own := fieldOf(root, "namespace"); own != nil && own.Value != "" {
		namespace = own.Value
	}
	for index := 0; index+1 < len(root.Content); index += 2 {
		key, value := root.Content[index], root.Content[index+1]
		at := place{folder: folder, file: name, field: key.Value, line: key.Line, namespace: namespace}
		if key.Value == "helmCharts" {
			found.visitCharts(at, root, value)
		} else {
			found.visitField(at, value)
		}
	}
}

func (found *references) visitField(at place, value *yaml.Node) {
	switch at.field {
	case "resources", "bases", "components":
		for _, item := range value.Content {
			found.visitRoot(at.of(item), item.Value)
		}
	case "crds", "configurations":
		for _, item := range value.Content {
			found.visitFile(at.of(item), item.Value)
		}
	case "generators", "transformers", "validators", "patchesStrategicMerge":
		for _, item := range value.Content {
			if !isInline(item.Value) {
				found.visitRoot(at.of(item), item.Value)
			}
		}
	case "patches", "patchesJson6902", "replacements":
		for _, item := range value.Content {
			found.visitPath(at, item)
		}
	case "openapi":
		found.visitPath(at, value)
	case "configMapGenerator", "secretGenerator":
		for _, item := range value.Content {
			found.visitGenerator(at, item)
		}
	case "helmChartInflationGenerator":
		found.refuse(at, renderFailed, "is the old form; write helmCharts")
	}
}

func (found *references) visitPath(at place, mapping *yaml.Node) {
	if value := fieldOf(mapping, "path"); value != nil {
		found.visitFile(at.of(value), value.Value)
	}
}

func (found *references) visitGenerator(at place, mapping *yaml.Node) {
	for _, name := range []string{"files", "envs"} {
		list := fieldOf(mapping, name)
		if list == nil {
			continue
		}
		for _, item := range list.Content {
			written := item.Value
			if _, after, hasKey := strings.Cut(written, "="); hasKey && name == "files" {
				written = after
			}
			found.visitContent(at.of(item), written)
		}
	}
	if value := fieldOf(mapping, "env"); value != nil {
		found.visitContent(at.of(value), value.Value)
	}
}

// visitContent follows a file that ends up in a ConfigMap or Secret: one that is encrypted would stay so in the cluster.
func (found *references) visitContent(at place, written string) {
	found.visitFile(at, written)
	target, isInside := resolve(at.folder, written)
	if entry := found.tree.files[target]; isInside && entry != nil && isEncrypted(entry.bytes) {
		found.refuse(at, renderFailed, fmt.Sprintf("%s is %s", written, encryptedPart))
	}
}

// visitRoot follows what may be a file or a folder with a kustomization.
func (found *references) visitRoot(at place, written string) {
	if isRemote(written) {
		found.visitRemote(at, written)
		return
	}
	target, ok := found.resolve(at, written)
	if !ok || !found.tree.isRead(target) {
		return
	}
	if !found.tree.isFolder(target) {
		found.checkFile(at, target, written)
		return
	}
	if found.tree.kustomizationFile(target) == "" {
		found.refuse(at, pathNotFound, fmt.Sprintf("%s is a folder without a kustomization.yaml", written))
		return
	}
	found.visit(target, at.namespace)
}

// visitRemote follows a folder of another repository.
func (found *references) visitRemote(at place, written string) {
	target, err := remoteBase(written)
	if err != nil {
		found.refuse(at, renderFailed, fmt.Sprintf("%s %s", shorten(written), err))
		return
	}
	if !found.tree.isRead(target) {
		return
	}
	if found.tree.kustomizationFile(target) == "" {
		found.refuse(at, pathNotFound, fmt.Sprintf("there is no folder with a kustomization.yaml at %s", shorten(written)))
		return
	}
	found.replaceRemote(at, written, target)
	found.visit(target, at.namespace)
}

func (found *references) visitFile(at place, written string) {
	if target, ok := found.resolve(at, written); ok && found.tree.isRead(target) {
		found.checkFile(at, target, written)
	}
}

func (found *references) checkFile(at place, target, written string) {
	if entry, isSkipped := found.tree.skipped[target]; isSkipped {
		found.refuse(at, entry.Code, fmt.Sprintf("%s: %s", written, entry.Message))
	} else if found.tree.files[target] == nil {
		found.refuse(at, pathNotFound, fmt.Sprintf("%s is not in the repository", written))
	}
}

// resolve is the path in the repository that is meant; false, with a problem, for anything that is not in it.
func (found *references) resolve(at place, written string) (string, bool) {
	switch {
	case isRemote(written):
		found.refuse(at, renderFailed, fmt.Sprintf(
			"%s is remote, and only folders of resources, bases and components may be; copy it into the repository", shorten(written)))
		return "", false
	case path.IsAbs(written):
		found.refuse(at, unsafePath, fmt.Sprintf("%s is absolute; paths are relative to the kustomization", written))
		return "", false
	}
	target, isInside := resolve(at.folder, written)
	if !isInside {
		found.refuse(at, unsafePath, fmt.Sprintf("%s leads out of the repository", written))
	}
	return target, isInside
}

func (found *references) refuse(at place, code, reason string) {
	found.problems = append(found.problems, problem{
		Code: code, Message: fmt.Sprintf("%s: %s", at.field, reason), File: at.file, Line: at.line,
	})
}

func (at place) of(node *yaml.Node) place {
	at.line = node.Line
	return at
}

const encryptedPart = "encrypted by SOPS, and only whole manifests are decrypted, in the cluster"

// isEncrypted tells what SOPS encrypted, in whatever format: each has values of this form.
func isEncrypted(content []byte) bool {
	return bytes.Contains(content, []byte("ENC[AES256_GCM,data:"))
}

// remote matches what Kustomize would fetch: URLs, scp-like addresses, and its short form for GitHub.
var remote = regexp.MustCompile(`^(?:git::|gh:|[a-zA-Z][a-zA-Z0-9+.-]*://|[^/]+@[^/]+:|github\.com[/:])|[?&](?:ref|version|timeout|submodules)=`)

func isRemote(written string) bool {
	return remote.MatchString(written)
}

// isInline tells YAML that stands in place of a path.
func isInline(written string) bool {
	return strings.ContainsAny(written, "\n{") || strings.Contains(written, ": ")
}

func fieldOf(mapping *yaml.Node, name string) *yaml.Node {
	if mapping.Kind == yaml.AliasNode {
		mapping = mapping.Alias
	}
	if mapping.Kind != yaml.MappingNode {
		return nil
	}
	for index := 0; index+1 < len(mapping.Content); index += 2 {
		if mapping.Content[index].Value == name {
			return mapping.Content[index+1]
		}
	}
	return nil
}

// parseMapping is the mapping that a file of one document holds; nil for anything else, which is for Kustomize to say.
func parseMapping(content []byte) *yaml.Node {
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	if err := decoder.Decode(&document); err != nil {
		return nil
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return nil
	}
	return document.Content[0]
}
