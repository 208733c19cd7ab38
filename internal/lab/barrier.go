package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"istio.io/api/label"
	networking "istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/internal/envoy"
	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/subject"
)

const (
	sentinelName = "twohop-sentinel"
	sentinelPort = 15999
)

// Barrier returns once everything written before it is live in both proxies.
// It waits until istiod has read it all. Then it writes a DestinationRule with a
// subset that no earlier push can have held, waits until both proxies have the
// cluster of that subset, and then until each has taken listeners and routes of that
// push or a later one: istiod pushes clusters first (pilot/pkg/xds, PushOrder), so a
// visible cluster alone proves too little.
//
// istiod watches each kind of object by itself, and has read an object somewhat
// before it hears of the change, so that a DestinationRule may still overtake a
// ServiceEntry on a busy machine. What comes by one watch keeps its order: hence,
// after a ServiceEntry was written, one of the sentinel's too. These are the kinds
// that claims vary most.
//
// A proxy asks for a secret when it gets the cluster that needs it. Whether one that
// it lacks is still on its way, a second sentinel tells: istiod answers a proxy's
// requests in their order, so that an answer about the second one's endpoints comes
// after the answer about the secret.
func (l *Lab) Barrier(ctx context.Context) error {
	ctx, cancel := within(ctx, l.limits.Push)
	defer cancel()
	l.newHost = l.newHost || l.pending.any("ServiceEntry")
	if err := l.awaitRead(ctx); err != nil {
		return err
	}
	lacking, err := l.push(ctx)
	if err == nil && lacking {
		_, err = l.push(ctx)
	}
	return err
}

// pushToGateway makes istiod push, and returns the version that the gateway has then.
func (l *Lab) pushToGateway(ctx context.Context) (version string, err error) {
	if err := l.Barrier(ctx); err != nil {
		return "", err
	}
	stats, err := l.pushStats(ctx, subject.Gateway)
	if err != nil {
		return "", err
	}
	if version = stats.Texts[cdsStat+".version_text"]; version == "" {
		return "", errors.New("the gateway's Envoy does not say which push it has")
	}
	return version, nil
}

// pushStats are a proxy's statistics of what it was pushed.
func (l *Lab) pushStats(ctx context.Context, role subject.Role) (*envoy.Stats, error) {
	raw, err := l.Source.Admin(ctx, role, observe.PushPath)
	if err != nil {
		return nil, err
	}
	return envoy.ParseStats(raw)
}

