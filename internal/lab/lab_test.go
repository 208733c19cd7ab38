package lab

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/testing/protocmp"
	networking "istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/internal/kube/kubetest"
	"twohop/internal/observe"
	"twohop/internal/subject"
)

func capture(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// The statistics are of a sidecar and a gateway of a run; the sentinel's cluster
// was the newest one in both.
func TestPushed(t *testing.T) {
	const sentinel = ".sentinel.invalid"
	cut := func(prefix string) func(string) string {
		return func(stats string) string {
			var kept []string
			for line := range strings.Lines(stats) {
				if !strings.HasPrefix(line, prefix) {
					kept = append(kept, line)
				}
			}
			return strings.Join(kept, "")
		}
	}
	replace := func(old, new string) func(string) string {
		return func(stats string) string { return strings.Replace(stats, old, new, 1) }
	}
	for _, who := range []string{"sidecar", "gateway"} {
		stats := capture(t, who+"-versions.txt")
		found := regexp.MustCompile(`(cluster_manager\.cds\.version_text: "[^/]+/)(\d+)`).FindStringSubmatch(stats)
		if found == nil {
			t.Fatal("the capture has no version of its clusters")
		}
		cds, number := found[1], found[2]
		lds := strings.Replace(cds, cdsStat, ldsStat, 1)
		for _, tt := range []struct {
			name   string
			host   string
			change func(string) string
			done   bool
			says   string // of last, or of the error
			failed bool
		}{
			{name: "as it was", host: sentinel, done: true},
			{name: "a sentinel that did not come", host: "s0-0" + sentinel, says: "the sentinel's cluster is not there"},
			{name: "listeners of an earlier push", host: sentinel, change: replace(lds+number, lds+"1"), says: "listener_manager.lds is at push 1, clusters at " + number},
			{name: "listeners of a later push", host: sentinel, change: replace(lds+number, lds+"999999"), done: true},
			{name: "clusters of a later push", host: sentinel, change: replace(cds+number, cds+"999999"), says: "clusters at 999999"},
			{name: "routes of an earlier push", host: sentinel, change: func(stats string) string {
				at := strings.Index(stats, ".rds.")
				return stats[:at] + strings.Replace(stats[at:], "/"+number, "/2", 1)
			}, says: "is at push 2, clusters at " + number},
			{name: "no listeners", host: sentinel, change: cut("listener_manager."), says: "no listeners yet"},
			{name: "a cluster that is not warm", host: sentinel, change: func(stats string) string {
				var lines []string
				for line := range strings.Lines(stats) {
					if strings.Contains(line, sentinel) {
						line = strings.SplitN(line, ": ", 2)[0] + ": \"\"\n"
					}
					lines = append(lines, line)
				}
				return strings.Join(lines, "")
			}, says: "the sentinel's cluster is not there"},
			{name: "no clusters' version", host: sentinel, change: cut("cluster_manager."), says: "the pod needs proxyStatsMatcher", failed: true},
			{name: "no statistics", host: sentinel, change: func(string) string { return "" }, says: "the pod needs proxyStatsMatcher", failed: true},
			{name: "a version of another shape", host: sentinel, change: replace(lds+number, `listener_manager.lds.version_text: "v`+number), says: "is not <time>/<number>", failed: true},
		} {
			t.Run(who+": "+tt.name, func(t *testing.T) {
				given := stats
				if tt.change != nil {
					if given = tt.change(stats); given == stats {
						t.Fatal("the change of this test changes nothing in the capture")
					}
				}
				done, last, err := pushed(given, tt.host)
				if done != tt.done || (err != nil) != tt.failed {
					t.Errorf("done %v, want %v; last %q, error %v", done, tt.done, last, err)
				}
				if text := fmt.Sprint(last, " ", err); !done && !strings.Contains(text, tt.says) {
					t.Errorf("%q does not say %q", text, tt.says)
				}
			})
		}
	}
}

func TestPushNumber(t *testing.T) {
	for version, want := range map[string]uint64{"2026-11-23T16:10:11Z/37": 37, "x/0": 0, "x/18446744073709551615": 18446744073709551615} {
		if got, err := pushNumber(version); err != nil || got != want {
			t.Errorf("pushNumber(%q) is %d, %v", version, got, err)
		}
	}
	for _, version := range []string{"", "37", "2026-11-23T16:10:11Z/", "2026-11-23T16:10:11Z/x", "x/-1", "x/3/7", "x/18446744073709551616"} {
		if got, err := pushNumber(version); err == nil || !strings.Contains(err.Error(), version) {
			t.Errorf("pushNumber(%q) is %d, %v", version, got, err)
		}
	}
}

func TestPoll(t *testing.T) {
	t.Run("until it is so", func(t *testing.T) {
		n := 0
		if err := poll(t.Context(), func() (bool, string, error) { n++; return n == 3, "no", nil }); err != nil || n != 3 {
			t.Errorf("%v after %d", err, n)
		}
	})
	t.Run("an error ends it", func(t *testing.T) {
		boom, n := errors.New("boom"), 0
		if err := poll(t.Context(), func() (bool, string, error) { n++; return false, "", boom }); !errors.Is(err, boom) || n != 1 {
			t.Errorf("%v after %d", err, n)
		}
	})
	t.Run("the end of time says what was seen last", func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Millisecond, errors.New("30ms went by"))
		defer cancel()
		err := poll(ctx, func() (bool, string, error) { return false, "push 3", nil })
		if err == nil || err.Error() != "30ms went by; last seen: push 3" {
			t.Error(err)
		}
	})
	t.Run("an error because time is over says so", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		n := 0
		err := poll(ctx, func() (bool, string, error) {
			if n++; n == 1 {
				return false, "push 3", nil
			}
			cancel(errors.New("enough"))
			return false, "", ctx.Err()
		})
		if err == nil || err.Error() != "enough; last seen: push 3" {
			t.Error(err)
		}
	})
}

