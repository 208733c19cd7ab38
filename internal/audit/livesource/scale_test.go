package livesource

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A thousand namespaces, each with ten pods that are alike, ten Services and Istio's
// objects, of the sizes that a cluster has.
func TestThousandNamespaces(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	const spaces = 1000
	a := served(t)
	managed := strings.Repeat(`{"f:metadata":{"f:labels":{"f:app":{}}}},`, 50)
	applied := strings.Repeat("x", 1000)
	meta := func(i, each int, more string) string {
		return fmt.Sprintf(`"metadata":{"name":"n-%d","namespace":"ns-%d","uid":"u","managedFields":[%s{}],"annotations":{"kubectl.kubernetes.io/last-applied-configuration":%q}%s}`,
			i, i/each, managed, applied, more)
	}
	status := `,"status":{"x":"` + strings.Repeat("y", 500) + `"}}`
	object := func(each int, spec string) func(int) json.RawMessage {
		return func(i int) json.RawMessage {
			return json.RawMessage("{" + meta(i, each, "") + `,"spec":` + strings.ReplaceAll(spec, "%d", fmt.Sprint(i)) + status)
		}
	}
	volumes := strings.Repeat(`{"name":"v","configMap":{"name":"some-config-map"}},`, 60)
	a.many = map[string]func(int) json.RawMessage{
		"namespaces": func(i int) json.RawMessage {
			return json.RawMessage(fmt.Sprintf(`{"metadata":{"name":"ns-%d","labels":{"istio-injection":"enabled"},"managedFields":[%s{}]}}`, i, managed))
		},
		"services": object(10, `{"clusterIP":"10.0.0.1","selector":{"app":"a"},"ports":[{"name":"http","port":80,"targetPort":8080}]}`),
		"pods": func(i int) json.RawMessage {
			labels := fmt.Sprintf(`,"labels":{"app":"a","pod-template-hash":"77","security.istio.io/tlsMode":"istio"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"a%d-77","controller":true}]`, i/10)
			return json.RawMessage("{" + meta(i, 10, labels) + `,"spec":{"serviceAccountName":"a","volumes":[` + volumes + `{}],"initContainers":[{"name":"istio-proxy","args":["proxy","sidecar"]}],"containers":[{"name":"a","image":"a"}]},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`)
		},
		"virtualservices.networking.istio.io":        object(2, `{"hosts":["h%d.example.com"],"http":[{"route":[{"destination":{"host":"n-%d"}}]}]}`),
		"destinationrules.networking.istio.io":       object(2, `{"host":"n-%d","trafficPolicy":{"connectionPool":{"tcp":{"maxConnections":100}}}}`),
		"serviceentries.networking.istio.io":         object(1, `{"hosts":["x%d.example.com"],"resolution":"DNS","ports":[{"number":443,"name":"https","protocol":"HTTPS"}]}`),
		"authorizationpolicies.security.istio.io":    object(1, `{"action":"ALLOW","rules":[{}]}`),
		"networkpolicies.networking.k8s.io":          object(1, `{"podSelector":{}}`),
		"sidecars.networking.istio.io":               object(1, `{"egress":[{"hosts":["./*","egress/*","istio-system/*"]}]}`),
		"endpointslices.discovery.k8s.io":            object(10, `{}`),
		"envoyfilters.networking.istio.io":           object(100, `{}`),
		"peerauthentications.security.istio.io":      object(1, `{}`),
		"requestauthentications.security.istio.io":   object(1, `{}`),
		"telemetries.telemetry.istio.io":             object(1, `{}`),
		"wasmplugins.extensions.istio.io":            object(1, `{}`),
		"httproutes.gateway.networking.k8s.io":       object(1, `{}`),
		"workloadentries.networking.istio.io":        object(1, `{}`),
		"proxyconfigs.networking.istio.io":           object(1, `{}`),
		"referencegrants.gateway.networking.k8s.io":  object(1, `{}`),
		"backendtlspolicy.gateway.networking.k8s.io": object(1, `{}`),
	}
	a.n = map[string]int{"namespaces": spaces, "services": 10 * spaces, "pods": 10 * spaces, "virtualservices.networking.istio.io": 2 * spaces, "destinationrules.networking.istio.io": 2 * spaces,
		"serviceentries.networking.istio.io": spaces, "authorizationpolicies.security.istio.io": spaces, "networkpolicies.networking.k8s.io": spaces, "sidecars.networking.istio.io": spaces,
		"envoyfilters.networking.istio.io": 10}
	source := a.start(t)
	defer debug.SetGCPercent(debug.SetGCPercent(100)) // make test turns collection off
	var peak atomic.Uint64
	stop, done := make(chan struct{}), make(chan struct{})
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	go func() {
		defer close(done)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse))
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	begin, used := time.Now(), cpu(t)
	g := source.begin(Options{})
	if err := g.read(t.Context()); err != nil { // all but the few proxies that are chosen
		t.Fatal(err)
	}
	took, s := time.Since(begin), g.snapshot
	if len(g.gathered()) > 0 {
		t.Errorf("missing: %v", g.gathered())
	}
	close(stop)
	<-done
	runtime.GC()
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	bytes := 0
	for _, o := range s.Objects.All {
		bytes += len(o.JSON)
	}
	t.Logf("%d objects (%d MB of JSON) of %d requests in %v; heap at most %d MB with the server's, %d MB kept", len(s.Objects.All), bytes>>20, len(a.requests()), took.Round(time.Millisecond),
		peak.Load()>>20, (after.HeapAlloc-before.HeapAlloc)>>20)
	// The processor's time, since a busy machine takes longer: what is allowed is 10 s on
	// two idle cores, the server's half included.
	if used = cpu(t) - used; used > 15*time.Second {
		t.Errorf("reading took %v of the processors", used)
	}
	if peak.Load() > 400<<20 {
		t.Errorf("the heap grew to %d MB", peak.Load()>>20)
	}
	if n := len(s.Objects.Kind("", "Pod")); n != spaces+2 {
		t.Errorf("%d pods are kept", n)
	}
}

// cpu is what this process has used of the processors.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
