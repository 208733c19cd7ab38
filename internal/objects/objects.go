// Package objects reads Kubernetes objects from YAML and remembers where each field
// was written. It knows no kind but List; it opens no file but those it is given, and
// must not import anything of the project.
package objects

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Ref names an object.
type Ref struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Object is one document of YAML.
type Object struct {
	Ref
	APIVersion  string
	Labels      map[string]string
	Annotations map[string]string
	// File is where it was read; empty for one that was read from a cluster.
	File string
	// JSON is the whole object.
	JSON json.RawMessage

	node *yaml.Node
}

// Group is the API group, empty for Kubernetes' core.
func (o *Object) Group() string {
	group, _, found := strings.Cut(o.APIVersion, "/")
	if !found {
		return ""
	}
	return group
}

// Decode reads the object into a typed one.
func (o *Object) Decode(into any) error {
	if err := json.Unmarshal(o.JSON, into); err != nil {
		return fmt.Errorf("%s: %w", o, err)
	}
	return nil
}

// Line is where a field was written: a path such as "spec.servers[0].tls.mode". It is
// that of the nearest field above it where there is no such field, and 0 where the
// object did not come from a file.
func (o *Object) Line(path string) int {
	if o.node == nil {
		return 0
	}
	node, line := o.node, o.node.Line
	for _, step := range steps(path) {
		next, at := child(node, step)
		if next == nil {
			break
		}
		node, line = next, at
	}
	return line
}

// steps splits "spec.servers[0].tls" into spec, 0, servers …; keys with dots in them are
// in brackets, as in metadata.annotations[proxy.istio.io/config].
func steps(path string) (found []string) {
	for path != "" {
		end := strings.IndexAny(path, ".[")
		switch {
		case end < 0:
			return append(found, path)
		case path[end] == '.' || end > 0:
			found = append(found, path[:end])
			if path[end] == '.' {
				end++
			}
			path = path[end:]
		default:
			shut := strings.IndexByte(path, ']')
			if shut < 0 {
				return append(found, path)
			}
			found = append(found, path[1:shut])
			path = strings.TrimPrefix(path[shut+1:], ".")
		}
	}
	return slices.DeleteFunc(found, func(s string) bool { return s == "" })
}

func child(node *yaml.Node, step string) (*yaml.Node, int) {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == step {
				return node.Content[i+1], node.Content[i].Line
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i], node.Content[i].Line
		}
	}
	return nil, 0
}

// Set is the objects of one input, in the order in which they were read.
type Set struct {
	All []*Object
	// Namespace is that of objects that name none, as kubectl's -n.
	Namespace string

	found   map[Ref]*Object // the last of each name, of the first indexed of All
	indexed int
}

// Duplicate says that an object was given twice: applied, the later one would win.
type Duplicate struct{ First, Again *Object }

// Read adds the objects of files and folders; a folder's are those of its files that
// end in .yaml, .yml or .json, at any depth. "-" is standard input.
func (s *Set) Read(stdin io.Reader, paths ...string) error {
	for _, path := range paths {
		if path == "-" {
			raw, err := io.ReadAll(stdin)
			if err != nil {
				return fmt.Errorf("standard input: %w", err)
			}
			if err := s.Parse("standard input", raw); err != nil {
				return err
			}
			continue
		}
		if err := s.readPath(path); err != nil {
			return err
		}
	}
	return nil
}

func (s *Set) readPath(path string) error {
	return filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if file != path && strings.HasPrefix(name, ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if file != path && (strings.HasPrefix(name, ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)) || isKustomize(name)) {
			return nil
		}
		if file != path {
			info, err := os.Stat(file)
			if err != nil {
				return err
			}
			if !info.Mode().IsRegular() {
				return nil // a pipe would be waited for; one that is named itself is read
			}
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return s.Parse(file, raw)
	})
}

// isKustomize reports whether a file tells kustomize what to do: it holds no object.
func isKustomize(name string) bool {
	return name == "kustomization.yaml" || name == "kustomization.yml" || name == "Kustomization"
}

