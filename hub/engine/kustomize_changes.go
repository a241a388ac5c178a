// What a definition adds to a kustomization.
package main

import (
	"errors"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// addChanges adds to the lists of a folder's kustomization, as if it stood there.
func addChanges(system fileSystem, folder string, changes *kustomize) error {
	if changes.isEmpty() {
		return nil
	}
	name := system.tree.kustomizationFile(folder)
	root := parseMapping(system.content(name))
	if root == nil {
		return errors.New("the kustomization is no mapping: nothing can be added to it")
	}
	for field, added := range map[string][]any{
		"patches": changes.Patches, "images": changes.Images, "replicas": changes.Replicas,
	} {
		if err := addToList(root, field, added); err != nil {
			return err
		}
	}
	extended, err := yaml.Marshal(root)
	if err != nil {
		return err
	}
	system.replaced[name] = extended
	return nil
}

func (changes *kustomize) isEmpty() bool {
	return len(changes.Patches)+len(changes.Images)+len(changes.Replicas) == 0
}

func addToList(root *yaml.Node, field string, added []any) error {
	if len(added) == 0 {
		return nil
	}
	written, err := yaml.Marshal(added)
	if err != nil {
		return err
	}
	items, err := yaml.Parse(string(written))
	if err != nil {
		return err
	}
	list := fieldOf(root, field)
	if list == nil {
		list = &yaml.Node{Kind: yaml.ScalarNode, Tag: yaml.NodeTagNull}
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: field}, list)
	}
	present := list
	if list.Kind == yaml.AliasNode {
		present = list.Alias
	}
	// Anything but a list, or nothing, is for Kustomize to refuse.
	if present.Kind == yaml.SequenceNode || present.Tag == yaml.NodeTagNull {
		*list = yaml.Node{Kind: yaml.SequenceNode, Content: append(present.Content[:len(present.Content):len(present.Content)], items.YNode().Content...)}
	}
	return nil
}