// newLab prepares a lab whose API server and proxies are in memory: the proxies
// have whatever sentinel the API server holds.
func newLab(t *testing.T, n int) (*Lab, *kubetest.Server) {
	t.Helper()
	server, client := kubetest.New(t)
	l, err := New(client, n, "", Images{Client: "client:1", Partner: "partner:1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.apply(t.Context(), l.baseline); err != nil {
		t.Fatal(err)
	}
	envoy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI == observe.WarmingPath {
			fmt.Fprintln(w, warmingStat+": 0")
			return
		}
		if r.RequestURI == observe.SecretsDumpPath {
			// A gateway whose hop 2 is not MUTUAL asks for no client certificate.
			rule := server.Get(t, &istio.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: l.home.Hop2Rule, Namespace: l.home.Gateway.Namespace}}).(*istio.DestinationRule)
			if rule.Spec.TrafficPolicy.PortLevelSettings[0].Tls.Mode != networking.ClientTLSSettings_MUTUAL {
				fmt.Fprint(w, `{}`)
				return
			}
			name := SDSName(l.home.Credential)
			held := server.Get(t, l.CredentialSecret(l.home.Credential, l.Credential)).(*corev1.Secret)
			fmt.Fprintf(w, `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.SecretsConfigDump","dynamic_active_secrets":[
				{"name":%q,"secret":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret","name":%q,
				"tls_certificate":{"certificate_chain":{"inline_bytes":%q}}}}]}]}`,
				name, name, base64.StdEncoding.EncodeToString(held.Data["tls.crt"]))
			return
		}
		text := "cluster_manager.cds.version_text: \"x/1\"\nlistener_manager.lds.version_text: \"x/1\"\n"
		for _, gateway := range []subject.Workload{l.home.Gateway, l.home.Unbound} {
			if se, ok := server.Get(t, &istio.ServiceEntry{ObjectMeta: metav1.ObjectMeta{Name: "twohop-sentinel", Namespace: gateway.Namespace}}).(*istio.ServiceEntry); ok {
				text += fmt.Sprintf("cluster.outbound|%d|%s|%s;.version_text: \"x/1\"\n", sentinelPort, sentinelSubset, se.Spec.Hosts[0])
			}
		}
		fmt.Fprint(w, text)
	}))
	t.Cleanup(envoy.Close)
	istiod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		list := []any{}
		for k := range l.written.versions {
			o := map[string]k8s.Object{"ServiceEntry": &istio.ServiceEntry{}, "DestinationRule": &istio.DestinationRule{},
				"VirtualService": &istio.VirtualService{}, "Gateway": &istio.Gateway{}}[k.Kind]
			if o = server.Get(t, named(o, k.Namespace, k.Name)); o != nil {
				list = append(list, map[string]any{"kind": k.Kind, "metadata": map[string]string{
					"namespace": k.Namespace, "name": k.Name, "resourceVersion": o.GetResourceVersion()}})
			}
		}
		_ = json.NewEncoder(w).Encode(list)
	}))
	t.Cleanup(istiod.Close)
	l.pilot = observe.NewIstiod(istiod.URL)
	l.Sidecar = observe.NewProxy(l.Subject.Client, "client-1", "10.244.0.1", nil, envoy.URL)
	l.Gateway = observe.NewProxy(l.Subject.Gateway, "gateway-1", "10.244.0.2", nil, envoy.URL)
	return l, server
}

