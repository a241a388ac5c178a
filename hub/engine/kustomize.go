// Kustomizations, built by Kustomize's own library on files in memory.
package main

import (
	"bytes"
	"errors"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// builtinSchema is what Kustomize merges by where nobody says otherwise.
var builtinSchema = openapi.GetSchemaVersion()

func renderKustomize(request *request) *outcome {
	tree := request.tree
	if !tree.isRead(request.Path) {
		return &outcome{Needs: tree.neededPaths()}
	}
	found := findReferences(tree, request.Path)
	if len(tree.needs) > 0 {
		return &outcome{Needs: tree.neededPaths()}
	}
	if len(found.problems) > 0 {
		return refused(found.problems...)
	}
	system := fileSystem{tree: tree, replaced: found.replaced}
	if err := inflate(system, found, request.Kustomize); len(tree.needs) > 0 {
		return &outcome{Needs: tree.neededPaths()}
	} else if err != nil {
		return refused(explainInflation(err, tree, request.Path))
	}
	if err := addChanges(system, request.Path, request.Kustomize); err != nil {
		return refused(explain(err, tree, request.Path))
	}
	tracksOrigins := trackOrigins(system, request.Path)
	resources, err := build(system, request.Path)
	if len(tree.needs) > 0 {
		return &outcome{Needs: tree.neededPaths()}
	}
	if err != nil {
		return refused(explain(err, tree, request.Path))
	}
	outputs, err := write(resources, request, tracksOrigins)
	if err != nil {
		return refused(explain(err, tree, request.Path))
	}
	return &outcome{Outputs: outputs}
}

func build(system fileSystem, folder string) (resmap.ResMap, error) {
	defer forgetSchema()
	options := krusty.MakeDefaultOptions()
	// Files beside the folder are as much a part of the commit as those in it, and there is nothing else to be read.
	options.LoadRestrictions = types.LoadRestrictionsNone
	return krusty.MakeKustomizer(options).Run(system, path.Join("/"+mount, folder))
}

// forgetSchema takes away what the field `openapi` of a kustomization said: Kustomize keeps it for the whole process, and
// would merge the lists of whatever is rendered next by it.
func forgetSchema() {
	if openapi.GetSchemaVersion() != builtinSchema {
		openapi.ResetOpenAPI()
	}
}

func explainInflation(err error, tree *tree, folder string) problem {
	var known located
	if errors.As(err, &known) {
		return known.problem
	}
	return explain(err, tree, folder)
}

// trackOrigins has Kustomize note from which file each object comes; false when the folder says of buildMetadata itself
// what Kustomize should note.
func trackOrigins(system fileSystem, folder string) bool {
	name := system.tree.kustomizationFile(folder)
	original := system.content(name)
	if original == nil || topLevelKey(original, "buildMetadata") != nil {
		return false
	}
	extended := slices.Concat(original, []byte("\nbuildMetadata: [originAnnotations]\n"))
	if topLevelKey(extended, "buildMetadata") == nil {
		return false
	}
	system.replaced[name] = extended
	return true
}

func topLevelKey(content []byte, key string) *yaml.Node {
	root := parseMapping(content)
	if root == nil {
		return nil
	}
	for index := 0; index+1 < len(root.Content); index += 2 {
		if root.Content[index].Value == key {
			return root.Content[index]
		}
	}
	return nil
}

func write(resources resmap.ResMap, request *request, tracksOrigins bool) ([]output, error) {
	origins := make([]*resource.Origin, 0, resources.Size())
	for _, each := range resources.Resources() {
		origin, err := each.GetOrigin()
		if err != nil {
			return nil, err
		}
		origins = append(origins, origin)
	}
	if tracksOrigins {
		if err := resources.RemoveOriginAnnotations(); err != nil {
			return nil, err
		}
	}
	outputs := make([]output, 0, len(origins))
	for index, each := range resources.Resources() {
		text, err := each.MarshalJSON()
		if err != nil {
			return nil, err
		}
		made := output{File: request.tree.kustomizationFile(request.Path), text: text}
		if origin := origins[index]; origin != nil && origin.Repo == "" {
			if file, isInside := resolve(request.Path, origin.Path); isInside && origin.Path != "" {
				made.File = file
			} else if file, isInside := resolve(request.Path, origin.ConfiguredIn); isInside && origin.ConfiguredIn != "" {
				made.File = file
			}
		}
		if path.Base(made.File) == inflatedFile {
			made.File = request.tree.kustomizationFile(parentOf(made.File))
		}
		outputs = append(outputs, made)
	}
	return outputs, nil
}

// kustomizationFile is the file that makes a folder a Kustomize folder; empty when there is none.
func (tree *tree) kustomizationFile(folder string) string {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if file := path.Join(folder, name); tree.files[file] != nil {
			return file
		}
	}
	return ""
}

