package corpus

import (
	"fmt"
	"slices"
	"strings"

	"twohop/internal/objects"
)

// The operators on whole objects.
const (
	DeleteObject = "delete-object"
	Move         = "move"
	Newer        = "duplicate-newer"
	Older        = "duplicate-older"
	NewerExport  = "duplicate-newer-export" // with another exportTo
	SetExport    = "set-export"
	Swap         = "swap-hops"
)

// When objects were made matters where several are for one host: a snapshot of a
// cluster says so.
const (
	early = "2025-03-01T08:00:00Z"
	late  = "2026-03-01T08:00:00Z"
)

// elsewhere is a namespace of nobody's.
const elsewhere = "elsewhere"

// whole changes an object as such.
func whole(s *Setup, index int, emit func(change)) {
	o := s.Objects[index]
	of := func(operator, field, detail string, tree map[string]any) {
		emit(change{operator: operator, object: o.Ref, field: field, detail: detail, replace: map[int]map[string]any{index: tree}})
	}
	of(DeleteObject, "", "", nil)
	if o.Ref.Namespace != "" {
		for _, n := range targets(s, o) {
			of(Move, "metadata.namespace", n, edited(o.Tree, to(n), "metadata", "namespace"))
		}
	}
	copies(o, index, emit)
	for _, names := range exports(o) {
		of(SetExport, "spec.exportTo", brief(names), withExport(o.Tree, names))
	}
}

// targets are two other namespaces of the setup, and one that is not in it.
func targets(s *Setup, o *Object) []string {
	others := slices.DeleteFunc(s.Namespaces(), func(n string) bool {
		// Where there is one of that name already, the move would be a deletion.
		there := objects.Ref{Kind: o.Kind, Namespace: n, Name: o.Name}
		return slices.ContainsFunc(s.Objects, func(other *Object) bool { return other.Ref == there })
	})
	if len(others) > 2 {
		others = others[:2]
	}
	return append(others, elsewhere)
}

func withExport(tree map[string]any, names []any) map[string]any {
	return edited(tree, to(names), "spec", "exportTo")
}

// exports are the other exportTo that an object could have.
func exports(o *Object) (found [][]any) {
	switch o.Kind {
	case "VirtualService", "DestinationRule", "ServiceEntry":
	default:
		return nil
	}
	have := brief(list(at(o.Tree, "spec", "exportTo")))
	for _, e := range [][]any{{"."}, {"*"}, {elsewhere}} {
		if brief(e) != have {
			found = append(found, e)
		}
	}
	return found
}

// copies adds a second object like this one, with something of its own: a younger one
// whose name sorts after this one's, an older one whose name sorts before it, and a
// younger one that is exported otherwise.
func copies(o *Object, index int, emit func(change)) {
	changed := differing(o)
	if changed == nil {
		return
	}
	dated := func(when string) map[string]any { return edited(o.Tree, to(when), "metadata", "creationTimestamp") }
	copied := func(name, when string) map[string]any {
		tree := edited(deep(changed), to(name), "metadata", "name")
		return edited(tree, to(when), "metadata", "creationTimestamp")
	}
	add := func(operator, detail, original string, first, last map[string]any) {
		c := change{operator: operator, object: o.Ref, detail: detail, replace: map[int]map[string]any{index: dated(original)}}
		if first != nil {
			c.first = []map[string]any{first}
		} else {
			c.last = []map[string]any{last}
		}
		emit(c)
	}
	add(Newer, "", early, nil, copied(o.Name+"-z", late))
	add(Older, "", late, copied("a-"+o.Name, early), nil)
	if at(o.Tree, "spec", "exportTo") != nil {
		add(NewerExport, "none", early, nil, edited(copied(o.Name+"-z", late), gone, "spec", "exportTo"))
	}
	for _, e := range exports(o) {
		add(NewerExport, brief(e), early, nil, withExport(copied(o.Name+"-z", late), e))
	}
}

