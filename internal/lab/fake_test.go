package lab

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/testing/protocmp"
	networking "istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/kube/kubetest"
	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/observe/live"
	"twohop/internal/observe/live/livetest"
	"twohop/internal/subject"
)

// world is a lab whose API server, proxies, istiod and partner are in memory.
type world struct {
	warming atomic.Int32 // clusters that warm, for want of a secret
	*Lab
	server *kubetest.Server
	mesh   *livetest.Cluster
	// stale is the hop 1 host that the sidecar has instead of the gateways that
	// are there; empty: it has these.
	stale string
	// deaf are the requests, of ten, that the partner's Service leads elsewhere.
	deaf int
	// calls is how often each log has a call's line; nil: once.
	calls map[subject.Role]int
	// verify and serial are what the partner says of the client certificate.
	verify, serial string
}

const (
	adminPort, istiodPort = 15000, 8080
	istiodName            = "istiod-1"
)

// newWorld prepares lab number n and deploys nothing yet.
func newWorld(t *testing.T, n int) *world {
	t.Helper()
	istiod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: subject.Numbered(n).ControlPlane.Namespace, Name: istiodName, Labels: map[string]string{"app": "istiod"}}}
	server, client := kubetest.New(t, istiod)
	server.RunPods()
	w := &world{server: server, mesh: livetest.New(), verify: "SUCCESS"}
	limits := observe.Limits{Ready: 10 * time.Second, Push: 5 * time.Second, Line: 5 * time.Second, Secret: 5 * time.Second, Removal: 5 * time.Second}
	source := live.New(t.Context(), w.mesh, "", limits)
	t.Cleanup(source.Close)
	l, err := New(client, source, n, "", manifest.Images{Client: "client:1", Partner: "partner:1"}, limits)
	if err != nil {
		t.Fatal(err)
	}
	w.Lab = l
	w.serial = l.Certificates.Credential.Serial()
	w.mesh.Serve(t, "", adminPort, w.envoy)
	w.mesh.Serve(t, istiodName, istiodPort, w.istiod)
	w.mesh.ServeTLS(t, "", l.subject().GatewayPort, func(name string) { w.print(subject.Gateway, name) })
	w.mesh.OnPodGet = func(pod string, _ int, path string) ([]byte, error) {
		w.mesh.Print(pod, path)
		return nil, nil
	}
	w.mesh.OnExec = w.exec
	return w
}

// deployed is a lab that is up.
func deployed(t *testing.T, n int) *world {
	t.Helper()
	w := newWorld(t, n)
	if err := w.Deploy(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) print(role subject.Role, lines ...string) {
	if p, err := w.Source.Pod(role); err == nil {
		w.mesh.Print(p.Name, lines...)
	}
}

// envoy answers as each proxy's admin API: it has whatever sentinel the API
// server holds.
func (w *world) envoy(out http.ResponseWriter, r *http.Request) {
	switch r.RequestURI {
	case observe.WarmingClusters:
		w.clustersThatWarm(out)
	case observe.SecretsDumpPath:
		w.secrets(out)
	case observe.HostsPath:
		w.hosts(out)
	case observe.PushPath:
		fmt.Fprintf(out, "%s: %d\n", warmingStat, w.warming.Load())
		fmt.Fprint(out, "cluster_manager.cds.version_text: \"x/1\"\nlistener_manager.lds.version_text: \"x/1\"\n")
		meta := metav1.ObjectMeta{Name: sentinelName, Namespace: w.home.Subject.Gateway.Namespace}
		o, _ := w.server.Lookup(&istio.DestinationRule{ObjectMeta: meta})
		se, _ := w.server.Lookup(&istio.ServiceEntry{ObjectMeta: meta})
		rule, isRule := o.(*istio.DestinationRule)
		entry, isEntry := se.(*istio.ServiceEntry)
		if isRule && isEntry && entry.Spec.Hosts[0] == rule.Spec.Host {
			fmt.Fprintf(out, "cluster.outbound|%d|%s|%s;.version_text: \"x/1\"\n", sentinelPort, rule.Spec.Subsets[0].Name, rule.Spec.Host)
		}
	case "/listeners?format=json":
		fmt.Fprintf(out, `{"listener_statuses":[{"local_address":{"socket_address":{"port_value":%d}}}]}`, w.home.Subject.GatewayPort)
	default:
		fmt.Fprint(out, "{}")
	}
}

func (w *world) clustersThatWarm(out http.ResponseWriter) {
	entries := []string{}
	for i := range w.warming.Load() {
		entries = append(entries, fmt.Sprintf(`{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster","cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"warm-%d"}}`, i))
	}
	fmt.Fprintf(out, `{"configs":[%s]}`, strings.Join(entries, ","))
}

// secrets are those of a gateway: without hop 2's MUTUAL it asks for none.
func (w *world) secrets(out http.ResponseWriter) {
	if w.warming.Load() > 0 {
		fmt.Fprint(out, `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.SecretsConfigDump","dynamic_warming_secrets":[{"name":"kubernetes://lacking"}]}]}`)
		return
	}
	s := w.home.Subject
	ns := s.Gateway.Namespace
	o, _ := w.server.Lookup(&istio.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: s.Hop2Rule, Namespace: ns}})
	rule, ok := o.(*istio.DestinationRule)
	if !ok || rule.Spec.TrafficPolicy.PortLevelSettings[0].Tls.Mode != networking.ClientTLSSettings_MUTUAL {
		fmt.Fprint(out, "{}")
		return
	}
	o, _ = w.server.Lookup(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: s.Credential, Namespace: ns}})
	name := manifest.SDSName(s.Credential)
	fmt.Fprintf(out, `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.SecretsConfigDump","dynamic_active_secrets":[
		{"name":%q,"secret":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret","name":%q,
		"tls_certificate":{"certificate_chain":{"inline_bytes":%q}}}}]}]}`,
		name, name, base64.StdEncoding.EncodeToString(o.(*corev1.Secret).Data["tls.crt"]))
}

