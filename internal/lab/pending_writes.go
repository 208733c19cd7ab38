package lab

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/internal/observe"
	"twohop/internal/observe/live"
)

// pendingWrites are Istio's objects that the API server has taken since the last
// barrier, with their resourceVersion; none for one that was deleted.
type pendingWrites struct {
	mu       sync.Mutex
	versions map[live.ConfigKey]string
}

func (w *pendingWrites) note(o k8s.Object, version string) {
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil || !strings.HasSuffix(kinds[0].Group, ".istio.io") {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.versions == nil {
		w.versions = map[live.ConfigKey]string{}
	}
	w.versions[live.ConfigKey{Kind: kinds[0].Kind, Namespace: o.GetNamespace(), Name: o.GetName()}] = version
}

// missing says what istiod does not have as it was written or newer (its status
// may have been written since), or "", and then forgets all of it.
func (w *pendingWrites) missing(has map[live.ConfigKey]string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, version := range w.versions {
		if version == "" || has[k] == "" {
			if has[k] != version {
				return fmt.Sprintf("it has %s %s/%s at resourceVersion %q, not %q", k.Kind, k.Namespace, k.Name, has[k], version), nil
			}
			continue
		}
		order, err := resourceversion.CompareResourceVersion(has[k], version)
		if err != nil {
			return "", fmt.Errorf("%s %s/%s: %w", k.Kind, k.Namespace, k.Name, err)
		}
		if order < 0 {
			return fmt.Sprintf("it has %s %s/%s at resourceVersion %s, not %s", k.Kind, k.Namespace, k.Name, has[k], version), nil
		}
	}
	clear(w.versions)
	return "", nil
}

// any reports whether an object of that kind is among them; the sentinel does not count.
func (w *pendingWrites) any(kind string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range w.versions {
		if k.Kind == kind && k.Name != sentinelName {
			return true
		}
	}
	return false
}

// forget is for objects that go with their namespace.
func (w *pendingWrites) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.versions)
}

// awaitRead waits until istiod has read what was written: it watches each kind
// of object by itself, and one kind may overtake another.
func (l *Lab) awaitRead(ctx context.Context) error {
	ctx, cancel := within(ctx, l.limits.Push)
	defer cancel()
	err := observe.Poll(ctx, func() (bool, string, error) {
		has, err := l.Source.IstiodConfigs(ctx)
		if err != nil {
			return false, "", err
		}
		missing, err := l.pending.missing(has)
		return missing == "" && err == nil, missing, err
	})
	if err != nil {
		return fmt.Errorf("wait until istiod has read what was written: %w", err)
	}
	return nil
}
