package trial

import (
	"context"
	"fmt"
	"slices"

	"github.com/onsi/gomega/types"

	"twohop/internal/envoy"
	"twohop/internal/lab"
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
	all, path, err := t.statuses(ctx, p)
	if err != nil {
		return nil, err
	}
	return &Hosts{Addresses: hostsOf(all, cluster), who: t.who(p), name: cluster, t: t, path: path}, nil
}

// statuses reads a proxy's clusters with their hosts, and says where they were kept.
func (t *T) statuses(ctx context.Context, p *observe.Proxy) (all []envoy.ClusterStatus, path string, err error) {
	raw, path, err := t.admin(ctx, p, "hosts.json", verdict.KindJSON, observe.HostsPath)
	if err != nil {
		return nil, "", err
	}
	all, err = envoy.ParseClusterStatuses(raw)
	return all, path, err
}

// AwaitHosts waits until a proxy has just these addresses for a cluster, and
// says whether they came. It looks after each of the client's next n requests.
func (k *Steady) AwaitHosts(ctx context.Context, p *observe.Proxy, cluster string, n int, addresses ...string) (bool, error) {
	addresses = slices.Sorted(slices.Values(addresses))
	for {
		all, err := lab.Statuses(ctx, p)
		if err != nil {
			return false, err
		}
		if has := slices.Equal(hostsOf(all, cluster), addresses); has || n == 0 {
			return has, nil
		}
		if err := k.Await(ctx, 1); err != nil {
			return false, err
		}
		n--
	}
}

func hostsOf(all []envoy.ClusterStatus, cluster string) (addresses []string) {
	for _, status := range all {
		if status.Name != cluster {
			continue
		}
		for _, host := range status.Hosts {
			addresses = append(addresses, host.Address)
		}
	}
	slices.Sort(addresses)
	return addresses
}
