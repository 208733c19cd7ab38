package trial

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"

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
func (t *T) Counters(ctx context.Context, p *observe.Proxy, cluster string) (*Counters, error) {
	// Istio ends the cluster's part of the name with a semicolon.
	path := "/stats?filter=" + url.QueryEscape("^cluster\\."+regexp.QuoteMeta(cluster)+";\\.")
	raw, kept, err := t.admin(ctx, p, "stats.txt", verdict.KindText, path)
	if err != nil {
		return nil, err
	}
	stats, err := envoy.ParseStats(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.who(p), err)
	}
	if len(stats.Values) == 0 {
		return nil, fmt.Errorf("%s prints no statistics about %s", t.who(p), cluster)
	}
	return &Counters{cluster: cluster, stats: stats, who: t.who(p), t: t, path: kept}, nil
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

// Grew states by how much a counter grew since it was taken before. One that is
// absent now fails; one that was not made yet had counted nothing.
func (c *Counters) Grew(before *Counters, name string, want types.GomegaMatcher) bool {
	var grown *uint64
	if now := c.Value(name); now != nil {
		grown = now
		if then := before.Value(name); then != nil {
			difference := *now - *then
			grown = &difference
		}
	}
	return c.t.Fact(fmt.Sprintf("%s, %s: %s grew by", c.who, c.cluster, name), grown, want, before.path, c.path)
}

// Endpoint is a proxy's word on one of a cluster's hosts.
type Endpoint struct {
	envoy.Host
	who  string
	t    *T
	path string
}

// OnlyEndpoint reads the one host of a cluster; more or none are an error.
func (t *T) OnlyEndpoint(ctx context.Context, p *observe.Proxy, cluster string) (*Endpoint, error) {
	all, path, err := t.statuses(ctx, p)
	if err != nil {
		return nil, err
	}
	var hosts []envoy.Host
	for _, status := range all {
		if status.Name == cluster {
			hosts = append(hosts, status.Hosts...)
		}
	}
	if len(hosts) != 1 {
		return nil, fmt.Errorf("%s has %d hosts in cluster %s, not one", t.who(p), len(hosts), cluster)
	}
	return &Endpoint{Host: hosts[0], who: t.who(p), t: t, path: path}, nil
}

// Fact states a fact about the host.
func (h *Endpoint) Fact(name string, seen any, want types.GomegaMatcher) bool {
	return h.t.Fact(strings.Join([]string{h.who, "host " + h.Address}, ", ")+": "+name, seen, want, h.path)
}
