package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"twohop/internal/kube"
)

// Istiod is the control plane, by its debug API.
type Istiod struct {
	debug string // URL
	http  *http.Client
}

// debugPort serves istiod's debug API in plaintext, to callers from the pod
// itself: a port-forward is one (pilot/pkg/xds, allowAuthenticatedOrLocalhost).
const debugPort = 8080

// AttachIstiod connects to istiod's pod, until ctx ends.
func AttachIstiod(ctx context.Context, client *kube.Client, namespace, pod string) (*Istiod, error) {
	port, err := client.Forward(ctx, namespace, pod, debugPort)
	if err != nil {
		return nil, err
	}
	return NewIstiod(fmt.Sprintf("http://127.0.0.1:%d", port)), nil
}

// NewIstiod is an istiod whose debug API answers at a URL.
func NewIstiod(debug string) *Istiod {
	return &Istiod{debug: debug, http: &http.Client{Timeout: 10 * time.Second}}
}

// ConfigKey names one of Istio's objects.
type ConfigKey struct{ Kind, Namespace, Name string }

// Configs are the objects that istiod has read, with their resourceVersion.
func (i *Istiod) Configs(ctx context.Context) (map[ConfigKey]string, error) {
	// ENABLE_DEBUG_ON_HTTP, which serves it, is istiod's default.
	raw, err := ask(ctx, i.http, http.MethodGet, i.debug, "/debug/configz", "istiod")
	if err != nil {
		return nil, err
	}
	return parseConfigs(raw)
}

func parseConfigs(raw []byte) (map[ConfigKey]string, error) {
	var list []struct {
		Kind     string
		Metadata struct{ Namespace, Name, ResourceVersion string }
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("istiod's list of objects: %w: %.200s", err, raw)
	}
	configs := map[ConfigKey]string{}
	for _, o := range list {
		if o.Kind == "" || o.Metadata.Name == "" || o.Metadata.ResourceVersion == "" {
			return nil, fmt.Errorf("istiod lists an object without kind, name or resourceVersion: %+v", o)
		}
		configs[ConfigKey{o.Kind, o.Metadata.Namespace, o.Metadata.Name}] = o.Metadata.ResourceVersion
	}
	return configs, nil
}