// push writes sentinels and waits until the proxies have them, and have warmed their
// clusters but for those that lack a secret.
func (l *Lab) push(ctx context.Context) (lacking bool, err error) {
	l.sentinel++
	subset := fmt.Sprintf("s%d-%d", time.Now().UnixNano(), l.sentinel)
	s := l.fixtures.Subject
	var objects []k8s.Object
	if l.newHost {
		l.host = subset + "." + manifest.SentinelDomain
		objects = append(objects, sentinelEntry(s, l.host))
	}
	group, writing := errgroup.WithContext(ctx)
	objects = append(objects, sentinelRule(s, l.host, subset))
	for _, o := range objects {
		group.Go(func() error { return l.put(writing, o) })
	}
	if err := group.Wait(); err != nil {
		return false, err
	}
	select {
	case <-time.After(pushInterval): // istiod waits for more to come, so that no proxy has it before
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	var lacks atomic.Bool
	group, pushed := errgroup.WithContext(ctx)
	for _, role := range []subject.Role{subject.Sidecar, subject.Gateway, subject.SecondSidecar, subject.SecondGateway} {
		if _, err := l.Source.Pod(role); err != nil {
			continue // nobody plays it
		}
		group.Go(func() error {
			warm, err := l.awaitPush(pushed, role, "|"+subset+"|"+l.host)
			if err != nil || warm {
				return err
			}
			lacking, err := l.awaitWarm(pushed, role)
			if lacking {
				lacks.Store(true)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return false, err
	}
	l.newHost = false
	return lacks.Load(), nil
}

func sentinelEntry(s subject.Subject, host string) k8s.Object {
	return &istio.ServiceEntry{
		ObjectMeta: metav1.ObjectMeta{
			Name: sentinelName, Namespace: s.Gateway.Namespace,
			// Or istiod writes an address into its status, and pushes for that once more
			// (pilot/pkg/controllers/ipallocate).
			Labels: map[string]string{label.NetworkingEnableAutoallocateIp.Name: "false"},
		},
		Spec: networking.ServiceEntry{
			Hosts: []string{host}, ExportTo: sentinelFor(s),
			Location: networking.ServiceEntry_MESH_EXTERNAL, Resolution: networking.ServiceEntry_STATIC,
			// A port that nothing else uses: an HTTP port would bring a listener
			// of its own, and that would change the subject.
			Ports:     []*networking.ServicePort{{Number: sentinelPort, Name: "tls", Protocol: "TLS"}},
			Endpoints: []*networking.WorkloadEntry{{Address: "127.0.0.1"}},
		},
	}
}

func sentinelRule(s subject.Subject, host, subset string) k8s.Object {
	return &istio.DestinationRule{
		ObjectMeta: metav1.ObjectMeta{Name: sentinelName, Namespace: s.Gateway.Namespace},
		Spec:       networking.DestinationRule{Host: host, ExportTo: sentinelFor(s), Subsets: []*networking.Subset{{Name: subset}}},
	}
}

// sentinelFor are the namespaces of the proxies that have to see it.
func sentinelFor(s subject.Subject) []string {
	return []string{s.Client.Namespace, s.Gateway.Namespace, s.Unbound.Namespace}
}

// pushInterval is how often a proxy is asked for a push: a question to it passes the
// API server, the kubelet and the container runtime, which takes some milliseconds of
// a core.
const pushInterval = 30 * time.Millisecond

// awaitPush waits until a proxy holds the push that brought host, or a later one. It
// reports whether the proxy has warmed all its clusters by then.
func (l *Lab) awaitPush(ctx context.Context, role subject.Role, host string) (warm bool, err error) {
	err = observe.PollEvery(ctx, pushInterval, func() (bool, string, error) {
		stats, err := l.pushStats(ctx, role)
		if err != nil {
			return false, "", err
		}
		warming, ok := stats.Value(warmingStat)
		if !ok {
			return false, "", fmt.Errorf("Envoy shows no %s: the pod needs proxyStatsMatcher", warmingStat)
		}
		warm = warming == 0
		return pushed(stats.Texts, host)
	})
	if err != nil {
		return false, fmt.Errorf("wait until the %s has what was written: %w", role, err)
	}
	return warm, nil
}

// awaitWarm waits until what a proxy was pushed is in use: the previous cluster
// serves until the new one's names are resolved and its secrets are there. A
// proxy that lacks a secret is not waited for: that may be what is wanted.
func (l *Lab) awaitWarm(ctx context.Context, role subject.Role) (lacks bool, err error) {
	err = observe.Poll(ctx, func() (bool, string, error) {
		raw, err := l.Source.Admin(ctx, role, observe.WarmingClusters)
		if err != nil {
			return false, "", err
		}
		warming, err := envoy.ParseConfigDump(raw)
		if err != nil {
			return false, "", err
		}
		if len(warming.Clusters()) == 0 {
			return true, "", nil
		}
		if raw, err = l.Source.Admin(ctx, role, observe.SecretsDumpPath); err != nil {
			return false, "", err
		}
		secrets, err := envoy.ParseSecrets(raw)
		if err != nil {
			return false, "", err
		}
		lacks = slices.ContainsFunc(secrets, func(s envoy.Secret) bool { return s.State == envoy.SecretWarming })
		return lacks, fmt.Sprintf("%d clusters warm, and no secret is lacking", len(warming.Clusters())), nil
	})
	if err != nil {
		return false, fmt.Errorf("wait until the clusters of the %s are warm: %w", role, err)
	}
	return lacks, nil
}

const (
	cdsStat     = "cluster_manager.cds"
	ldsStat     = "listener_manager.lds"
	warmingStat = "cluster_manager.warming_clusters"
)

// pushed reads Envoy's version_text statistics. The sentinel's cluster has to be
// there, warmed with its endpoints; listeners and every route table then have
// to be of the clusters' push or a later one.
func pushed(texts map[string]string, host string) (done bool, last string, err error) {
	sentinel := false
	versions := map[string]uint64{} // of cds, lds and each route table
	for name, value := range texts {
		name, isVersion := strings.CutSuffix(name, ".version_text")
		if !isVersion || value == "" {
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

// pushNumber takes the counter from istiod's version "2026-11-23T16:10:11Z/37".
func pushNumber(version string) (uint64, error) {
	_, counter, ok := strings.Cut(version, "/")
	n, err := strconv.ParseUint(counter, 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("istiod's config version %q is not <time>/<number>", version)
	}
	return n, nil
}
