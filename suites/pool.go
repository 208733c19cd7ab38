package suites

import (
	"fmt"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/check"
	"twohop/internal/manifest"
	"twohop/internal/sockets"
)

// late is how much later than its timer something may show in a log, on a busy
// machine; early is how much sooner, if what the time runs from was logged late.
// Together they are a second: no time fits two timers that are a second apart.
const (
	late  = 800 * time.Millisecond
	early = 200 * time.Millisecond
)

// takes bounds a time from both sides.
func takes(d time.Duration) types.GomegaMatcher {
	return And(BeNumerically(">=", d-early), BeNumerically("<=", d+late))
}

// connections is a connectionPool with nothing but a limit.
func connections(n int32) *networking.ConnectionPoolSettings {
	return &networking.ConnectionPoolSettings{Tcp: &networking.ConnectionPoolSettings_TCPSettings{MaxConnections: n}}
}

var _ = Claim("P-default", func(s *Setup) Experiment[*check.Cluster] {
	return Experiment[*check.Cluster]{
		Arrange: vary(s.RemoveDestinationRule("there is no DestinationRule for hop 2", s.Subject.Hop2Rule)),
		Check: func(t *T) *check.Cluster {
			hop2 := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			hop2.Is(BeTrue())
			hop2.Fact("maxConnections", hop2.Pool.MaxConnections, Equal(uint32(1024)))
			call := t.Call()
			call.Fact("gateway: upstream cluster", call.GatewayLog().UpstreamCluster, HavePrefix(t.Subject.Hop2Cluster()))
			t.Connections(t.Gateway, t.Subject.Hop2Cluster(), BeNumerically(">", 0))
			return hop2
		},
		Cause: func(_ *T, hop2 *check.Cluster) {
			hop2.Fact("DestinationRule that shaped it", hop2.DestinationRule(), BeEmpty())
			hop2.Fact("maxConnections, as Istio writes it", hop2.Pool.MaxConnections, Equal(unlimited))
			hop2.Fact("maxPendingRequests", hop2.Pool.MaxPendingRequests, Equal(unlimited))
			hop2.Fact("maxRequests", hop2.Pool.MaxRequests, Equal(unlimited))
			hop2.Fact("maxRetries", hop2.Pool.MaxRetries, Equal(unlimited))
		},
		Control: vary(manifest.AddDestinationRule("a rule for hop 2 says maxConnections 1024", s.Subject.Gateway.Namespace, s.Subject.Hop2Rule,
			&networking.DestinationRule{Host: s.Subject.ExternalHost, TrafficPolicy: &networking.TrafficPolicy{ConnectionPool: connections(1024)}})),
		Flips: []string{"gateway, *: maxConnections"},
	}
})

var _ = Claim("P-wrong-proxy", func(s *Setup) Experiment[*check.Cluster] {
	return Experiment[*check.Cluster]{
		Check: func(t *T) *check.Cluster {
			hop2 := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			hop2.Is(BeTrue())
			poolIs(hop2, t.Subject.Hop2Pool)
			elsewhere := t.Cluster(t.Sidecar, t.Subject.Hop2Cluster())
			elsewhere.Is(BeTrue())
			elsewhere.Fact("maxConnections", elsewhere.Pool.MaxConnections, Equal(unlimited))
			elsewhere.Fact("tcpKeepalive", elsewhere.Pool.Keepalive, BeNil())
			return elsewhere
		},
		Cause: func(t *T, elsewhere *check.Cluster) {
			elsewhere.Fact("maxConnections, as on the gateway", elsewhere.Pool.MaxConnections, Equal(t.Subject.Hop2Pool.MaxConnections))
			// It acts there as little as before: the sidecar opens nothing with it.
			t.Connections(t.Sidecar, t.Subject.Hop2Cluster(), BeNumerically("==", 0))
		},
		Control: vary(s.Hop2DestinationRule("export hop 2's rule to everybody", func(dr *networking.DestinationRule) { dr.ExportTo = nil })),
		Flips:   []string{"client sidecar, *: maxConnections", "client sidecar, *: tcpKeepalive"},
	}
})

