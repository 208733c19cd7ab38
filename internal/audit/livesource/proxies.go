package livesource

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"twohop/internal/channel"
	"twohop/internal/envoy"
)

// statsFilter names what Envoy counts of refused configuration, and whether it has a
// connection to istiod.
const statsFilter = `\.(update_rejected|connected_state|listener_create_failure|init_fetch_timeout)$`

// envoyPaths is all that Envoy is ever asked.
var envoyPaths = []string{"/config_dump?include_eds", "/server_info", "/stats?usedonly&filter=" + url.QueryEscape(statsFilter)}

// proxies asks the proxies of the channels what they have, and istiod what it would send
// them. It needs the objects, so that it asks no more proxies than it has to.
func (g *gathering) proxies(ctx context.Context) error {
	m := g.snapshot.mesh()
	channels := slices.DeleteFunc(m.Find(), func(c *channel.Channel) bool { return !g.about(c) })
	chosen, _ := m.Proxies()
	g.accounts(ctx, channels)
	if g.ReadSecrets {
		g.secrets(ctx, channels)
	}
	if g.NoProxies {
		g.miss(missingKey{what: "what the proxies and istiod have", why: "they were not to be asked"}, "")
		return nil
	}
	g.choose(channels, chosen)
	each(ctx, g.snapshot.Proxies, g.envoy)
	g.askIstiods(ctx)
	for _, p := range g.snapshot.Proxies {
		p.compare(g.snapshot.Istiods)
	}
	return nil
}

func (g *gathering) about(c *channel.Channel) bool {
	return len(g.Hosts) == 0 || slices.ContainsFunc(g.Hosts, func(h string) bool { return channel.Covers(c.Host, h) || channel.Covers(h, c.Host) })
}

// choose picks the proxies: every gateway of the channels, and one sidecar of each kind,
// of different namespaces first.
func (g *gathering) choose(channels []*channel.Channel, chosen []*channel.Workload) {
	wanted := map[*channel.Workload]bool{}
	for _, c := range channels {
		for _, w := range slices.Concat(c.Routers, c.Callers) {
			wanted[w] = true
		}
	}
	var routers, sidecars []*channel.Workload
	perNamespace := map[string]int{}
	order := map[*channel.Workload]int{}
	for _, w := range chosen {
		if !wanted[w] || w.Assumed != "" || w.Kind != "Pod" {
			continue
		}
		if pod, ok := g.snapshot.PodOf(w.Ref); !ok || !pod.Ready || !pod.HasProxy {
			why := "the pod is not ready"
			if ok && !pod.HasProxy {
				why = "the pod has no container istio-proxy"
			}
			g.miss(missingKey{what: "the configuration of " + w.String(), why: why}, "")
			continue
		}
		if w.Proxy == channel.Router {
			routers = append(routers, w)
			continue
		}
		order[w] = perNamespace[w.Namespace]
		perNamespace[w.Namespace]++
		sidecars = append(sidecars, w)
	}
	slices.SortStableFunc(sidecars, func(a, b *channel.Workload) int { return cmp.Compare(order[a], order[b]) })
	if most := g.maxSidecars(); len(sidecars) > most && most >= 0 {
		for _, w := range sidecars[most:] {
			g.miss(missingKey{what: "the configuration of more sidecars", why: fmt.Sprintf("no more than %d are asked: name hosts or namespaces, or allow more", most)}, w.Namespace)
		}
		sidecars = sidecars[:most]
	}
	for _, w := range slices.Concat(routers, sidecars) {
		g.snapshot.Proxies = append(g.snapshot.Proxies, &Proxy{Namespace: w.Namespace, Pod: w.Name, Kind: string(w.Proxy), Istiod: map[string]*Dump{}})
	}
}

// accounts asks whether the gateways' accounts may list Secrets, once for each.
func (g *gathering) accounts(ctx context.Context, channels []*channel.Channel) {
	for _, c := range channels {
		for _, w := range c.Routers {
			same := func(a Access) bool { return a.Namespace == w.Namespace && a.Account == w.Account }
			if w.Assumed != "" || slices.ContainsFunc(g.snapshot.Accounts, same) {
				continue
			}
			a := g.account(ctx, w.Namespace, w.Account)
			g.snapshot.Accounts = append(g.snapshot.Accounts, a)
			if a.Answer == AccessUnknown {
				g.miss(missingKey{what: "whether account " + w.Account + " may list secrets", why: a.Why}, w.Namespace)
			}
		}
	}
}

func (p *Proxy) String() string { return p.Kind + " " + p.Namespace + "/" + p.Pod }

// envoy asks one proxy for its own view.
func (g *gathering) envoy(ctx context.Context, p *Proxy) {
	miss := func(what string, err error) {
		g.miss(missingKey{what: what + " of " + p.String(), why: forwardProblem(err)}, "")
	}
	client, done, err := g.forward(ctx, p.Namespace, p.Pod, envoyPort)
	if err != nil {
		miss("Envoy's own configuration", err)
		return
	}
	defer done()
	if raw, err := ask(ctx, client, envoyPaths[0], ""); err != nil {
		miss("Envoy's own configuration", err)
		return // it does not get better
	} else if clean, notes, err := redactDump(raw); err != nil {
		miss("Envoy's own configuration", err)
	} else {
		p.Envoy = pack(clean)
		p.note(notes)
	}
	if raw, err := ask(ctx, client, envoyPaths[1], ""); err != nil {
		miss("the version", err)
	} else if p.Info, err = readInfo(raw); err != nil {
		miss("the version", err)
	}
	if raw, err := ask(ctx, client, envoyPaths[2], ""); err != nil {
		miss("the statistics", err)
	} else {
		p.Stats = readStats(raw)
	}
}

// note adds what is said once.
func (p *Proxy) note(notes []string) {
	for _, n := range notes {
		if !slices.Contains(p.Notes, n) {
			p.Notes = append(p.Notes, n)
		}
	}
}

// forwardProblem says what to do where a pod's port cannot be reached.
func forwardProblem(err error) string {
	text := err.Error()
	if strings.Contains(text, "orbidden") {
		return "this account may not create pods/portforward: grant it, or ask somebody who may"
	}
	return text
}

func readInfo(raw []byte) (*Info, error) {
	version, err := envoy.ParseVersion(raw)
	if err != nil {
		return nil, err
	}
	var info struct {
		State string `json:"state"`
		Node  struct {
			ID       string `json:"id"`
			Metadata struct {
				Istio string `json:"ISTIO_VERSION"`
			} `json:"metadata"`
		} `json:"node"`
	}
	if err := json.Unmarshal(raw, &info); err != nil {
		return nil, fmt.Errorf("server_info: %w", err)
	}
	return &Info{Envoy: version, Istio: info.Node.Metadata.Istio, State: info.State, Node: info.Node.ID}, nil
}

func readStats(raw []byte) map[string]string {
	stats := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			stats[name] = value
		}
	}
	return stats
}
