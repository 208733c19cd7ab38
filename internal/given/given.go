// Package given compares what two proxies were given: their clusters, listeners and
// routes, the names of their secrets, and their bootstrap, field by field and without
// what differs between any two runs. It knows the JSON of Envoy's config_dump and
// istiod's habits of naming; it judges nothing, and must not import a room that does.
package given

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Config is what a proxy was given: values by field. A field is a resource and a path
// in it, such as "cluster outbound|443||api.partner.example.com: connect_timeout".
type Config map[string]string

// Parse reads a config_dump. What it does not know the sort of is an error: it could
// not be told what is missing.
func Parse(dump []byte) (Config, error) {
	return read(dump, "BootstrapConfigDump", "ClustersConfigDump", "ListenersConfigDump")
}

// ParseResources reads a config_dump of what a control plane sends: it has no bootstrap.
func ParseResources(dump []byte) (Config, error) {
	return read(dump, "ClustersConfigDump", "ListenersConfigDump")
}

func read(dump []byte, sections ...string) (Config, error) {
	var d struct{ Configs []map[string]any }
	if err := json.Unmarshal(dump, &d); err != nil {
		return nil, fmt.Errorf("config_dump: %w", err)
	}
	c := Config{}
	seen := map[string]bool{}
	for _, section := range d.Configs {
		url, _ := section["@type"].(string)
		sort := url[strings.LastIndex(url, ".")+1:]
		seen[sort] = true
		switch sort {
		case "BootstrapConfigDump":
			c.bootstrap(section)
		case "ClustersConfigDump":
			c.resources("cluster", section, "cluster")
		case "ListenersConfigDump":
			c.resources("listener", section, "listener")
		case "RoutesConfigDump":
			c.resources("route configuration", section, "route_config")
		case "SecretsConfigDump":
			c.secrets(section)
		case "ScopedRoutesConfigDump", "EndpointsConfigDump", "EcdsConfigDump":
			// istiod gives none of the first and the third, and the second are addresses.
		default:
			return nil, fmt.Errorf("config_dump: a section of an unknown sort, %q", url)
		}
	}
	for _, sort := range sections {
		if !seen[sort] {
			return nil, fmt.Errorf("config_dump: there is no %s", sort)
		}
	}
	return c, nil
}

// bootstrap adds how the proxy was started. Its node says who it is, and its resources
// are among the static ones.
func (c Config) bootstrap(section map[string]any) {
	b, _ := section["bootstrap"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(b)) {
		if key != "node" && key != "static_resources" {
			c.add("bootstrap: "+key, b[key])
		}
	}
}

// resources adds the resources of a section: all objects under a key.
func (c Config) resources(sort string, section map[string]any, key string) {
	var found []map[string]any
	var collect func(any)
	collect = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				collect(e)
			}
		case map[string]any:
			if r, ok := v[key].(map[string]any); ok {
				found = append(found, r)
				return
			}
			for _, k := range slices.Sorted(maps.Keys(v)) {
				if k != "draining_state" { // of a listener that another one has replaced
					collect(v[k])
				}
			}
		}
	}
	collect(section)
	// Envoy lists resources in any order: those that share a name, or have none, go by
	// what they say.
	slices.SortStableFunc(found, func(a, b map[string]any) int { return strings.Compare(text(a), text(b)) })
	names := map[string]int{}
	for _, r := range found {
		if ours(r) {
			continue
		}
		name := nameOf(r)
		names[name]++
		if n := names[name]; n > 1 {
			name += " (" + strconv.Itoa(n) + ")"
		}
		delete(r, "name")
		c.add(sort+" "+name+": ", r)
	}
}

// secrets adds the names of secrets.
func (c Config) secrets(section map[string]any) {
	for _, list := range section {
		secrets, _ := list.([]any)
		for _, s := range secrets {
			if s, ok := s.(map[string]any); ok {
				c[fmt.Sprintf("secret %v", s["name"])] = "given"
			}
		}
	}
}

// sentinel is in the names of what the harness makes to learn that a push has come.
const sentinel = "sentinel.invalid"

// ours reports whether a resource, or a part of one, is about a sentinel.
func ours(r map[string]any) bool {
	if name, _ := r["name"].(string); strings.Contains(name, sentinel) || strings.HasSuffix(name, "_15999") || name == "15999" {
		return true
	}
	domains, _ := r["domains"].([]any)
	return slices.ContainsFunc(domains, func(d any) bool { return strings.Contains(fmt.Sprint(d), sentinel) })
}

var (
	address = regexp.MustCompile(`\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b`)
	atPort  = regexp.MustCompile(`^(\d+\.\d+\.\d+\.\d+)_(\d+)$`)
	cluster = regexp.MustCompile(`outbound\|\d+\|[^"|]*\|[^"]+`)
	pod     = regexp.MustCompile(`-[0-9a-f]{8,10}-[a-z0-9]{5}\b`)
)

// nameOf is a resource's name. A listener is named by its Service's address, which
// another cluster has otherwise: it is called by where it leads.
func nameOf(r map[string]any) string {
	name, _ := r["name"].(string)
	if m := atPort.FindStringSubmatch(name); m != nil && steadyAddress(m[1]) != m[1] {
		if to := cluster.FindString(text(r)); to != "" {
			return "for " + to
		}
	}
	if name == "" {
		return "without a name"
	}
	return steady(name)
}

// text is a value as JSON, without what differs between any two runs.
func text(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return steady(string(raw))
}

