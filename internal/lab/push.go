package lab

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/subject"
)

// pollInterval is how often a proxy's loopback admin API is asked; an answer
// takes about a millisecond.
const pollInterval = 10 * time.Millisecond

func (l *Lab) proxies() []*observe.Proxy { return []*observe.Proxy{l.Sidecar, l.Gateway} }

func (l *Lab) workloads() []subject.Workload {
	return []subject.Workload{l.Subject.Client, l.Subject.Gateway, l.Subject.Partner}
}

// awaitPush waits until a proxy holds the push that brought host: its cluster,
// then listeners and routes of that version or a later one.
func awaitPush(ctx context.Context, p *observe.Proxy, host string) error {
	path := observe.ClustersPath + "&name_regex=" + url.QueryEscape(".*"+regexp.QuoteMeta(host)+".*")
	var pushed uint64
	err := poll(ctx, func() (bool, string, error) {
		raw, err := p.Admin(ctx, path)
		if err != nil {
			return false, "", err
		}
		dump, err := envoy.ParseConfigDump(raw)
		if err != nil {
			return false, "", err
		}
		for _, c := range dump.Clusters() {
			pushed, err = pushNumber(c.Version())
			return true, "", err
		}
		return false, "the sentinel's cluster is not there", nil
	})
	if err == nil {
		err = poll(ctx, func() (bool, string, error) {
			raw, err := p.Admin(ctx, observe.VersionsPath)
			if err != nil {
				return false, "", err
			}
			return reached(string(raw), pushed)
		})
	}
	if err != nil {
		return fmt.Errorf("wait until %s/%s has what was written: %w", p.Workload.Namespace, p.Pod, err)
	}
	return nil
}

// reached tells whether listeners and every route table are at a push or past it.
func reached(stats string, pushed uint64) (bool, string, error) {
	listeners := false
	for line := range strings.Lines(stats) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || !strings.HasSuffix(name, ".version_text") {
			continue
		}
		lds := strings.HasPrefix(name, "listener_manager.lds.")
		if !lds && !strings.Contains(name, ".rds.") {
			continue
		}
		listeners = listeners || lds
		value = strings.Trim(value, `"`)
		if value == "" {
			continue // a route table that Envoy keeps the statistics of, but no longer has
		}
		at, err := pushNumber(value)
		if err != nil {
			return false, "", err
		}
		if at < pushed && lds {
			return false, fmt.Sprintf("%s is at push %d, not yet %d", name, at, pushed), nil
		}
	}
	if !listeners {
		return false, "", fmt.Errorf("Envoy shows no listener_manager.lds.version_text: the pod needs proxyStatsMatcher")
	}
	return true, "", nil
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

func groupVersion(o k8s.Object) (string, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil {
		return "", err
	}
	return kinds[0].GroupVersion().String(), nil
}