// sameAsBaseline compares what the API server holds with the baseline.
func sameAsBaseline(t *testing.T, l *Lab, server *kubetest.Server) {
	t.Helper()
	for _, want := range l.Baseline() {
		got := server.Get(t, want)
		if got == nil {
			t.Errorf("%s is not there", describe(want))
			continue
		}
		if diff := cmp.Diff(want, got, same); diff != "" {
			t.Errorf("%s: -baseline +cluster:\n%s", describe(want), diff)
		}
	}
}

// same leaves out what the API server sets by itself.
var same = cmp.Options{
	protocmp.Transform(),
	cmpopts.IgnoreTypes(metav1.TypeMeta{}),
	cmpopts.IgnoreFields(metav1.ObjectMeta{}, "ResourceVersion", "UID"),
	cmpopts.IgnoreFields(corev1.ServiceSpec{}, "ClusterIP", "ClusterIPs"),
	cmpopts.EquateEmpty(),
}

// istiod's --domain renames Services in its registry, and nothing in DNS: each
// gateway is named by it in every object, and the partner's Service in none.
func TestDomain(t *testing.T) {
	for _, n := range []int{1, 2} {
		_, client := kubetest.New(t)
		l, err := New(client, n, "example.internal", Images{})
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := Manifest(l.Baseline()...)
		if err != nil {
			t.Fatal(err)
		}
		text := string(manifest)
		for _, gateway := range []subject.Workload{l.home.Gateway, l.home.Unbound} {
			name := l.home.GatewayService + "." + gateway.Namespace + ".svc."
			if !strings.Contains(text, name+"example.internal") || strings.Contains(text, name+"cluster.local") {
				t.Errorf("lab %d: %sexample.internal is not what names the gateway everywhere", n, name)
			}
		}
		if partner := l.home.PartnerService + "." + l.home.Partner.Namespace + ".svc.cluster.local"; !strings.Contains(text, partner) {
			t.Errorf("lab %d: %s is not there, which is a name in DNS", n, partner)
		}
	}
}