// steady takes out of a value what differs between any two runs.
func steady(s string) string {
	return pod.ReplaceAllString(address.ReplaceAllStringFunc(s, steadyAddress), "-POD")
}

// steadyAddress keeps addresses that are the same everywhere.
func steadyAddress(ip string) string {
	for _, fixed := range []string{"0.0.0.0", "127.", "240.240.", "169.254.", "255.", "1.", "2."} {
		if strings.HasPrefix(ip, fixed) {
			return ip
		}
	}
	return "IP"
}

// add adds a value with all that is under it.
func (c Config) add(path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			c.add(under(path, key), v[key])
		}
		if len(v) == 0 {
			c[path] = empty
		}
	case []any:
		c.list(path, v)
	case string:
		if c[path] = steady(v); v == "" {
			c[path] = `""`
		}
	default:
		c[path] = text(v)
	}
}

func under(path, key string) string {
	if strings.HasSuffix(path, ": ") || strings.HasSuffix(path, "]") && key == "" {
		return path + key
	}
	return path + "." + key
}

// list adds a list: of plain values as one value, of objects by their names, with the
// order that these have, or by their places.
func (c Config) list(path string, list []any) {
	var plain, order []string
	var objects []map[string]any
	named := map[string]int{}
	for _, e := range list {
		r, ok := e.(map[string]any)
		if !ok {
			plain = append(plain, strings.Trim(text(e), `"`))
			continue
		}
		if ours(r) {
			continue
		}
		objects = append(objects, r)
		if name, ok := r["name"].(string); ok {
			named[steady(name)]++
		}
	}
	taken := map[string]int{}
	for i, r := range objects {
		at := strconv.Itoa(i + 1)
		if name, ok := r["name"].(string); ok && name != "" {
			at = steady(name)
			if match := r["filter_chain_match"]; named[at] > 1 && match != nil {
				at += " for " + text(match) // istiod names chains for the port, and a port has several
			}
			if taken[at]++; taken[at] > 1 {
				at += " (" + strconv.Itoa(taken[at]) + ")"
			}
			order = append(order, at)
		}
		c.add(path+"["+at+"]", r)
	}
	switch {
	case len(plain) > 0:
		c[path] = strings.Join(plain, ", ")
	case len(list) == 0:
		c[path] = "[]"
	}
	if len(order) > 1 {
		c[path+" in this order"] = strings.Join(order, ", ")
	}
}

// Change is a field that one proxy was given otherwise than another one.
type Change struct {
	Field string
	// Was and Is are empty where the field is not given.
	Was, Is string
}

// Diff lists what leads from one configuration to the other, in the order of fields.
func Diff(from, to Config) (changes []Change) {
	fields := maps.Clone(from)
	maps.Copy(fields, to)
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		was, hadIt := from[f]
		is, hasIt := to[f]
		switch {
		case was == is && hadIt == hasIt:
		case was == empty && !hasIt && to.has(f+"."), is == empty && !hadIt && from.has(f+"."):
			// It has got its first field, or lost its last one: that is the change.
		default:
			changes = append(changes, Change{f, was, is})
		}
	}
	return changes
}

// empty is the value of an object without fields.
const empty = "{}"

// has reports whether there are fields below a path.
func (c Config) has(prefix string) bool {
	for f := range c {
		if strings.HasPrefix(f, prefix) {
			return true
		}
	}
	return false
}

// Group is the same change in several resources of a proxy.
type Group struct {
	Kind      string   `json:"kind"` // cluster, listener, route configuration, secret, bootstrap
	Path      string   `json:"path"` // within the resource; empty for all of it
	Was       string   `json:"was,omitempty"`
	Is        string   `json:"is,omitempty"`
	Resources []string `json:"resources,omitempty"`
}

// Grouped puts together what changed in the same way. A resource that only one side has
// is one change, not one for each of its fields.
func Grouped(from, to Config) []Group {
	whole := map[string]bool{}
	had, has := names(from), names(to)
	for name := range had {
		whole[name] = !has[name]
	}
	for name := range has {
		whole[name] = whole[name] || !had[name]
	}
	var groups []Group
	at := map[[4]string]int{}
	seen := map[string]bool{}
	for _, c := range Diff(from, to) {
		resource, path := split(c.Field)
		kind, name := kindOf(resource)
		if whole[resource] {
			if seen[resource] {
				continue
			}
			seen[resource] = true
			path, c.Was, c.Is = "", present(had[resource]), present(has[resource])
		}
		key := [4]string{kind, path, c.Was, c.Is}
		i, ok := at[key]
		if !ok {
			i = len(groups)
			at[key] = i
			groups = append(groups, Group{Kind: kind, Path: path, Was: c.Was, Is: c.Is})
		}
		if name != "" {
			groups[i].Resources = append(groups[i].Resources, name)
		}
	}
	return groups
}

func present(there bool) string {
	if there {
		return "given"
	}
	return ""
}

func names(c Config) map[string]bool {
	all := map[string]bool{}
	for field := range c {
		resource, _ := split(field)
		all[resource] = true
	}
	return all
}

// split tells a field's resource from the path in it.
func split(field string) (resource, path string) {
	resource, path, _ = strings.Cut(field, ": ")
	return resource, path
}

func kindOf(resource string) (kind, name string) {
	for _, kind := range []string{"cluster", "listener", "route configuration", "secret"} {
		if name, ok := strings.CutPrefix(resource, kind+" "); ok {
			return kind, name
		}
	}
	return resource, ""
}
