package check

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"

	"github.com/onsi/gomega/types"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/verdict"
)

// Counters are a proxy's statistics about one cluster at one moment. Envoy
// makes a cluster's traffic statistics when it first needs them and keeps them
// when the cluster is replaced: take them before and after.
type Counters struct {
	cluster string
	stats   *envoy.Stats
	who     string
	t       *T
	path    string
}

// Counters reads a proxy's statistics about a cluster.
func (t *T) Counters(p *Proxy, cluster string) *Counters {
	// Istio ends the cluster's part of the name with a semicolon
	// (pilot/pkg/networking/core, alt_stat_name).
	a := t.admin(p, "stats.txt", verdict.KindText, "/stats?filter="+url.QueryEscape("^cluster\\."+regexp.QuoteMeta(cluster)+";\\."))
	stats, err := envoy.ParseStats(a.Raw)
	if err != nil {
		t.Abort("%s: %w", t.Who(p), err)
	}
	if len(stats.Values) == 0 {
		t.Abort("%s prints no statistics about %s", t.Who(p), cluster)
	}
	return &Counters{cluster: cluster, stats: stats, who: t.Who(p), t: t, path: a.Path}
}

// Value is one of the cluster's counters or gauges, nil if Envoy has not made it.
func (c *Counters) Value(name string) *uint64 {
	if v, ok := c.stats.Value("cluster." + c.cluster + ";." + name); ok {
		return &v
	}
	return nil
}

// Is states a value.
func (c *Counters) Is(name string, want types.GomegaMatcher) bool {
	return c.t.Fact(fmt.Sprintf("%s, %s: %s", c.who, c.cluster, name), c.Value(name), want, c.path)
}

// Grew states by how much a counter grew since it was taken before. Envoy makes a
// cluster's counters with the cluster, so one that is absent either time fails.
func (c *Counters) Grew(before *Counters, name string, want types.GomegaMatcher) bool {
	return c.t.Fact(fmt.Sprintf("%s, %s: %s grew by", c.who, c.cluster, name), c.growth(before, name), want, before.path, c.path)
}

// GrewBecause is Grew where the counter says why a call failed.
func (c *Counters) GrewBecause(before *Counters, name string, want types.GomegaMatcher) bool {
	return c.t.Because(fmt.Sprintf("%s, %s: %s grew by", c.who, c.cluster, name), c.growth(before, name), want, before.path, c.path)
}

func (c *Counters) growth(before *Counters, name string) *uint64 {
	then, now := before.Value(name), c.Value(name)
	if then == nil || now == nil {
		return nil
	}
	if *then > *now { // the proxy has started anew, or it is another one
		c.t.Abort("%s, %s: %s went back from %d to %d", c.who, c.cluster, name, *then, *now)
	}
	grown := *now - *then
	return &grown
}

// statuses reads a proxy's clusters with their hosts, and says where they were kept.
func (t *T) statuses(p *Proxy) ([]envoy.ClusterStatus, string) {
	a := t.admin(p, "hosts.json", verdict.KindJSON, observe.HostsPath)
	all, err := envoy.ParseClusterStatuses(a.Raw)
	t.must(err)
	return all, a.Path
}

func statOf(all []envoy.ClusterStatus, cluster, stat string) (total uint64) {
	for _, status := range all {
		if status.Name == cluster {
			for _, host := range status.Hosts {
				total += host.Stats[stat]
			}
		}
	}
	return total
}

// Connections states how many connections a proxy has opened with a cluster
// since the cluster came, to any of its hosts.
func (t *T) Connections(p *Proxy, cluster string, want types.GomegaMatcher) bool {
	all, path := t.statuses(p)
	if !slices.ContainsFunc(all, func(s envoy.ClusterStatus) bool { return s.Name == cluster }) {
		t.Abort("%s has no cluster %s", t.Who(p), cluster)
	}
	return t.Fact(fmt.Sprintf("%s, %s: connections opened", t.Who(p), cluster), statOf(all, cluster, "cx_total"), want, path)
}

// Hosts are the addresses that a proxy has for a cluster now.
type Hosts struct {
	Addresses []string // "host:port", sorted
	who, name string
	t         *T
	path      string
}

// Fact states a fact about the addresses.
func (h *Hosts) Fact(name string, seen any, want types.GomegaMatcher) bool {
	return h.t.Fact(fmt.Sprintf("%s, %s: %s", h.who, h.name, name), seen, want, h.path)
}

// Hosts reads a cluster's addresses; an absent cluster has none.
func (t *T) Hosts(p *Proxy, cluster string) *Hosts {
	all, path := t.statuses(p)
	return &Hosts{Addresses: hostsOf(all, cluster), who: t.Who(p), name: cluster, t: t, path: path}
}

func hostsOf(all []envoy.ClusterStatus, cluster string) (addresses []string) {
	for _, status := range all {
		if status.Name == cluster {
			for _, host := range status.Hosts {
				addresses = append(addresses, host.Address)
			}
		}
	}
	slices.Sort(addresses)
	return addresses
}

// Endpoint is a proxy's word on one of a cluster's hosts.
type Endpoint struct {
	envoy.Host
	who  string
	t    *T
	path string
}

// OnlyEndpoint reads the one host of a cluster; more or none end the check.
func (t *T) OnlyEndpoint(p *Proxy, cluster string) *Endpoint {
	all, path := t.statuses(p)
	var hosts []envoy.Host
	for _, status := range all {
		if status.Name == cluster {
			hosts = append(hosts, status.Hosts...)
		}
	}
	if len(hosts) != 1 {
		t.Abort("%s has %d hosts in cluster %s, not one", t.Who(p), len(hosts), cluster)
	}
	return &Endpoint{Host: hosts[0], who: t.Who(p), t: t, path: path}
}

// Fact states a fact about the host.
func (h *Endpoint) Fact(name string, seen any, want types.GomegaMatcher) bool {
	return h.t.Fact(fmt.Sprintf("%s, host %s: %s", h.who, h.Address, name), seen, want, h.path)
}

// Because states that the host's state is the reason for a failure.
func (h *Endpoint) Because(name string, seen any, want types.GomegaMatcher) bool {
	return h.t.Because(fmt.Sprintf("%s, host %s: %s", h.who, h.Address, name), seen, want, h.path)
}