func TestVaryAndRestore(t *testing.T) {
	s := subject.Default()
	ns := s.Gateway.Namespace
	config := func(name, value string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Data: map[string]string{"k": value}}
	}
	hop2 := &istio.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: s.Hop2Rule, Namespace: ns}}
	editHop2 := func(l *Lab) Variation {
		return l.DestinationRule("hop 2 is SIMPLE", s.Hop2Rule, func(dr *networking.DestinationRule) {
			dr.TrafficPolicy.PortLevelSettings[0].Tls.Mode = networking.ClientTLSSettings_SIMPLE
		})
	}
	for _, tt := range []struct {
		name      string
		vary      func(*Lab) []Variation
		there     func(*testing.T, *kubetest.Server) // what has to be so in between
		untouched bool
	}{
		{
			name: "nothing", vary: func(*Lab) []Variation { return nil }, untouched: true,
		},
		{
			name: "an input", vary: func(*Lab) []Variation { return []Variation{Input("send 300s", func() {})} }, untouched: true,
		},
		{
			name: "an edit", vary: func(l *Lab) []Variation { return []Variation{editHop2(l)} },
			there: func(t *testing.T, server *kubetest.Server) {
				if mode := server.Get(t, hop2).(*istio.DestinationRule).Spec.TrafficPolicy.PortLevelSettings[0].Tls.Mode; mode != networking.ClientTLSSettings_SIMPLE {
					t.Errorf("the edit is not there: %v", mode)
				}
			},
		},
		{
			name: "two edits of one object", vary: func(l *Lab) []Variation {
				return []Variation{editHop2(l), l.DestinationRule("export it", s.Hop2Rule, func(dr *networking.DestinationRule) { dr.ExportTo = []string{"*"} })}
			},
			there: func(t *testing.T, server *kubetest.Server) {
				got := server.Get(t, hop2).(*istio.DestinationRule)
				if got.Spec.ExportTo[0] != "*" || got.Spec.TrafficPolicy.PortLevelSettings[0].Tls.Mode != networking.ClientTLSSettings_SIMPLE {
					t.Errorf("the second edit lost the first: %v", &got.Spec)
				}
			},
		},
		{
			name: "an addition", vary: func(*Lab) []Variation { return []Variation{Add("add a", config("a", "1"))} },
			there: func(t *testing.T, server *kubetest.Server) {
				if server.Get(t, config("a", "")) == nil {
					t.Error("the addition is not there")
				}
			},
		},
		{
			name: "an addition, twice", vary: func(*Lab) []Variation {
				return []Variation{Add("add a", config("a", "1")), Add("change a", config("a", "2"))}
			},
			there: func(t *testing.T, server *kubetest.Server) {
				if got := server.Get(t, config("a", "")).(*corev1.ConfigMap); got.Data["k"] != "2" {
					t.Errorf("%v", got.Data)
				}
			},
		},
		{
			name: "a replacement", vary: func(l *Lab) []Variation {
				return []Variation{Add("another credential", &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: s.Credential, Namespace: ns}, Data: map[string][]byte{"cert": []byte("x")}})}
			},
			there: func(t *testing.T, server *kubetest.Server) {
				if got := server.Get(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: s.Credential, Namespace: ns}}).(*corev1.Secret); got.Data["tls.crt"] != nil || got.Data["cert"] == nil {
					t.Errorf("the replacement is a mixture: %v", got.Data)
				}
			},
		},
		{
			name: "another credential, while hop 2 presents none", vary: func(l *Lab) []Variation {
				return []Variation{Add("another credential", l.CredentialSecret(s.Credential, l.NewPair())), editHop2(l)}
			},
		},
		{
			name: "a removal", vary: func(*Lab) []Variation { return []Variation{Remove("remove hop 2's rule", hop2)} },
			there: func(t *testing.T, server *kubetest.Server) {
				if server.Get(t, hop2) != nil {
					t.Error("what was removed is there")
				}
			},
		},
		{
			name: "an addition and its removal", vary: func(*Lab) []Variation {
				return []Variation{Add("add a", config("a", "1")), Remove("remove a", config("a", ""))}
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, server := newLab(t, 1)
			sameAsBaseline(t, l, server)
			variations := tt.vary(l)
			done, err := l.Vary(t.Context(), variations...)
			if err != nil || len(done) != len(variations) {
				t.Fatalf("%d of %d variations: %v", len(done), len(variations), err)
			}
			if l.Touched() == tt.untouched {
				t.Errorf("touched: %v", l.Touched())
			}
			if tt.there != nil {
				tt.there(t, server)
			}
			if err := l.Restore(t.Context()); err != nil {
				t.Fatal(err)
			}
			if l.Touched() {
				t.Error("the lab says that it is touched after Restore")
			}
			sameAsBaseline(t, l, server)
			if server.Get(t, config("a", "")) != nil {
				t.Error("an addition is left")
			}
		})
	}
}