// hosts are those of hop 1's cluster.
func (w *world) hosts(out http.ResponseWriter) {
	s := w.home.Subject
	var hosts []string
	for _, role := range []subject.Role{subject.Gateway, subject.SecondGateway} {
		if p, err := w.Source.Pod(role); err == nil && w.stale == "" {
			hosts = append(hosts, host(p.IP, s.GatewayPort))
		}
	}
	if w.stale != "" {
		hosts = append(hosts, host(w.stale, s.GatewayPort))
	}
	fmt.Fprintf(out, `{"cluster_statuses":[{"name":%q,"host_statuses":[%s]}]}`, s.Hop1Cluster(), strings.Join(hosts, ","))
}

func host(ip string, port int) string {
	return fmt.Sprintf(`{"address":{"socket_address":{"address":%q,"port_value":%d}},"health_status":{"eds_health_status":"HEALTHY"}}`, ip, port)
}

// istiod lists what the API server holds of what the lab has written.
func (w *world) istiod(out http.ResponseWriter, _ *http.Request) {
	w.pending.mu.Lock()
	defer w.pending.mu.Unlock()
	list := []any{}
	for k := range w.pending.versions {
		like, err := named(manifest.Key(k))
		if err != nil {
			http.Error(out, err.Error(), http.StatusInternalServerError)
			return
		}
		if o, err := w.server.Lookup(like); err == nil && o != nil {
			list = append(list, map[string]any{"kind": k.Kind, "metadata": map[string]string{
				"namespace": k.Namespace, "name": k.Name, "resourceVersion": o.GetResourceVersion()}})
		}
	}
	_ = json.NewEncoder(out).Encode(list)
}

// exec is curl: the gateway's, which asks the partner's Service, or the
// application's, whose call passes both hops.
func (w *world) exec(_, container string, command []string) ([]byte, []byte, error) {
	url := command[len(command)-1]
	_, token, _ := strings.Cut(url, "/probe/")
	if container != w.home.Subject.Client.Container {
		for n := range inARow - w.deaf {
			w.print(subject.Partner, fmt.Sprintf("%s-%d", strings.TrimSuffix(token, fmt.Sprintf("-[1-%d]", inARow)), n+1))
		}
		return nil, nil, nil
	}
	for _, role := range []subject.Role{subject.Sidecar, subject.Gateway, subject.Partner} {
		n := 1
		if w.calls != nil {
			n = w.calls[role]
		}
		for range n {
			w.print(role, string(role)+" /probe/"+token)
		}
	}
	return fmt.Appendf(nil, `{"token":%q,"status":"200","port":"8443","peer":"10.0.0.2","host":"h","uri":"/probe/%s","protocol":"HTTP/1.1","tls":"TLSv1.3",`+
		`"cipher":"c","sni":"h","verify":%q,"dn":"CN=egress-client","issuer":"CN=ca","serial":%q,"fingerprint":"aa","connection":"1","connection_requests":"1"}
{"http_code":200,"exitcode":0,"http_version":"1.1","remote_ip":"10.96.0.1","local_ip":"10.0.0.1","local_port":5000,"num_connects":1,"time_total":0.01,"url":%q,"curl_version":"libcurl/8"}
`, token, token, w.verify, w.serial, url), nil, nil
}

// sameAsBaseline compares what the API server holds with the baseline.
func (w *world) sameAsBaseline(t *testing.T) {
	t.Helper()
	for _, want := range w.Baseline().Objects() {
		got := w.server.Get(t, want)
		if got == nil {
			t.Errorf("%s is not there", manifest.KeyOf(want))
			continue
		}
		if diff := cmp.Diff(want, got, same); diff != "" {
			t.Errorf("%s: -baseline +cluster:\n%s", manifest.KeyOf(want), diff)
		}
	}
}

// same leaves out what the API server sets by itself.
var same = cmp.Options{
	protocmp.Transform(),
	cmpopts.IgnoreTypes(metav1.TypeMeta{}),
	cmpopts.IgnoreFields(metav1.ObjectMeta{}, "ResourceVersion", "UID"),
	cmpopts.IgnoreFields(corev1.ServiceSpec{}, "ClusterIP", "ClusterIPs"),
	cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "Status" }, cmp.Ignore()),
	cmpopts.EquateEmpty(),
}
