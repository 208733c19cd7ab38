package corpus

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"slices"
	"strings"
)

// The operators on fields.
const (
	DeleteField = "delete-field"
	DeleteItem  = "delete-item"
	TypoSwap    = "typo-swap" // two neighbouring letters change places
	TypoDrop    = "typo-drop" // a letter is lost
	TypoKey     = "typo-key"  // the same, in a key that the author chose
	OtherEnum   = "other-enum"
	OtherPort   = "other-port"
	OtherNumber = "other-number"
	OtherBool   = "other-bool"
	Untyped     = "untyped" // a number as a text, a duration as a number
)

// variant is one way to change a field.
type variant struct {
	operator, detail string
	edit             edit
	// key is what a key becomes where it is the key that changes.
	key string
}

// fields changes each field of an object in each way that fits it.
func fields(s *Setup, index int, emit func(change)) {
	o := s.Objects[index]
	visit(o.Tree, func(steps []any, value any) {
		if !inScope(o, steps) {
			return
		}
		for _, v := range variants(s, o, steps, value) {
			emit(change{
				operator: v.operator, object: o.Ref, field: path(steps...), detail: v.detail,
				replace: map[int]map[string]any{index: apply(o, steps, v)},
			})
		}
	})
}

// inScope says whether a field matters to an egress. Of workloads only what the
// injector, selectors and identities read does.
func inScope(o *Object, steps []any) bool {
	switch steps[0] {
	case "kind", "status":
		return false
	case "apiVersion", "metadata":
		return len(steps) == 1 && steps[0] == "apiVersion" || len(steps) > 1
	}
	pod := template(o.Kind)
	if pod == nil {
		return true
	}
	if len(steps) <= len(pod) || !slices.Equal(steps[:len(pod)], pod) {
		return false
	}
	inside := keys(steps[len(pod):])
	for _, field := range []string{"metadata/labels/", "metadata/annotations/", "spec/serviceAccountName", "spec/hostNetwork", "spec/containers/ports"} {
		if strings.HasPrefix(inside, field) {
			return true
		}
	}
	return inside == "spec/containers/name" || inside == "spec/containers/image"
}

// apply changes a field, and with it what cannot be told apart from it.
func apply(o *Object, steps []any, v variant) map[string]any {
	change := func(tree map[string]any, steps []any) map[string]any {
		if v.key == "" {
			return edited(tree, v.edit, steps...)
		}
		value := at(tree, steps...)
		parent := steps[:len(steps)-1]
		return edited(edited(tree, gone, steps...), to(value), append(slices.Clone(parent), v.key)...)
	}
	tree := change(o.Tree, steps)
	// A workload whose selector does not choose its own pods is refused: there a
	// pod's label and the selector's are one thing, written twice.
	pod := template(o.Kind)
	label := len(pod) + 2
	if pod == nil || len(steps) != label+1 || keys(steps[len(pod):label]) != "metadata/labels" {
		return tree
	}
	chosen := []any{"spec", "selector", "matchLabels", steps[label]}
	if at(o.Tree, chosen...) == nil {
		return tree
	}
	tree = change(tree, chosen)
	if left, _ := at(tree, chosen[:3]...).(map[string]any); len(left) == 0 {
		// Nor may the selector be empty.
		tree = edited(tree, to(o.Name), "spec", "selector", "matchLabels", "workload")
		tree = edited(tree, to(o.Name), append(slices.Clone(steps[:label]), "workload")...)
	}
	return tree
}

func variants(s *Setup, o *Object, steps []any, value any) (found []variant) {
	add := func(operator, detail string, e edit) {
		found = append(found, variant{operator: operator, detail: detail, edit: e})
	}
	set := func(operator string, value any) { add(operator, brief(value), to(value)) }
	where := keys(steps)
	if where == "apiVersion" {
		for _, other := range otherVersions(o.APIVersion) {
			set(OtherEnum, other)
		}
		return found
	}
	last, isKey := steps[len(steps)-1].(string)
	switch {
	case !isKey:
		add(DeleteItem, "", gone)
	case where != "metadata/name":
		add(DeleteField, "", gone)
	}
	seed := s.Name + "|" + o.String() + "|" + path(steps...)
	if isKey && len(steps) > 1 && chosenKeys[text(steps[len(steps)-2])] {
		if key, ok := drop(last, seed+"|key"); ok {
			found = append(found, variant{operator: TypoKey, detail: key, key: key})
		}
	}
	switch v := value.(type) {
	case string:
		if other, ok := swap(v, seed); ok {
			set(TypoSwap, other)
		}
		if other, ok := drop(v, seed); ok {
			set(TypoDrop, other)
		}
		for _, other := range otherValues(o, steps, v) {
			set(OtherEnum, other)
		}
		if m := duration.FindStringSubmatch(v); m != nil {
			add(Untyped, m[1], to(number(m[1])))
		}
	case float64:
		if ports[last] {
			set(OtherPort, v+1)
		} else {
			set(OtherNumber, v+1)
			if v != 0 {
				set(OtherNumber, 0.0)
			}
		}
		if strings.Contains(o.APIVersion, "istio.io/") {
			add(Untyped, fmt.Sprintf("%q", brief(v)), to(brief(v)))
		}
	case bool:
		set(OtherBool, !v)
	}
	return found
}

var duration = regexp.MustCompile(`^(\d+)(?:ms|s|m|h)$`)

func number(digits string) any {
	var n float64
	fmt.Sscan(digits, &n) // digits, by the expression that found them
	return n
}

// ports are the keys of port numbers.
var ports = map[string]bool{"number": true, "port": true, "targetPort": true, "nodePort": true, "containerPort": true}

// chosenKeys are the maps whose keys are their author's.
var chosenKeys = map[string]bool{"labels": true, "matchLabels": true, "annotations": true, "selector": true, "data": true, "stringData": true}

// brief is a value for an ID: whole, but for long ones.
func brief(value any) string {
	said := fmt.Sprint(value)
	if f, ok := value.(float64); ok {
		said = fmt.Sprintf("%.0f", f)
	}
	if len(said) <= 100 {
		return said
	}
	return fmt.Sprintf("%.20s…%08x", said, hash(said))
}

func hash(s string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(s))
	return h.Sum32()
}

// swap changes the places of two neighbouring letters that differ; which, the seed says.
func swap(s, seed string) (string, bool) {
	r := []rune(s)
	var places []int
	for i := 0; i+1 < len(r); i++ {
		if r[i] != r[i+1] {
			places = append(places, i)
		}
	}
	if len(places) == 0 {
		return "", false
	}
	i := places[int(hash(seed+"|swap"))%len(places)]
	r[i], r[i+1] = r[i+1], r[i]
	return string(r), true
}

// drop leaves a letter out; which, the seed says.
func drop(s, seed string) (string, bool) {
	r := []rune(s)
	if len(r) < 2 {
		return "", false
	}
	i := int(hash(seed+"|drop")) % len(r)
	return string(slices.Delete(r, i, i+1)), true
}