// A port that is registered before its rule has a cluster without TLS.
func TestHop2PortHasItsRuleFirst(t *testing.T) {
	l, server := newLab(t, 1)
	before := len(server.Writes())
	if _, err := l.Vary(t.Context(), l.Hop2Port("another port", Port{Number: 444, Target: 443})); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, write := range server.Writes()[before:] {
		for _, name := range []string{l.Subject.Hop2Rule, l.Subject.ServiceEntry, l.Subject.VirtualService} {
			if strings.HasSuffix(write, "/"+name) {
				order = append(order, name)
			}
		}
	}
	if diff := cmp.Diff([]string{l.Subject.Hop2Rule, l.Subject.ServiceEntry, l.Subject.VirtualService}, order); diff != "" {
		t.Errorf("-wanted +written:\n%s", diff)
	}
}

// What could not be restored is still known to be changed.
func TestRestoreThatFails(t *testing.T) {
	l, server := newLab(t, 1)
	hop2 := l.Subject.Hop2Rule
	if _, err := l.Vary(t.Context(), l.DestinationRule("export it", hop2, func(dr *networking.DestinationRule) { dr.ExportTo = nil })); err != nil {
		t.Fatal(err)
	}
	server.Refuse(func(verb, path string) error {
		if strings.HasSuffix(path, "/destinationrules/"+hop2) {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "destinationrules"}, hop2, errors.New("not now"))
		}
		return nil
	})
	if err := l.Restore(t.Context()); err == nil || !strings.Contains(err.Error(), "DestinationRule twohop-egress/"+hop2) || !strings.Contains(err.Error(), "not now") {
		t.Errorf("%v does not say what could not be restored, and why", err)
	}
	if !l.Touched() {
		t.Error("the lab passes for untouched")
	}
	server.Refuse(nil)
	if err := l.Restore(t.Context()); err != nil || l.Touched() {
		t.Errorf("a second try: %v, touched %v", err, l.Touched())
	}
	sameAsBaseline(t, l, server)
}

func TestVaryThatFails(t *testing.T) {
	l, server := newLab(t, 1)
	nothing := l.DestinationRule("edit nothing", "no-such-rule", func(*networking.DestinationRule) {})
	add := Add("add a", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: l.Subject.Gateway.Namespace}})
	done, err := l.Vary(t.Context(), add, nothing)
	if err == nil || !strings.Contains(err.Error(), "edit nothing: edit DestinationRule twohop-egress/no-such-rule") {
		t.Errorf("%v does not say which variation failed", err)
	}
	if len(done) != 1 || !l.Touched() {
		t.Errorf("%d variations done, touched %v: the first one was made", len(done), l.Touched())
	}
	if err := l.Restore(t.Context()); err != nil {
		t.Error(err)
	}
	sameAsBaseline(t, l, server)
}

// Somebody else's write in between is not lost, and the edit is made once.
func TestEditIsMadeAgainOnConflict(t *testing.T) {
	l, server := newLab(t, 1)
	refused := 0
	server.Refuse(func(verb, path string) error {
		if verb == "update" && strings.Contains(path, "/destinationrules/") && refused < 2 {
			refused++
			return apierrors.NewConflict(schema.GroupResource{Resource: "destinationrules"}, "r", errors.New("modified"))
		}
		return nil
	})
	_, err := l.Vary(t.Context(), l.DestinationRule("another name", l.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
		tls := dr.TrafficPolicy.PortLevelSettings[0].Tls
		tls.SubjectAltNames = append(tls.SubjectAltNames, "other.example.com")
	}))
	if err != nil || refused != 2 {
		t.Fatalf("%v after %d conflicts", err, refused)
	}
	got := server.Get(t, &istio.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: l.Subject.Hop2Rule, Namespace: l.Subject.Gateway.Namespace}}).(*istio.DestinationRule)
	if diff := cmp.Diff([]string{l.Subject.ExternalHost, "other.example.com"}, got.Spec.TrafficPolicy.PortLevelSettings[0].Tls.SubjectAltNames); diff != "" {
		t.Error(diff)
	}
}

