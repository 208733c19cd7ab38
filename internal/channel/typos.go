package channel

import (
	"fmt"
	"slices"
	"strings"

	"twohop/internal/objects"
)

// Place is where an object names a host.
type Place struct {
	Object *objects.Object
	Field  string
	Host   string
	// Kind is the sort of place, such as "Gateway".
	Kind string
}

// places are where external hosts are named.
func (m *Mesh) places() (found []Place) {
	add := func(o *objects.Object, kind, field, host string) {
		if host != "" && host != "*" && !m.inside(host) {
			found = append(found, Place{o, field, host, kind})
		}
	}
	for _, e := range m.Entries {
		for i, h := range e.Spec.GetHosts() {
			add(e.Object, "ServiceEntry", fmt.Sprintf("spec.hosts[%d]", i), h)
		}
	}
	for _, g := range m.Gateways {
		for i, s := range g.Spec.GetServers() {
			for j, h := range s.GetHosts() {
				add(g.Object, "Gateway", fmt.Sprintf("spec.servers[%d].hosts[%d]", i, j), ServerHost(h))
			}
		}
	}
	for _, r := range m.Rules {
		add(r.Object, "DestinationRule", "spec.host", r.Host)
	}
	for _, v := range m.VirtualServices {
		for i, h := range v.Spec.GetHosts() {
			add(v.Object, "VirtualService", fmt.Sprintf("spec.hosts[%d]", i), m.FullName(h, v.Namespace))
		}
		for i, r := range v.Spec.GetHttp() {
			for j, d := range r.GetRoute() {
				o, field := v.Written(i)
				add(o, "destination", fmt.Sprintf("%s.route[%d].destination.host", field, j), m.FullName(d.GetDestination().GetHost(), v.Namespace))
			}
		}
	}
	return found
}

// misspelt finds hosts that are named in one sort of place only, and differ by a letter
// or two from one that is named in others and not in that one: mistakes, not hosts.
func (m *Mesh) misspelt() map[string][]Place {
	kinds := map[string][]string{}
	all := m.places()
	for _, p := range all {
		kinds[p.Host] = appendNew(kinds[p.Host], p.Kind)
	}
	var several []string
	for _, host := range sortedKeys(kinds) {
		if len(kinds[host]) > 1 {
			several = append(several, host)
		}
	}
	found := map[string][]Place{}
	for _, p := range all {
		if len(kinds[p.Host]) != 1 {
			continue
		}
		for _, host := range several {
			if !slices.Contains(kinds[host], p.Kind) && Near(p.Host, host) {
				found[host] = append(found[host], p)
				break
			}
		}
	}
	return found
}

// Near reports whether two different names differ by so little that one may be a
// mistake for the other: two letters put in, left out, exchanged or swapped.
func Near(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if a == b || len(a) < 4 || len(b) < 4 || len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return false
	}
	return distance(a, b) <= 2
}

// distance is the optimal string alignment, in bytes.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
