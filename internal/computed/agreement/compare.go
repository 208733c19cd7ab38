package agreement

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"twohop/internal/given"
)

// Difference is a field that the live proxy was given otherwise than istiod's code says,
// or a resource that one of both lacks: then it has no path.
type Difference struct {
	Kind, Name, Path string
	Computed, Live   string
}

// Resource is one that was compared.
type Resource struct {
	Kind, Name  string
	Differences []Difference
}

// normalised reads what istiod's code computed as a proxy's dump would hold it: with the
// routes that are written inside listeners, which Envoy lists among the static ones, and
// the names of the secrets that the resources ask for.
func normalised(dump []byte) (given.Config, error) {
	var d struct{ Configs []section }
	if err := json.Unmarshal(dump, &d); err != nil {
		return nil, err
	}
	var inline, asked []any
	names := map[string]bool{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if r, ok := v["route_config"].(map[string]any); ok {
				inline = append(inline, section{"route_config": r})
			}
			if name, ok := v["name"].(string); ok && v["sds_config"] != nil && !names[name] {
				names[name] = true
				asked = append(asked, section{"name": name})
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	for _, s := range d.Configs {
		for key, v := range s {
			if strings.Contains(key, "cluster") || strings.Contains(key, "listener") {
				walk(v)
			}
		}
	}
	return parts(append(d.Configs,
		section{"@type": "inline.RoutesConfigDump", "static_route_configs": inline},
		section{"@type": "asked.SecretsConfigDump", "dynamic_active_secrets": asked})...)
}

// compare holds resources of a scope against each other, one by one.
func compare(computed, live given.Config, in Scope) (all []Resource) {
	byName := func(c given.Config) map[[2]string]given.Config {
		found := map[[2]string]given.Config{}
		for field, value := range c {
			resource, path, _ := strings.Cut(field, ": ")
			kind, name := split(resource)
			if !in(kind, name) {
				continue
			}
			key := [2]string{kind, name}
			if found[key] == nil {
				found[key] = given.Config{}
			}
			found[key][path] = value
		}
		return found
	}
	ours, theirs := byName(computed), byName(live)
	both := maps.Clone(ours)
	maps.Copy(both, theirs)
	for _, key := range slices.SortedFunc(maps.Keys(both), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		r := Resource{Kind: key[0], Name: key[1]}
		switch {
		case ours[key] == nil:
			r.Differences = []Difference{{Kind: r.Kind, Name: r.Name, Live: whole(r.Kind, theirs[key])}}
		case theirs[key] == nil:
			r.Differences = []Difference{{Kind: r.Kind, Name: r.Name, Computed: whole(r.Kind, ours[key])}}
		default:
			for _, c := range given.Diff(ours[key], theirs[key]) {
				r.Differences = append(r.Differences, Difference{r.Kind, r.Name, c.Field, c.Was, c.Is})
			}
		}
		all = append(all, r)
	}
	return all
}

// whole says that one side has a resource: of endpoints, which ones.
func whole(kind string, fields given.Config) string {
	switch {
	case kind != endpoints:
		return "given"
	case fields[addresses] == "":
		return without
	}
	return fields[addresses]
}

// split tells a resource's kind from its name.
func split(resource string) (kind, name string) {
	for _, kind := range []string{clusters, listeners, routes, secrets, endpoints} {
		if name, ok := strings.CutPrefix(resource, kind+" "); ok {
			return kind, name
		}
	}
	return resource, ""
}