// An edit that is interrupted is no edit that was made, and is undone all the same.
func TestEditThatIsInterrupted(t *testing.T) {
	l, server := newLab(t, 1)
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	_, err := l.Vary(ctx, l.DestinationRule("another host", l.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
		dr.Host = "other.example.com"
	}))
	if !errors.Is(err, context.Canceled) || !l.Touched() {
		t.Errorf("%v; touched %v", err, l.Touched())
	}
	if err := l.Restore(t.Context()); err != nil {
		t.Error(err)
	}
	sameAsBaseline(t, l, server)
}

// Whoever edits a copy of the baseline does not edit the baseline.
func TestBaselineIsACopy(t *testing.T) {
	l, _ := newLab(t, 1)
	for _, o := range l.Baseline() {
		o.SetName("changed")
	}
	for _, o := range l.Baseline() {
		if o.GetName() == "changed" {
			t.Fatal("the baseline was changed from outside")
		}
	}
	vs := l.BaselineVirtualService()
	vs.Http = nil
	if len(l.BaselineVirtualService().Http) == 0 {
		t.Error("the baseline's VirtualService was changed from outside")
	}
}

func TestDeploymentsGetTheLanesImages(t *testing.T) {
	l, _ := newLab(t, 1)
	images := map[string]int{}
	inputs := ""
	for _, o := range l.Baseline() {
		d, ok := o.(*appsv1.Deployment)
		if !ok {
			continue
		}
		for _, c := range d.Spec.Template.Spec.Containers {
			images[c.Image]++
		}
		if d.Name == l.Subject.Partner.Deployment && d.Namespace == l.Subject.Partner.Namespace {
			inputs = d.Spec.Template.Annotations["twohop/inputs"]
		}
	}
	if images["client:1"] == 0 || images["partner:1"] == 0 || images["twohop/client"]+images["twohop/partner"] > 0 {
		t.Errorf("%v", images)
	}
	again, _ := newLab(t, 1)
	for _, o := range again.Baseline() {
		if d, ok := o.(*appsv1.Deployment); ok && d.Name == l.Subject.Partner.Deployment && d.Namespace == l.Subject.Partner.Namespace {
			if other := d.Spec.Template.Annotations["twohop/inputs"]; inputs == "" || other == inputs {
				t.Errorf("a partner with other certificates does not restart: %q and %q", inputs, other)
			}
		}
	}
}

// A second lab shares no name with the first that both would write to.
func TestRename(t *testing.T) {
	first, _ := newLab(t, 1)
	second, _ := newLab(t, 2)
	names := map[string]bool{}
	for _, o := range first.Baseline() {
		names[describe(o)] = true
	}
	if len(first.Baseline()) != len(second.Baseline()) {
		t.Fatalf("%d objects, and %d in the second lab", len(first.Baseline()), len(second.Baseline()))
	}
	for _, o := range second.Baseline() {
		if names[describe(o)] {
			t.Errorf("both labs have %s", describe(o))
		}
		raw, err := Manifest(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(raw), "\n") {
			for old := range subject.Renames(2) {
				if strings.Contains(strings.ReplaceAll(line, old+"-2", ""), old) {
					t.Errorf("%s names the first lab's %s: %s", describe(o), old, strings.TrimSpace(line))
				}
			}
		}
	}
	for _, o := range second.Baseline() {
		if vs, ok := o.(*istio.VirtualService); ok && vs.Namespace == second.Subject.Gateway.Namespace {
			if got := vs.Spec.Http[0].Route[0].Destination.Host; got != second.Subject.GatewayFQDN() {
				t.Errorf("the second lab's calls go to %s", got)
			}
		}
	}
}

