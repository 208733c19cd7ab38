package live

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// admin is one running Envoy's admin API, or istiod's debug API.
type admin struct {
	who  string // names it in errors
	base string // URL
	http *http.Client
}

// adminPort is Envoy's, on the pod's loopback (Istio's bootstrap template);
// debugPort is istiod's, in plaintext, for callers from the pod itself: a
// port-forward is one (pilot/pkg/xds, allowAuthenticatedOrLocalhost).
const (
	adminPort = 15000
	debugPort = 8080
)

// forwardAdmin connects to a pod's API until ctx ends.
func forwardAdmin(ctx context.Context, client Cluster, namespace, pod string, port int, who string) (*admin, error) {
	local, err := client.Forward(ctx, namespace, pod, port)
	if err != nil {
		return nil, err
	}
	return newAdmin(who, fmt.Sprintf("http://127.0.0.1:%d", local)), nil
}

func newAdmin(who, base string) *admin {
	return &admin{who: who, base: base, http: &http.Client{Timeout: 10 * time.Second}}
}

// get asks for a path, for example "/config_dump?resource=dynamic_active_clusters".
func (a *admin) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := a.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", a.who, path, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s to %s: %w", a.who, path, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s to %s: %.200s", a.who, res.Status, path, raw)
	}
	return raw, nil
}