var (
	folderNoise  = regexp.MustCompile(`accumulation err='accumulating resources from '[^']*': [^']* is a folder': `)
	pathNoise    = regexp.MustCompile(`(?:recursed (?:accumulation of|merging from)|couldn't make target for) path '([^']*)': `)
	resourceFile = regexp.MustCompile(`accumulating resources from '([^']*)': `)
	lineNumber   = regexp.MustCompile(`\bline (\d+)\b`)
	unknownField = regexp.MustCompile(`unknown field "([^"]+)"`)
	// What a transformer or generator was configured with may be a Secret's data.
	configText = regexp.MustCompile("(?s) with config: `[^`]*`")
	patchText  = regexp.MustCompile(`(?s)( patch from) \[.*\]`)
	// So may be what a generator or a replacement was given.
	literalText = regexp.MustCompile(`(?s)literal sources \[.*\]: invalid literal source .*, expected key=value`)
	valueText   = regexp.MustCompile(`(?s)(?:: node contents:| for value ).*$`)
)

// explain says in few words what Kustomize says in many, with the file and line as far as it names them.
func explain(err error, tree *tree, folder string) problem {
	message := strings.ReplaceAll(err.Error(), "/"+mount+"/", "")
	message = folderNoise.ReplaceAllString(message, "")
	message = patchText.ReplaceAllString(configText.ReplaceAllString(message, ""), "$1 what is given")
	message = valueText.ReplaceAllString(literalText.ReplaceAllString(message, "a literal is not key=value"), "")
	if matches := pathNoise.FindAllStringSubmatch(message, -1); len(matches) > 0 {
		folder = matches[len(matches)-1][1]
	}
	found := problem{Code: renderFailed, File: tree.kustomizationFile(folder)}
	if matches := resourceFile.FindAllStringSubmatch(message, -1); len(matches) > 0 {
		if file, isInside := resolve(folder, matches[len(matches)-1][1]); isInside && tree.files[file] != nil {
			found.File = file
			if line := lineNumber.FindStringSubmatch(message); line != nil {
				found.Line, _ = strconv.Atoi(line[1])
			}
		}
	}
	if field := unknownField.FindStringSubmatch(message); field != nil {
		if file := tree.files[found.File]; file != nil {
			found.Line = lineOfKey(file.bytes, field[1])
		}
	}
	found.Message = "Kustomize: " + shorten(pathNoise.ReplaceAllString(message, ""))
	return found
}

// lineOfKey is the first line that begins with the key, counted from 1; 0 when there is none.
func lineOfKey(content []byte, key string) int {
	for index, line := range bytes.Split(content, []byte("\n")) {
		if bytes.HasPrefix(bytes.TrimLeft(line, " -\t"), []byte(key+":")) {
			return index + 1
		}
	}
	return 0
}

// shorten keeps a message to what people read: how it begins, and how it ends, where the cause mostly is.
func shorten(message string) string {
	const head, tail = 400, 600
	message = strings.Join(strings.Fields(message), " ")
	if len(message) <= head+tail {
		return message
	}
	return strings.ToValidUTF8(message[:head], "") + " … " + strings.ToValidUTF8(message[len(message)-tail:], "")
}
