package trial

import (
	"context"
	"fmt"
	"slices"

	"github.com/onsi/gomega/types"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/verdict"
)

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
func (t *T) Hosts(ctx context.Context, p *observe.Proxy, cluster string) (*Hosts, error) {
	raw, path, err := t.admin(ctx, p, "hosts.json", verdict.KindJSON, observe.HostsPath)
	if err != nil {
		return nil, err
	}
	h := &Hosts{who: t.who(p), name: cluster, t: t, path: path}
	h.Addresses, err = hostsOf(raw, cluster)
	return h, err
}

// AwaitHosts waits until a proxy has just these addresses for a cluster, and
// says whether they came. It looks after each of the client's next n requests.
func (k *Steady) AwaitHosts(ctx context.Context, p *observe.Proxy, cluster string, n int, addresses ...string) (bool, error) {
	addresses = slices.Sorted(slices.Values(addresses))
	for {
		raw, err := p.Admin(ctx, observe.HostsPath)
		if err != nil {
			return false, err
		}
		now, err := hostsOf(raw, cluster)
		if err != nil || n == 0 || slices.Equal(now, addresses) {
			return slices.Equal(now, addresses), err
		}
		if err := k.Await(ctx, 1); err != nil {
			return false, err
		}
		n--
	}
}

func hostsOf(raw []byte, cluster string) (addresses []string, err error) {
	all, err := envoy.ParseClusterStatuses(raw)
	if err != nil {
		return nil, err
	}
	for _, status := range all {
		if status.Name != cluster {
			continue
		}
		for _, host := range status.Hosts {
			addresses = append(addresses, host.Address)
		}
	}
	slices.Sort(addresses)
	return addresses, nil
}
