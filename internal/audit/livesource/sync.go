package livesource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"twohop/internal/envoy"
	"twohop/internal/walk"
)

// Sync is how far a proxy has what istiod wants it to have: facts, no judgement.
type Sync struct {
	// Istiod is the replica that it is connected to; empty if none said so.
	Istiod string `json:"istiod,omitempty"`
	// Compared says that both views were there; else Differences mean nothing.
	Compared    bool         `json:"compared"`
	Differences []Difference `json:"differences,omitempty"`
	// Unacknowledged are the types that istiod sent and the proxy did not confirm, Errors
	// what it last refused, by type, in its own words.
	Unacknowledged []string          `json:"unacknowledged,omitempty"`
	Errors         map[string]string `json:"errors,omitempty"`
	// Rejected and Warming are Envoy's own words. Warming clusters carry no traffic yet.
	Rejected []envoy.Rejection `json:"rejected,omitempty"`
	Warming  []string          `json:"warming,omitempty"`
	// ProxyIstio and IstiodIstio are Istio's versions at both ends; MinorsApart counts
	// minor versions between them, and is -1 where one is not known.
	ProxyIstio  string `json:"proxyIstio,omitempty"`
	IstiodIstio string `json:"istiodIstio,omitempty"`
	MinorsApart int    `json:"minorsApart"`
}

// Difference is a resource that istiod would send otherwise than the proxy has it.
type Difference struct {
	Kind string `json:"kind"` // "cluster", "listener", "route"
	Name string `json:"name"`
	// Where is "both" if it differs, else who has it: "envoy" or "istiod".
	Where string `json:"where"`
	What  string `json:"what,omitempty"`
}

