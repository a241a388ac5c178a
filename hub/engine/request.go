// What is asked and answered; hub/server/renderer/engine-messages.ts says the same in TypeScript.
package main

import "encoding/json"

// Most bytes that a render may give; RENDER_MAX_BYTES of the hub.
const maxOutputBytes = 64 << 20

// Helm or Kustomize refuses what is in Git, or what is in Git would make them leave it.
const (
	renderFailed = "RenderFailed"
	unsafePath   = "UnsafePath"
	pathNotFound = "PathNotFound"
)

// request is one render. Paths are the repository's, with slashes and without a leading one; the root is "".
type request struct {
	// Path is the folder to render.
	Path string `json:"path"`
	// Read are the files and folders that were read. What is not there below one of them is not in Git.
	Read []string `json:"read"`
	// Files are all files of what was read; their bytes follow the header in this order.
	Files []file `json:"files"`
	// Skipped are entries that are in Git but cannot be read.
	Skipped   []skipped  `json:"skipped"`
	Kustomize *kustomize `json:"kustomize,omitempty"`
	Helm      *helm      `json:"helm,omitempty"`
	tree      *tree
}

type file struct {
	Path  string `json:"path"`
	Size  int    `json:"size"`
	bytes []byte
}

type skipped struct {
	Path    string `json:"path"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// kustomize is added to the end of the lists of the folder's kustomization.
type kustomize struct {
	Patches  []any `json:"patches,omitempty"`
	Images   []any `json:"images,omitempty"`
	Replicas []any `json:"replicas,omitempty"`
	// What charts in kustomizations are told of Kubernetes where they say nothing of it.
	KubeVersion string   `json:"kubeVersion,omitempty"`
	APIVersions []string `json:"apiVersions,omitempty"`
}

// helmValues are values from one place: a file of the repository, or a JSON object.
type helmValues struct {
	File string `json:"file,omitempty"`
	// Field of the definition, for messages.
	Field  string          `json:"field,omitempty"`
	Values json.RawMessage `json:"values,omitempty"`
}

type helm struct {
	ReleaseName string `json:"releaseName"`
	Namespace   string `json:"namespace"`
	// Values win over those before them, and all over the chart's own.
	Values      []helmValues `json:"values"`
	KubeVersion string       `json:"kubeVersion"`
	APIVersions []string     `json:"apiVersions"`
	IncludeCRDs bool         `json:"includeCrds"`
	// EmptyLookup answers lookup with nothing instead of refusing it.
	EmptyLookup bool `json:"emptyLookup"`
}

// outcome is either what is still to be read, or problems, or outputs.
type outcome struct {
	// Needs are files or folders to read before the same is asked again.
	Needs    []string  `json:"needs,omitempty"`
	Problems []problem `json:"problems,omitempty"`
	Outputs  []output  `json:"outputs,omitempty"`
	// Broken says that this instance must not be used again.
	Broken bool `json:"broken,omitempty"`
}

type problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
}

// output is one text of YAML or JSON documents; its bytes follow the header.
type output struct {
	// File is where in Git it comes from.
	File string `json:"file"`
	Size int    `json:"size"`
	text []byte
}

func refused(problems ...problem) *outcome {
	return &outcome{Problems: problems}
}
