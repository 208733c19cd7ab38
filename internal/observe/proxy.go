package observe

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"twohop/internal/kube"
	"twohop/internal/subject"
)

// Proxy is one running Envoy: a pod of a workload, its admin API and its log.
type Proxy struct {
	Workload subject.Workload
	Pod, IP  string
	Log      *Log
	admin    string
	http     *http.Client
	distort  func(path string, raw []byte) []byte
}

// Distort makes the admin API say something else from now on; nil ends it.
// Mutants use it to show what a lying witness does to claims.
func (p *Proxy) Distort(f func(path string, raw []byte) []byte) { p.distort = f }

// DistortLike is for a proxy that comes later and is of another one's kind.
func (p *Proxy) DistortLike(other *Proxy) { p.distort = other.distort }

// adminPort is Envoy's, on the pod's loopback (Istio's bootstrap template).
const adminPort = 15000

// Attach connects to the workload's one pod, until ctx ends.
func Attach(ctx context.Context, client *kube.Client, w subject.Workload, selector string) (*Proxy, error) {
	pod, err := client.Pod(ctx, w.Namespace, selector)
	if err != nil {
		return nil, err
	}
	return AttachPod(ctx, client, w, pod.Name, pod.Status.PodIP)
}

// AttachPod connects to a pod by name, until ctx ends.
func AttachPod(ctx context.Context, client *kube.Client, w subject.Workload, pod, ip string) (*Proxy, error) {
	log, err := Follow(ctx, client, w.Namespace, pod, w.Proxy)
	if err != nil {
		return nil, err
	}
	port, err := client.Forward(ctx, w.Namespace, pod, adminPort)
	if err != nil {
		return nil, err
	}
	return NewProxy(w, pod, ip, log, fmt.Sprintf("http://127.0.0.1:%d", port)), nil
}

// NewProxy is a proxy whose admin API answers at a URL.
func NewProxy(w subject.Workload, pod, ip string, log *Log, admin string) *Proxy {
	return &Proxy{Workload: w, Pod: pod, IP: ip, Log: log, admin: admin, http: &http.Client{Timeout: 10 * time.Second}}
}

// Admin asks Envoy's admin API, for example "/config_dump?resource=dynamic_active_clusters".
func (p *Proxy) Admin(ctx context.Context, path string) ([]byte, error) {
	raw, err := p.do(ctx, http.MethodGet, path)
	if err == nil && p.distort != nil {
		raw = p.distort(path, raw)
	}
	return raw, err
}

// Command is what a person would run to see what Admin(path) returned.
func (p *Proxy) Command(path string) string {
	return fmt.Sprintf("kubectl exec -n %s %s -c %s -- pilot-agent request GET '%s'", p.Workload.Namespace, p.Pod, p.Workload.Proxy, path)
}

func (p *Proxy) do(ctx context.Context, method, path string) ([]byte, error) {
	return ask(ctx, p.http, method, p.admin, path, fmt.Sprintf("Envoy of %s/%s", p.Workload.Namespace, p.Pod))
}

// ask makes a request of an admin or debug API; who names it in errors.
func ask(ctx context.Context, client *http.Client, method, base, path, who string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, base+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", who, path, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s to %s: %w", who, path, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s to %s: %.200s", who, res.Status, path, raw)
	}
	return raw, nil
}

// Paths of the admin API.
const (
	ClustersPath    = "/config_dump?resource=dynamic_active_clusters"
	SecretsDumpPath = "/config_dump?mask=dynamic_active_secrets,dynamic_warming_secrets"
	HostsPath       = "/clusters?format=json"
	ConfigPath      = "/config_dump"
	ServerPath      = "/server_info"
	WarmingPath     = "/stats?filter=^cluster_manager.warming_clusters$"
	VersionsPath    = "/stats?filter=version_text$&type=TextReadouts"
)
