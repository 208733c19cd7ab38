package lab

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/internal/envoy"
	"twohop/internal/observe"
)

// pollInterval is how often a proxy's loopback admin API is asked; an answer
// takes about a millisecond.
const pollInterval = 10 * time.Millisecond

// proxies are those that a change has to reach.
func (l *Lab) proxies() []*observe.Proxy {
	all := []*observe.Proxy{l.Sidecar, l.Gateway}
	for _, second := range []*observe.Proxy{l.Second.Sidecar, l.Second.Gateway} {
		if second != nil {
			all = append(all, second)
		}
	}
	return all
}

// awaitPush waits until a proxy holds the push that brought host, or a later one.
func awaitPush(ctx context.Context, p *observe.Proxy, host string) error {
	err := poll(ctx, func() (bool, string, error) {
		raw, err := p.Admin(ctx, observe.VersionsPath)
		if err != nil {
			return false, "", err
		}
		return pushed(string(raw), host)
	})
	if err != nil {
		return fmt.Errorf("wait until %s/%s has what was written: %w", p.Workload.Namespace, p.Pod, err)
	}
	return nil
}

// awaitWarm waits until what a proxy was pushed is in use: the previous cluster
// serves until the new one's names are resolved and its secrets are there. A
// proxy that lacks a secret is not waited for. Whoever varies secrets waits for
// them (Holding), and may want one never to come.
func awaitWarm(ctx context.Context, p *observe.Proxy) error {
	err := poll(ctx, func() (bool, string, error) {
		raw, err := p.Admin(ctx, observe.WarmingPath)
		if err != nil {
			return false, "", err
		}
		stats, err := envoy.ParseStats(raw)
		if err != nil {
			return false, "", err
		}
		warming, ok := stats.Value(warmingStat)
		if !ok {
			return false, "", fmt.Errorf("Envoy shows no %s: the pod needs proxyStatsMatcher", warmingStat)
		}
		if warming == 0 {
			return true, "", nil
		}
		if raw, err = p.Admin(ctx, observe.SecretsDumpPath); err != nil {
			return false, "", err
		}
		secrets, err := envoy.ParseSecrets(raw)
		if err != nil {
			return false, "", err
		}
		lacks := slices.ContainsFunc(secrets, func(s envoy.Secret) bool { return s.State == envoy.SecretWarming })
		return lacks, fmt.Sprintf("%d clusters warm, and no secret is lacking", warming), nil
	})
	if err != nil {
		return fmt.Errorf("wait until the clusters of %s/%s are warm: %w", p.Workload.Namespace, p.Pod, err)
	}
	return nil
}

// pushed reads Envoy's version_text statistics. The sentinel's cluster has to be
// there, warmed with its endpoints; listeners and every route table then have
// to be of the clusters' push or a later one.
func pushed(stats, host string) (done bool, last string, err error) {
	sentinel := false
	versions := map[string]uint64{} // of cds, lds and each route table
	for line := range strings.Lines(stats) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		name, isVersion := strings.CutSuffix(name, ".version_text")
		value = strings.Trim(value, `"`)
		if !ok || !isVersion || value == "" {
			continue
		}
		if strings.HasPrefix(name, "cluster.") {
			sentinel = sentinel || strings.Contains(name, host)
			continue
		}
		if name == cdsStat || name == ldsStat || strings.Contains(name, ".rds.") {
			if versions[name], err = pushNumber(value); err != nil {
				return false, "", err
			}
		}
	}
	want, ok := versions[cdsStat]
	if !ok {
		return false, "", fmt.Errorf("Envoy shows no %s.version_text: the pod needs proxyStatsMatcher", cdsStat)
	}
	if !sentinel {
		return false, "the sentinel's cluster is not there", nil
	}
	for name, at := range versions {
		if at < want {
			return false, fmt.Sprintf("%s is at push %d, clusters at %d", name, at, want), nil
		}
	}
	_, ok = versions[ldsStat]
	return ok, "no listeners yet", nil
}

const (
	cdsStat = "cluster_manager.cds"
	ldsStat = "listener_manager.lds"

	warmingStat = "cluster_manager.warming_clusters"
)

// pushNumber takes the counter from istiod's version "2026-11-23T16:10:11Z/37".
func pushNumber(version string) (uint64, error) {
	_, counter, ok := strings.Cut(version, "/")
	n, err := strconv.ParseUint(counter, 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("istiod's config version %q is not <time>/<number>", version)
	}
	return n, nil
}

// Poll asks a proxy until the answer is yes, as the lab's own waits do.
func Poll(ctx context.Context, ask func() (done bool, last string, err error)) error {
	return poll(ctx, ask)
}

// poll asks until the answer is yes. An error ends it at once; when ctx ends,
// the error says what was last seen.
func poll(ctx context.Context, ask func() (done bool, last string, err error)) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	seen := "nothing"
	for {
		done, last, err := ask()
		if err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("%w; last seen: %s", context.Cause(ctx), seen)
			}
			return err
		}
		if done {
			return nil
		}
		seen = last
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w; last seen: %s", context.Cause(ctx), seen)
		}
	}
}

// Statuses are a proxy's clusters as its admin API shows them, with their hosts.
func Statuses(ctx context.Context, p *observe.Proxy) ([]envoy.ClusterStatus, error) {
	raw, err := p.Admin(ctx, observe.HostsPath)
	if err != nil {
		return nil, err
	}
	return envoy.ParseClusterStatuses(raw)
}

func groupVersion(o k8s.Object) (string, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil {
		return "", err
	}
	return kinds[0].GroupVersion().String(), nil
}