// Parse adds the objects of a file's bytes. A document that is no object is an error
// that says where it begins.
func (s *Set) Parse(file string, raw []byte) error {
	docs := yaml.NewDecoder(bytes.NewReader(raw))
	for {
		var doc yaml.Node
		err := docs.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
			continue // only comments, as helm template leaves them
		}
		if err := s.add(file, doc.Content[0]); err != nil {
			return fmt.Errorf("%s:%d: %w", file, doc.Content[0].Line, err)
		}
	}
}

func (s *Set) add(file string, node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		return errors.New("this document is not an object: it has neither apiVersion nor kind")
	}
	if items, _ := child(node, "items"); items != nil && items.Kind == yaml.SequenceNode {
		for _, item := range items.Content {
			if err := s.add(file, item); err != nil {
				return err
			}
		}
		return nil
	}
	var value map[string]any
	if err := node.Decode(&value); err != nil {
		return err
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return err // keys that are no strings
	}
	o, err := FromJSON(raw)
	if err != nil {
		return err
	}
	o.File, o.node = file, node
	if o.Namespace == "" && !clusterScoped(o) {
		o.Namespace = s.Namespace
		if o.Namespace == "" {
			o.Namespace = "default"
		}
		if o.JSON, err = withNamespace(value, o.Namespace); err != nil {
			return err
		}
	}
	s.All = append(s.All, o)
	return nil
}

// FromJSON reads one object, such as an API server's answer.
func FromJSON(raw []byte) (*Object, error) {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Namespace, Name     string
			Labels, Annotations map[string]string
		} `json:"metadata"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("not an object: %w", err)
	}
	if head.APIVersion == "" || head.Kind == "" {
		return nil, errors.New("this document is not an object: it has neither apiVersion nor kind")
	}
	return &Object{
		Ref:        Ref{Kind: head.Kind, Namespace: head.Metadata.Namespace, Name: head.Metadata.Name},
		APIVersion: head.APIVersion, Labels: head.Metadata.Labels, Annotations: head.Metadata.Annotations, JSON: raw,
	}, nil
}

func withNamespace(value map[string]any, namespace string) ([]byte, error) {
	meta, ok := value["metadata"].(map[string]any)
	if !ok {
		meta = map[string]any{}
		value["metadata"] = meta
	}
	meta["namespace"] = namespace
	return json.Marshal(value)
}

// clusterScoped reports whether a kind that matters here has no namespace. Of other
// kinds it does not matter.
func clusterScoped(o *Object) bool {
	switch o.Kind {
	case "Namespace", "Node", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "GatewayClass",
		"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "PersistentVolume", "StorageClass":
		return true
	}
	return false
}

// Kind returns the objects of a kind in a group, or in any subgroup of it.
func (s *Set) Kind(group, kind string) (found []*Object) {
	for _, o := range s.All {
		if o.Kind == kind && (o.Group() == group || group != "" && strings.HasSuffix(o.Group(), "."+group)) {
			found = append(found, o)
		}
	}
	return found
}

// Find is the object of that name; the last one if there are several, nil if there is none.
func (s *Set) Find(ref Ref) *Object {
	if s.found == nil || s.indexed > len(s.All) {
		s.found, s.indexed = map[Ref]*Object{}, 0
	}
	for ; s.indexed < len(s.All); s.indexed++ {
		s.found[s.All[s.indexed].Ref] = s.All[s.indexed]
	}
	return s.found[ref]
}

// Duplicates lists objects that are there more than once.
func (s *Set) Duplicates() (found []Duplicate) {
	type key struct {
		Ref
		group string
	}
	first := map[key]*Object{}
	for _, o := range s.All {
		k := key{o.Ref, o.Group()}
		if f, ok := first[k]; ok {
			found = append(found, Duplicate{f, o})
			continue
		}
		first[k] = o
	}
	return found
}