func TestRenameKeepsTypesAndKeys(t *testing.T) {
	o := &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: "old", Namespace: "old", Labels: map[string]string{"old": "x-old-y"}},
		BinaryData: map[string][]byte{"b": {0, 1, 2}},
	}
	got, err := rename(o, map[string]string{"old": "new"})
	if err != nil {
		t.Fatal(err)
	}
	want := o.DeepCopy()
	want.Name, want.Namespace, want.Labels = "new", "new", map[string]string{"old": "x-new-y"}
	if diff := cmp.Diff(k8s.Object(want), got); diff != "" {
		t.Error(diff)
	}
	if o.Name != "old" {
		t.Error("the original was renamed")
	}
	if got, err := rename(o, nil); err != nil || got != k8s.Object(o) {
		t.Errorf("no names: %v, %v", got, err)
	}
}

func TestManifest(t *testing.T) {
	l, server := newLab(t, 1)
	pair := l.NewPair()
	secrets := []k8s.Object{
		l.CredentialSecret("as-fixed", pair),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "generic", Namespace: "ns"}, Data: map[string][]byte{"key": pair.KeyPEM, "cert": pair.CertPEM}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "as-text", Namespace: "ns"}, StringData: map[string]string{"tls.key": string(pair.KeyPEM), "note": "kept"}},
	}
	// With what an API server adds.
	var all []k8s.Object
	for _, o := range append(l.Baseline(), secrets...) {
		if o.GetName() != "generic" && o.GetName() != "as-text" && o.GetName() != "as-fixed" {
			o = server.Get(t, o)
		}
		o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "somebody"}})
		o.SetCreationTimestamp(metav1.Now())
		o.SetGeneration(7)
		all = append(all, o)
	}
	raw, err := Manifest(all...)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for _, secret := range []string{"PRIVATE KEY", string(pair.KeyPEM), "LS0tLS1CRUdJTiBQUklWQVRF"} { // the last is base64
		if strings.Contains(text, secret) {
			t.Errorf("a private key is in the manifest (%.20s…)", secret)
		}
	}
	for _, added := range []string{"managedFields", "resourceVersion", "uid:", "generation:"} {
		if strings.Contains(text, added) {
			t.Errorf("the manifest has the API server's %s", added)
		}
	}
	if !strings.Contains(text, "note: kept") {
		t.Error("text that is no key is gone from the manifest")
	}
	documents := strings.Split(text, "\n---\n")
	if len(documents) != len(all) {
		t.Errorf("%d documents of %d objects", len(documents), len(all))
	}
	for i, d := range documents {
		if !strings.Contains(d, "apiVersion: ") || !strings.Contains(d, "kind: "+keyOf(all[i]).kind+"\n") {
			t.Errorf("document %d does not say what it is:\n%.200s", i+1, d)
		}
	}
	if secrets[1].(*corev1.Secret).Data["key"] == nil || string(secrets[1].(*corev1.Secret).Data["key"]) != string(pair.KeyPEM) {
		t.Error("Manifest took the key out of the object itself")
	}
}

func TestNumberedLabsUseTheirOwnNamespaces(t *testing.T) {
	l, server := newLab(t, 3)
	if _, err := l.Vary(t.Context(), l.DestinationRule("export it", l.Subject.Hop2Rule, func(dr *networking.DestinationRule) { dr.ExportTo = nil })); err != nil {
		t.Fatal(err)
	}
	for _, w := range server.Writes() {
		namespaced := strings.Contains(w, "/namespaces/twohop-") || strings.Contains(w, "/namespaces/twohop")
		if namespaced && !strings.Contains(w, "-3/") && !strings.HasSuffix(w, "-3") {
			t.Errorf("lab 3 wrote to %s", w)
		}
	}
}
