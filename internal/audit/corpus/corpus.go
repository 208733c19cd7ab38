// Package corpus holds egress setups as different teams would write them, and makes
// faults of them: one field, list item or object at a time. It is what an audit is
// scored on, so it knows nothing of the audit's checks; what a fault does to traffic is
// for a rehearsal to say, or for a claim of the catalogue (Known).
package corpus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"twohop/internal/objects"
)

// Setup is one folder of YAML.
type Setup struct {
	Name string
	// Comment is what its first file says of it.
	Comment string
	Dir     string
	// Objects are those of all its files, in the order in which objects.Set reads them.
	Objects []*Object
	// Docs is the whole setup as Faults writes it, without a fault.
	Docs []byte
}

// Object is one object as a tree of JSON, so that no field is lost to a type.
type Object struct {
	objects.Ref
	APIVersion string
	Tree       map[string]any

	doc []byte
}

// Load reads the setups that are the folders of a folder, by name.
func Load(dir string) ([]Setup, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var setups []Setup
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		s, err := load(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		setups = append(setups, s)
	}
	return setups, nil
}

func load(dir string) (Setup, error) {
	s := Setup{Name: filepath.Base(dir), Dir: dir}
	set := &objects.Set{}
	if err := set.Read(nil, dir); err != nil {
		return s, err
	}
	comment, err := comment(dir)
	if err != nil {
		return s, err
	}
	s.Comment = comment
	for _, o := range set.All {
		var tree map[string]any
		if err := json.Unmarshal(o.JSON, &tree); err != nil {
			return s, fmt.Errorf("%s: %w", o, err)
		}
		made, err := newObject(tree)
		if err != nil {
			return s, fmt.Errorf("%s: %w", o, err)
		}
		s.Objects = append(s.Objects, made)
	}
	s.Docs, err = s.with(change{})
	return s, err
}

// comment is the one at the top of a folder's first file.
func comment(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		return "", err
	}
	raw, err := os.ReadFile(slices.Min(files))
	if err != nil {
		return "", err
	}
	var said []string
	for line := range strings.Lines(string(raw)) {
		text, ok := strings.CutPrefix(line, "#")
		if !ok {
			break
		}
		said = append(said, strings.TrimSpace(text))
	}
	return strings.Join(said, " "), nil
}

func newObject(tree map[string]any) (*Object, error) {
	doc, err := yaml.Marshal(tree)
	if err != nil {
		return nil, err
	}
	o := &Object{Tree: tree, doc: doc}
	o.APIVersion, _ = tree["apiVersion"].(string)
	o.Kind, _ = tree["kind"].(string)
	o.Ref.Namespace, _ = at(tree, "metadata", "namespace").(string)
	o.Name, _ = at(tree, "metadata", "name").(string)
	return o, nil
}

// change is what a fault does to a setup's objects.
type change struct {
	operator string
	// object is the one that is mutated, or the first of them; for an object that is
	// added, that one.
	object objects.Ref
	field  string
	detail string
	// replace has new trees by the index of the object; nil takes it away.
	replace map[int]map[string]any
	// first and last are added before and after all others.
	first, last []map[string]any
}

// separator begins each document of Docs.
const separator = "---\n"

// with is the setup as YAML, after a change.
func (s *Setup) with(c change) ([]byte, error) {
	var b bytes.Buffer
	add := func(tree map[string]any) error {
		doc, err := yaml.Marshal(tree)
		b.WriteString(separator)
		b.Write(doc)
		return err
	}
	for _, tree := range c.first {
		if err := add(tree); err != nil {
			return nil, err
		}
	}
	for i, o := range s.Objects {
		tree, changed := c.replace[i]
		switch {
		case !changed:
			b.WriteString(separator)
			b.Write(o.doc)
		case tree != nil:
			if err := add(tree); err != nil {
				return nil, err
			}
		}
	}
	for _, tree := range c.last {
		if err := add(tree); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// Namespaces are those that the objects lie in, in the order of their appearance.
func (s *Setup) Namespaces() (found []string) {
	for _, o := range s.Objects {
		n := o.Ref.Namespace
		if o.Kind == "Namespace" {
			n = o.Name
		}
		if n != "" && !slices.Contains(found, n) {
			found = append(found, n)
		}
	}
	return found
}

// kind are the indices of the objects of these kinds.
func (s *Setup) kind(kinds ...string) (found []int) {
	for i, o := range s.Objects {
		if slices.Contains(kinds, o.Kind) && !strings.HasPrefix(o.APIVersion, "gateway.networking.k8s.io/") {
			found = append(found, i)
		}
	}
	return found
}