var _ = Claim("P-wrong-proxy-2", func(s *Setup) Experiment[*check.Cluster] {
	return Experiment[*check.Cluster]{
		Check: func(t *T) *check.Cluster {
			hop1 := t.Cluster(t.Sidecar, t.Subject.Hop1Cluster())
			hop1.Is(BeTrue())
			poolIs(hop1, t.Subject.Hop1Pool)
			elsewhere := t.Cluster(t.Gateway, t.Subject.Hop1Cluster())
			elsewhere.Is(BeTrue())
			elsewhere.Fact("maxConnections", elsewhere.Pool.MaxConnections, Equal(unlimited))
			elsewhere.Fact("tcpKeepalive", elsewhere.Pool.Keepalive, BeNil())
			return elsewhere
		},
		Cause: func(t *T, elsewhere *check.Cluster) {
			poolIs(elsewhere, t.Subject.Hop1Pool)
			t.Call().Status(Equal(200))
			opens(t)
		},
		Control: vary(exportHop1(s)),
		Flips:   []string{"gateway, *: maxConnections", "gateway, *: tcpKeepalive"},
	}
})

// exportHop1 takes hop 1's rule away from the gateway and leaves it the cluster:
// without the subset there would be none, and nothing to see that a setting is
// missing. Rules of one host that are exported to different namespaces are not
// merged (pilot/pkg/model, mergeDestinationRule).
func exportHop1(s *Setup) Variation {
	own := s.BaselineDestinationRule(s.Subject.Hop1Rule)
	own.ExportTo = []string{"."}
	s.Hop1Settings(own).ConnectionPool = nil
	return manifest.Together("export hop 1's rule to the application's namespace only; the gateway has one with the same subset and no connectionPool",
		s.Hop1DestinationRule("", func(dr *networking.DestinationRule) { dr.ExportTo = []string{s.Subject.Client.Namespace} }),
		manifest.AddDestinationRule("", s.Subject.Gateway.Namespace, "hop1-at-the-gateway", own))
}

var _ = Claim("P-not-retroactive", func(s *Setup) Experiment[[]*Call] {
	const (
		edit = "the edit"
		less = 101 * time.Second
	)
	// Relative, so that it is an edit each time: the control begins where the check ended,
	// and a mutant makes it there once more. An absolute value would already be in place.
	settings := hop2Pool(s, fmt.Sprintf("hop 2's tcpKeepalive.time becomes %gs less", less.Seconds()), func(pool *networking.ConnectionPoolSettings) {
		pool.Tcp.TcpKeepalive.Time = durationpb.New(pool.Tcp.TcpKeepalive.Time.AsDuration() - less)
	})
	annotation := manifest.Edit("hop 2's rule gets an annotation", s.Subject.Gateway.Namespace, s.Subject.Hop2Rule, func(o *istio.DestinationRule) {
		metav1.SetMetaDataAnnotation(&o.ObjectMeta, "twohop/note", "nothing that a proxy sees")
	})
	return Experiment[[]*Call]{
		Check: func(t *T) []*Call {
			client := t.Sequential(16, 100*time.Millisecond)
			client.Begun()
			t.During(given(t, edit, settings))
			before := client.Made()
			calls := client.Calls()
			// One may have been under way just then; the next began after the edit.
			if before+1 >= len(calls) {
				t.Abort("the edit took as long as %d of the client's %d calls: none shows what came after it", before, len(calls))
			}
			calls[0].Fact("curl: responses with 200", check.Answered(calls, 200), Equal(len(calls)))
			onceEach(calls)
			calls[0].Fact("sidecar: connections of the application's", check.Callers(calls), Equal(1))
			calls[0].Fact("partner: connections used, before the edit and after", len(check.Connections(calls)), Equal(1))
			return calls
		},
		Cause: func(t *T, calls []*Call) {
			calls[0].Fact("partner: connections used, one before and one after", len(check.Connections(calls)), Equal(2))
			gateway := t.Sockets(t.Gateway)
			hop2 := t.Hop2Sockets(gateway)
			gateway.Fact("hop 2, connections now", len(hop2), Equal(1))
			gateway.Fact("hop 2, time to the next keepalive probe, by the new value", sockets.Keepalive(hop2), And(BeNumerically(">", 0), BeNumerically("<=", t.Subject.Hop2Pool.KeepaliveTime-less)))
		},
		Control: vary(manifest.Input("edit an annotation of the rule instead", edit, annotation)),
		Flips:   []string{"partner: connections used, before the edit and after"},
	}
})