// differing is an object with a value of its own, as a second one of its kind may have
// it; nil for kinds of which several do not meet.
func differing(o *Object) map[string]any {
	spec := func(value any, steps ...any) map[string]any {
		return edited(o.Tree, to(value), append([]any{"spec"}, steps...)...)
	}
	switch o.Kind {
	case "DestinationRule":
		// What claim T1-merge added: limits only, and a subset of another name.
		tree := spec(map[string]any{"connectionPool": map[string]any{"tcp": map[string]any{"maxConnections": 5.0}}}, "trafficPolicy")
		return edited(tree, to([]any{map[string]any{"name": "younger"}}), "spec", "subsets")
	case "VirtualService":
		host := at(o.Tree, "spec", "hosts", 0)
		if host == nil {
			return nil // a delegate
		}
		return spec([]any{map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": host}}}}}, "http")
	case "ServiceEntry":
		return edited(spec("STATIC", "resolution"), to([]any{map[string]any{"address": "192.0.2.66"}}), "spec", "endpoints")
	case "Gateway":
		return spec(map[string]any{"mode": "SIMPLE", "credentialName": "other"}, "servers", 0, "tls")
	case "Sidecar":
		return spec([]any{map[string]any{"hosts": []any{"./*"}}}, "egress")
	case "AuthorizationPolicy":
		return spec([]any{map[string]any{}}, "rules")
	case "PeerAuthentication":
		return spec("DISABLE", "mtls", "mode")
	case "NetworkPolicy":
		return spec([]any{map[string]any{}}, "egress")
	case "Service":
		return spec(map[string]any{"app": "other"}, "selector")
	}
	return nil
}

// swaps exchanges what hop 1's and hop 2's rules say of the same thing, and the
// destinations and matches of both hops' routes.
func swaps(s *Setup, emit func(change)) {
	for _, one := range s.kind("DestinationRule") {
		if !s.hop1(one) {
			continue
		}
		for _, two := range s.kind("DestinationRule") {
			if s.hop1(two) {
				continue
			}
			a, b := s.Objects[one], s.Objects[two]
			for _, field := range []string{"host", "tls", "connectionPool", "trafficPolicy"} {
				at1, at2 := find(a.Tree, field), find(b.Tree, field)
				if at1 == nil || at2 == nil {
					continue
				}
				emit(change{operator: Swap, object: a.Ref, field: path(at1...), detail: "with " + b.String(), replace: map[int]map[string]any{
					one: edited(a.Tree, to(at(b.Tree, at2...)), at1...),
					two: edited(b.Tree, to(at(a.Tree, at1...)), at2...),
				}})
			}
		}
	}
	for _, i := range s.kind("VirtualService") {
		o := s.Objects[i]
		routes := list(at(o.Tree, "spec", "http"))
		for n := range len(routes) - 1 {
			for _, field := range []string{"route", "match", ""} {
				tree, detail := o.Tree, fmt.Sprintf("with http[%d]", n+1)
				for _, pair := range [][2]int{{n, n + 1}, {n + 1, n}} {
					steps, from := []any{"spec", "http", pair[0]}, routes[pair[1]]
					if field != "" {
						steps, from = append(steps, field), at(from, field)
					}
					if from != nil {
						tree = edited(tree, to(from), steps...)
					}
				}
				steps := []any{"spec", "http", n}
				if field != "" {
					steps = append(steps, field)
				}
				emit(change{operator: Swap, object: o.Ref, field: path(steps...), detail: detail, replace: map[int]map[string]any{i: tree}})
			}
		}
	}
}

// hop1 says whether a rule is for a Service of the cluster.
func (s *Setup) hop1(index int) bool {
	return strings.HasSuffix(text(at(s.Objects[index].Tree, "spec", "host")), ".svc.cluster.local")
}

// find are the steps to the first field of a name.
func find(tree map[string]any, name string) (found []any) {
	visit(tree, func(steps []any, _ any) {
		if found == nil && steps[0] == "spec" && steps[len(steps)-1] == name {
			found = steps
		}
	})
	return found
}