// read takes what istiod says of the proxy's acknowledgements.
func (s *Sync) read(replica string, of syncStatus) {
	s.Istiod, s.ProxyIstio = replica, of.Version
	for _, k := range []struct{ kind, sent, acked string }{
		{"clusters", of.ClusterSent, of.ClusterAcked}, {"listeners", of.ListenerSent, of.ListenerAcked},
		{"routes", of.RouteSent, of.RouteAcked}, {"endpoints", of.EndpointSent, of.EndpointAcked},
	} {
		if k.sent != k.acked {
			s.Unacknowledged = append(s.Unacknowledged, k.kind)
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(of.Resources)) {
		if text := of.Resources[kind].LastError; text != "" {
			if s.Errors == nil {
				s.Errors = map[string]string{}
			}
			s.Errors[kind[strings.LastIndexByte(kind, '.')+1:]] = text
		}
	}
}

// compare works out the facts of both views.
func (p *Proxy) compare(istiods []Istiod) {
	s := &p.Sync
	s.MinorsApart = -1
	if p.Info != nil && p.Info.Istio != "" {
		s.ProxyIstio = p.Info.Istio
	}
	replica := s.Istiod
	for name := range p.Istiod {
		if replica == "" || len(p.Istiod) == 1 {
			replica = name
		}
	}
	s.Istiod = replica
	for _, i := range istiods {
		if i.Name == replica {
			s.IstiodIstio = i.Version
		}
	}
	s.MinorsApart = minorsApart(s.ProxyIstio, s.IstiodIstio)
	has, dynamic, ok := p.parse("Envoy's", p.Envoy)
	if !ok {
		return
	}
	s.Rejected, s.Warming = has.Rejected, has.Warming
	wants, _, ok := p.parse("istiod's", p.Istiod[replica])
	if !ok {
		return
	}
	s.Compared = true
	s.Differences = slices.Concat(compareClusters(has, wants), compareListeners(has, wants, dynamic), compareRoutes(has, wants))
}

// parse reads a view, and the names of the listeners that istiod has sent.
func (p *Proxy) parse(whose string, d *Dump) (*walk.Config, map[string]bool, bool) {
	if d == nil {
		return nil, nil, false
	}
	raw, err := d.JSON()
	var c *walk.Config
	if err == nil {
		c, err = walk.Parse(raw)
	}
	var dynamic map[string]bool
	if err == nil {
		dynamic, err = dynamicListeners(raw)
	}
	if err != nil {
		p.note([]string{fmt.Sprintf("%s view of the proxy cannot be compared: %v", whose, err)})
		return nil, nil, false
	}
	return c, dynamic, true
}

// dynamicListeners are those that are not of the bootstrap.
func dynamicListeners(raw []byte) (map[string]bool, error) {
	var dump struct {
		Configs []struct {
			Dynamic []struct {
				Name string `json:"name"`
			} `json:"dynamic_listeners"`
		} `json:"configs"`
	}
	if err := json.Unmarshal(raw, &dump); err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, c := range dump.Configs {
		for _, l := range c.Dynamic {
			found[l.Name] = true
		}
	}
	return found, nil
}

func compareClusters(has, wants *walk.Config) (found []Difference) {
	for _, name := range slices.Sorted(maps.Keys(wants.Clusters)) {
		have := has.Clusters[name]
		if have == nil {
			found = append(found, Difference{Kind: "cluster", Name: name, Where: "istiod"})
		} else if d := envoy.DiffClusters([]*envoy.Cluster{wants.Clusters[name]}, []*envoy.Cluster{have}); d != "" {
			found = append(found, Difference{Kind: "cluster", Name: name, Where: "both", What: clip(d)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(has.Clusters)) {
		// Static ones have no version: they are the bootstrap's, which istiod does not send.
		if wants.Clusters[name] == nil && has.Clusters[name].Version() != "" {
			found = append(found, Difference{Kind: "cluster", Name: name, Where: "envoy"})
		}
	}
	return found
}

func compareListeners(has, wants *walk.Config, dynamic map[string]bool) (found []Difference) {
	by := func(c *walk.Config) map[string]walk.Listener {
		all := map[string]walk.Listener{}
		for _, l := range c.Listeners {
			all[l.Name] = l
		}
		return all
	}
	have, want := by(has), by(wants)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		l, ok := have[name]
		if !ok {
			found = append(found, Difference{Kind: "listener", Name: name, Where: "istiod"})
		} else if !reflect.DeepEqual(canonical(l), canonical(want[name])) {
			found = append(found, Difference{Kind: "listener", Name: name, Where: "both"})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[name]; !ok && dynamic[name] {
			found = append(found, Difference{Kind: "listener", Name: name, Where: "envoy"})
		}
	}
	return found
}

// canonical writes the rules of a listener in one way: Envoy and istiod order fields
// differently.
func canonical(l walk.Listener) walk.Listener {
	l.Chains = slices.Clone(l.Chains)
	for i := range l.Chains {
		rules := slices.Clone(l.Chains[i].RBAC)
		for k, raw := range rules {
			d := json.NewDecoder(bytes.NewReader(raw))
			d.UseNumber()
			var v any
			if d.Decode(&v) == nil {
				if sorted, err := json.Marshal(v); err == nil {
					rules[k] = sorted
				}
			}
		}
		l.Chains[i].RBAC = rules
	}
	return l
}

// compareRoutes looks at the routes that istiod sends; Envoy has more, which are inside
// of listeners.
func compareRoutes(has, wants *walk.Config) (found []Difference) {
	for _, name := range slices.Sorted(maps.Keys(wants.Routes)) {
		r, ok := has.Routes[name]
		if !ok {
			found = append(found, Difference{Kind: "route", Name: name, Where: "istiod"})
		} else if !reflect.DeepEqual(r, wants.Routes[name]) {
			found = append(found, Difference{Kind: "route", Name: name, Where: "both"})
		}
	}
	return found
}

func clip(s string) string {
	const most = 2000
	if len(s) > most {
		return s[:most] + " …"
	}
	return s
}

// minorsApart is how many minor versions two releases differ by; -1 if one is not known.
func minorsApart(a, b string) int {
	minor := func(s string) (major, minor int, ok bool) {
		parts := strings.SplitN(s, ".", 3)
		if len(parts) < 2 {
			return 0, 0, false
		}
		major, err := strconv.Atoi(parts[0])
		if err != nil {
			return 0, 0, false
		}
		digits := strings.TrimRight(parts[1], "-abcdefghijklmnopqrstuvwxyz")
		minor, err = strconv.Atoi(strings.SplitN(digits, "-", 2)[0])
		return major, minor, err == nil
	}
	aMajor, aMinor, aKnown := minor(a)
	bMajor, bMinor, bKnown := minor(b)
	if !aKnown || !bKnown || aMajor != bMajor {
		return -1
	}
	return max(aMinor-bMinor, bMinor-aMinor)
}
