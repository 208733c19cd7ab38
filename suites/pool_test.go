package suites

import (
	"context"
	"fmt"
	"math"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/lab"
	"twohop/internal/probe"
	"twohop/internal/sockets"
	"twohop/internal/subject"
	"twohop/internal/trial"
)

// unlimited is what Istio writes where a rule sets no limit
// (pilot/pkg/networking/core, getDefaultCircuitBreakerThresholds).
const unlimited = uint32(math.MaxUint32)

// late is how much later than its timer something may show in a log, on a busy
// machine; early is how much sooner, by the clocks' and the log's own spread.
const (
	late  = 900 * time.Millisecond
	early = 100 * time.Millisecond
)

// takes bounds a time from both sides.
func takes(d time.Duration) types.GomegaMatcher {
	return And(BeNumerically(">=", d-early), BeNumerically("<=", d+late))
}

// hop2Pool edits the connectionPool of hop 2's port.
func hop2Pool(t *trial.T, change string, edit func(*networking.ConnectionPoolSettings)) lab.Variation {
	return t.DestinationRule(change, t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
		edit(dr.TrafficPolicy.PortLevelSettings[0].ConnectionPool)
	})
}

// noRetries makes every route try once.
func noRetries(t *trial.T, change string) lab.Variation {
	return t.VirtualService(change, func(vs *networking.VirtualService) {
		for _, route := range vs.Http {
			route.Retries = &networking.HTTPRetry{Attempts: 0}
		}
	})
}

var _ = Claim("P-default", func(t *trial.T) trial.Experiment {
	var hop2 *trial.Cluster
	var call *trial.Call
	rule := &istio.DestinationRule{ObjectMeta: metav1.ObjectMeta{Name: t.Subject.Hop2Rule, Namespace: t.Subject.Gateway.Namespace}}
	limited := rule.DeepCopy()
	limited.Spec.Host = t.Subject.ExternalHost
	limited.Spec.TrafficPolicy = &networking.TrafficPolicy{ConnectionPool: &networking.ConnectionPoolSettings{
		Tcp: &networking.ConnectionPoolSettings_TCPSettings{MaxConnections: 1024},
	}}
	return trial.Experiment{
		Arrange: []lab.Variation{lab.Remove("there is no DestinationRule for hop 2", rule)},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if hop2, err = t.Cluster(ctx, t.Gateway, t.Subject.Hop2Cluster()); err != nil {
				return err
			}
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Fact("gateway: carrying cluster", call.Through().UpstreamCluster, HavePrefix(t.Subject.Hop2Cluster()))
			hop2.Fact("maxConnections", hop2.Pool.MaxConnections, Equal(uint32(1024)))
			return t.Connections(ctx, t.Gateway, t.Subject.Hop2Cluster(), BeNumerically(">", 0))
		},
		Cause: func(_ context.Context, t *trial.T) error {
			_, ruled := hop2.Envoy.DestinationRule()
			hop2.Fact("made from a DestinationRule", ruled, BeFalse())
			hop2.Fact("maxConnections, as Istio writes it", hop2.Pool.MaxConnections, Equal(unlimited))
			hop2.Fact("maxPendingRequests", hop2.Pool.MaxPendingRequests, Equal(unlimited))
			hop2.Fact("maxRequests", hop2.Pool.MaxRequests, Equal(unlimited))
			hop2.Fact("maxRetries", hop2.Pool.MaxRetries, Equal(unlimited))
			return nil
		},
		Control: []lab.Variation{lab.Add("a rule for hop 2 says maxConnections 1024", limited)},
	}
})

// crowd is how many calls are made at once against a limit of one connection.
// Each of Envoy's worker threads may open one connection beyond the limit, so
// that no thread starves; the gateway has two.
const crowd = 6

func oneConnection(t *trial.T) lab.Variation {
	return hop2Pool(t, "hop 2 may have one connection", func(pool *networking.ConnectionPoolSettings) {
		pool.Tcp.MaxConnections = 1
	})
}

func onePending(t *trial.T) lab.Variation {
	return hop2Pool(t, "and one request may wait", func(pool *networking.ConnectionPoolSettings) {
		pool.Http = &networking.ConnectionPoolSettings_HTTPSettings{Http1MaxPendingRequests: 1}
	})
}

// rush makes the crowd's calls and says by how much the gateway's counters of
// hop 2 grew.
func rush(ctx context.Context, t *trial.T) (calls []*trial.Call, before, after *trial.Counters, err error) {
	if before, err = t.Counters(ctx, t.Gateway, t.Subject.Hop2Cluster()); err != nil {
		return
	}
	if calls, err = t.AtOnce(ctx, crowd, trial.Slow); err != nil {
		return
	}
	after, err = t.Counters(ctx, t.Gateway, t.Subject.Hop2Cluster())
	return
}

func refusedAtGateway(calls []*trial.Call) int {
	return trial.Flagged(calls, (*trial.Call).Through, "UO")
}

var _ = Claim("P-overflow", func(t *trial.T) trial.Experiment {
	// upstream_cx_overflow is P-overflow-2's: Envoy looks at the queue first, so
	// it counts no connection for a request that the queue has refused.
	var calls []*trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{oneConnection(t)},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if calls, _, _, err = rush(ctx, t); err != nil {
				return err
			}
			calls[0].Fact("curl: answers 503", trial.Answered(calls, 503), BeNumerically(">", 0))
			calls[0].Fact("gateway: lines with the flag UO", refusedAtGateway(calls), BeNumerically(">", 0))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			calls[0].Fact("curl: answers 200", trial.Answered(calls, 200), Equal(crowd))
			calls[0].Fact("partner: connections used", len(trial.Connections(calls)), BeNumerically("<=", 2))
			calls[0].Fact("curl: the longest call waited for others", trial.Longest(calls), BeNumerically(">=", 2*probe.SlowAnswer))
			return nil
		},
		Control: []lab.Variation{onePending(t)},
	}
})

var _ = Claim("P-overflow-2", func(t *trial.T) trial.Experiment {
	var calls []*trial.Call
	var before, after *trial.Counters
	return trial.Experiment{
		Arrange: []lab.Variation{oneConnection(t)},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if calls, before, after, err = rush(ctx, t); err != nil {
				return err
			}
			calls[0].Fact("curl: answers 200", trial.Answered(calls, 200), Equal(crowd))
			calls[0].Fact("curl: the longest call waited for others", trial.Longest(calls), BeNumerically(">=", 2*probe.SlowAnswer))
			calls[0].Fact("partner: connections used", len(trial.Connections(calls)), BeNumerically("<=", 2))
			after.Grew(before, "upstream_cx_overflow", BeNumerically(">", 0))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			calls[0].Fact("partner: connections used, without the limit", len(trial.Connections(calls)), BeNumerically(">", 2))
			after.Grew(before, "upstream_cx_overflow", BeNumerically("==", 0))
			return nil
		},
		Control: []lab.Variation{maxConnections(t, "the limit is far away again", t.Subject.Hop2Rule, t.Subject.Hop2Pool.MaxConnections)},
	}
})

var _ = Claim("P-overflow-3", func(t *trial.T) trial.Experiment {
	var calls []*trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{oneConnection(t), onePending(t)},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			var before, after *trial.Counters
			if calls, before, after, err = rush(ctx, t); err != nil {
				return err
			}
			refused := trial.Answered(calls, 503)
			calls[0].Fact("curl: answers 503", refused, And(BeNumerically(">", 0), BeNumerically("<", crowd)))
			calls[0].Fact("curl: all others are 200", trial.Answered(calls, 200), Equal(crowd-refused))
			calls[0].Fact("gateway: each 503 has the flag UO", refusedAtGateway(calls), And(Equal(refused), BeNumerically(">", 0)))
			calls[0].Fact("sidecar: lines with the flag UO", trial.Flagged(calls, (*trial.Call).Left, "UO"), Equal(0))
			calls[0].Fact("partner: requests", len(trial.Arrivals(calls)), Equal(crowd-refused))
			after.Grew(before, "upstream_rq_pending_overflow", BeNumerically("==", refused))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			calls[0].Fact("curl: answers 200, after a wait", trial.Answered(calls, 200), Equal(crowd))
			return nil
		},
		Control: []lab.Variation{hop2Pool(t, "any number of requests may wait", func(pool *networking.ConnectionPoolSettings) {
			pool.Http = nil
		})},
	}
})

var _ = Claim("P-wrong-proxy", func(t *trial.T) trial.Experiment {
	var elsewhere *trial.Cluster
	return trial.Experiment{
		Check: func(ctx context.Context, t *trial.T) error {
			hop2, err := t.Cluster(ctx, t.Gateway, t.Subject.Hop2Cluster())
			if err != nil {
				return err
			}
			hop2.Fact("maxConnections", hop2.Pool.MaxConnections, Equal(t.Subject.Hop2Pool.MaxConnections))
			if elsewhere, err = t.Cluster(ctx, t.Sidecar, t.Subject.Hop2Cluster()); err != nil {
				return err
			}
			elsewhere.Fact("present", elsewhere.Present, BeTrue())
			elsewhere.Fact("maxConnections", elsewhere.Pool.MaxConnections, Equal(unlimited))
			elsewhere.Fact("tcpKeepalive", elsewhere.Pool.Keepalive.String(), Equal("none"))
			return nil
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			elsewhere.Fact("maxConnections, as on the gateway", elsewhere.Pool.MaxConnections, Equal(t.Subject.Hop2Pool.MaxConnections))
			// It acts there as little as before: the sidecar opens nothing with it.
			return t.Connections(ctx, t.Sidecar, t.Subject.Hop2Cluster(), BeNumerically("==", 0))
		},
		Control: []lab.Variation{t.DestinationRule("export hop 2's rule to everybody", t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
			dr.ExportTo = nil
		})},
	}
})

var _ = Claim("P-wrong-proxy-2", func(t *trial.T) trial.Experiment {
	var elsewhere *trial.Cluster
	return trial.Experiment{
		Check: func(ctx context.Context, t *trial.T) error {
			hop1, err := t.Cluster(ctx, t.Sidecar, t.Subject.Hop1Cluster())
			if err != nil {
				return err
			}
			hop1.Fact("maxConnections", hop1.Pool.MaxConnections, Equal(t.Subject.Hop1Pool.MaxConnections))
			if elsewhere, err = t.Cluster(ctx, t.Gateway, t.Subject.Hop1Cluster()); err != nil {
				return err
			}
			elsewhere.Fact("maxConnections", elsewhere.Pool.MaxConnections, Not(Equal(t.Subject.Hop1Pool.MaxConnections)))
			elsewhere.Fact("tcpKeepalive", elsewhere.Pool.Keepalive.String(), Equal("none"))
			return nil
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			poolIs(elsewhere, t.Subject.Hop1Pool)
			call, err := t.Call(ctx)
			if err != nil {
				return err
			}
			call.Status(Equal(200))
			return opens(ctx, t)
		},
		Control: []lab.Variation{t.DestinationRule("export hop 1's rule to the application's namespace only", t.Subject.Hop1Rule, func(dr *networking.DestinationRule) {
			dr.ExportTo = []string{t.Subject.Client.Namespace}
		})},
	}
})

var _ = Claim("P-port-replaces", func(t *trial.T) trial.Experiment {
	var hop2 *trial.Cluster
	s := t.Subject
	return trial.Experiment{
		Arrange: []lab.Variation{t.DestinationRule("the connectionPool moves to the top level; the port entry keeps its tls", s.Hop2Rule, func(dr *networking.DestinationRule) {
			port := dr.TrafficPolicy.PortLevelSettings[0]
			dr.TrafficPolicy.ConnectionPool, port.ConnectionPool = port.ConnectionPool, nil
		})},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if hop2, err = t.Cluster(ctx, t.Gateway, s.Hop2Cluster()); err != nil {
				return err
			}
			hop2.Fact("TLS, from the port entry", hop2.TLS != nil, BeTrue())
			hop2.Fact("maxConnections", hop2.Pool.MaxConnections, Equal(unlimited))
			hop2.Fact("tcpKeepalive", hop2.Pool.Keepalive.String(), Equal("none"))
			hop2.Fact("connectTimeout", hop2.Pool.ConnectTimeout, Equal(10*time.Second))
			// The same host's port without an entry has the top level's pool.
			other, err := t.Cluster(ctx, t.Gateway, s.BypassCluster())
			if err != nil {
				return err
			}
			poolIs(other, s.Hop2Pool)
			return carries(ctx, t)
		},
		Cause: func(_ context.Context, t *trial.T) error {
			poolIs(hop2, s.Hop2Pool)
			return nil
		},
		Control: []lab.Variation{t.DestinationRule("the port entry repeats the connectionPool", s.Hop2Rule, func(dr *networking.DestinationRule) {
			dr.TrafficPolicy.PortLevelSettings[0].ConnectionPool = dr.TrafficPolicy.ConnectionPool
		})},
	}
})

// carries states that a call still goes through both hops.
func carries(ctx context.Context, t *trial.T) error {
	call, err := t.Call(ctx)
	if err != nil {
		return err
	}
	call.Status(Equal(200))
	call.Fact("sidecar: carrying cluster", call.Left().UpstreamCluster, HavePrefix(t.Subject.Hop1Cluster()))
	call.Fact("gateway: carrying cluster", call.Through().UpstreamCluster, HavePrefix(t.Subject.Hop2Cluster()))
	return nil
}

// Limits by which a check tells the level that one came from.
const atTop, atSubset = 71, 72

// hop1Levels moves hop 1's tls from the port entry to where put wants it, and
// sets a connectionPool at the rule's top level.
func hop1Levels(t *trial.T, change string, put func(subset *networking.TrafficPolicy, tls *networking.ClientTLSSettings)) lab.Variation {
	return t.DestinationRule(change, t.Subject.Hop1Rule, func(dr *networking.DestinationRule) {
		policy := dr.Subsets[0].TrafficPolicy
		tls := policy.Tls
		if len(policy.PortLevelSettings) > 0 {
			tls = policy.PortLevelSettings[0].Tls
		}
		dr.TrafficPolicy = &networking.TrafficPolicy{ConnectionPool: connections(atTop)}
		policy.Reset()
		put(policy, tls)
	})
}

func connections(n int32) *networking.ConnectionPoolSettings {
	return &networking.ConnectionPoolSettings{Tcp: &networking.ConnectionPoolSettings_TCPSettings{MaxConnections: n}}
}

// tlsOnly is a port entry of hop 1 that sets nothing but tls.
func tlsOnly(s subject.Subject, tls *networking.ClientTLSSettings) []*networking.TrafficPolicy_PortTrafficPolicy {
	return []*networking.TrafficPolicy_PortTrafficPolicy{{Port: &networking.PortSelector{Number: uint32(s.GatewayPort)}, Tls: tls}}
}

// hop1Limit checks what limit hop 1's cluster got, while its traffic flows.
func hop1Limit(into **trial.Cluster, limit uint32) func(context.Context, *trial.T) error {
	return func(ctx context.Context, t *trial.T) error {
		hop1, err := t.Cluster(ctx, t.Sidecar, t.Subject.Hop1Cluster())
		if err != nil {
			return err
		}
		*into = hop1
		hop1.Fact("SNI, from the subset's tls", hop1.TLSOrZero().SNI, Equal(t.Subject.ExternalHost))
		hop1.Fact("maxConnections", hop1.Pool.MaxConnections, Equal(limit))
		return carries(ctx, t)
	}
}

func hop1LimitIs(from **trial.Cluster, whose string, limit uint32) func(context.Context, *trial.T) error {
	return func(_ context.Context, _ *trial.T) error {
		(*from).Fact("maxConnections, "+whose, (*from).Pool.MaxConnections, Equal(limit))
		return nil
	}
}

var _ = Claim("P-subset-replaces", func(t *trial.T) trial.Experiment {
	// pilot/pkg/model, MergeTrafficPolicy: a block of the subset replaces the
	// top level's if it is set, or if the subset has an entry for the port.
	var hop1 *trial.Cluster
	return trial.Experiment{
		Arrange: []lab.Variation{hop1Levels(t, "connectionPool at the top level, only tls in the subset", func(subset *networking.TrafficPolicy, tls *networking.ClientTLSSettings) {
			subset.Tls = tls
		})},
		Check: hop1Limit(&hop1, unlimited),
		Cause: hop1LimitIs(&hop1, "the top level's", atTop),
		Control: []lab.Variation{hop1Levels(t, "the subset has its tls in a port entry", func(subset *networking.TrafficPolicy, tls *networking.ClientTLSSettings) {
			subset.PortLevelSettings = tlsOnly(t.Subject, tls)
		})},
	}
})

var _ = Claim("P-subset-replaces-2", func(t *trial.T) trial.Experiment {
	var hop1 *trial.Cluster
	return trial.Experiment{
		Arrange: []lab.Variation{hop1Levels(t, "a connectionPool at the top level and in the subset, only tls in the subset's port entry", func(subset *networking.TrafficPolicy, tls *networking.ClientTLSSettings) {
			subset.ConnectionPool = connections(atSubset)
			subset.PortLevelSettings = tlsOnly(t.Subject, tls)
		})},
		Check: hop1Limit(&hop1, unlimited),
		Cause: hop1LimitIs(&hop1, "the subset's", atSubset),
		Control: []lab.Variation{hop1Levels(t, "the subset has its tls beside its connectionPool, without a port entry", func(subset *networking.TrafficPolicy, tls *networking.ClientTLSSettings) {
			subset.ConnectionPool = connections(atSubset)
			subset.Tls = tls
		})},
	}
})

var _ = Claim("P-subset-replaces-3", func(t *trial.T) trial.Experiment {
	var hop1 *trial.Cluster
	http := &networking.ConnectionPoolSettings_HTTPSettings{MaxRequestsPerConnection: 1000}
	return trial.Experiment{
		Arrange: []lab.Variation{hop1Levels(t, "connectionPool.tcp at the top level, connectionPool.http in the subset", func(subset *networking.TrafficPolicy, tls *networking.ClientTLSSettings) {
			subset.Tls = tls
			subset.ConnectionPool = &networking.ConnectionPoolSettings{Http: http}
		})},
		Check: hop1Limit(&hop1, unlimited),
		Cause: hop1LimitIs(&hop1, "the subset's", atSubset),
		Control: []lab.Variation{hop1Levels(t, "the subset has a tcp part of its own", func(subset *networking.TrafficPolicy, tls *networking.ClientTLSSettings) {
			subset.Tls = tls
			subset.ConnectionPool = connections(atSubset)
			subset.ConnectionPool.Http = http
		})},
	}
})

// hopSockets are the established sockets of the two hops after a call: those
// that the sidecar opened to the gateway and the gateway to the partner, and
// the gateway's end of the former.
func hopSockets(ctx context.Context, t *trial.T) (sidecar, gateway *trial.Sockets, hop1, hop1End, hop2 []sockets.Socket, err error) {
	if sidecar, err = t.Sockets(ctx, t.Sidecar); err != nil {
		return
	}
	if gateway, err = t.Sockets(ctx, t.Gateway); err != nil {
		return
	}
	s := t.Subject
	hop1 = sockets.To(sidecar.All, fmt.Sprintf("%s:%d", t.Gateway.IP, s.GatewayPort))
	hop1End = sockets.At(gateway.All, s.GatewayPort, t.Sidecar.IP)
	hop2 = hop2Sockets(t, gateway)
	return
}

func hop2Sockets(t *trial.T, gateway *trial.Sockets) []sockets.Socket {
	return sockets.To(gateway.All, fmt.Sprintf("%s:%d", t.PartnerIP, t.Subject.ExternalPort))
}

var _ = Claim("P-keepalive-socket", func(t *trial.T) trial.Experiment {
	s := t.Subject
	var call *trial.Call
	without := func(rule string) lab.Variation {
		return t.DestinationRule("drop the tcpKeepalive of "+rule, rule, func(dr *networking.DestinationRule) {
			policy := dr.TrafficPolicy
			if len(dr.Subsets) > 0 {
				policy = dr.Subsets[0].TrafficPolicy
			}
			policy.PortLevelSettings[0].ConnectionPool.Tcp.TcpKeepalive = nil
		})
	}
	ready := func(within time.Duration) types.GomegaMatcher {
		return And(BeNumerically(">", 0), BeNumerically("<=", within))
	}
	return trial.Experiment{
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(200))
			sidecar, gateway, hop1, end, hop2, err := hopSockets(ctx, t)
			if err != nil {
				return err
			}
			sidecar.Fact("connections of hop 1", len(hop1), BeNumerically(">", 0))
			gateway.Fact("connections of hop 2", len(hop2), BeNumerically(">", 0))
			// A kernel's own default would be two hours.
			sidecar.Fact("hop 1, time to the next keepalive probe", sockets.Keepalive(hop1), ready(s.Hop1Pool.KeepaliveTime))
			gateway.Fact("hop 2, time to the next keepalive probe", sockets.Keepalive(hop2), ready(s.Hop2Pool.KeepaliveTime))
			gateway.Fact("the other end of hop 1, time to the next keepalive probe", sockets.Keepalive(end), BeNil())
			return nil
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			sidecar, gateway, hop1, _, hop2, err := hopSockets(ctx, t)
			if err != nil {
				return err
			}
			call.Status(Equal(200))
			sidecar.Fact("hop 1, sockets with a keepalive timer", len(sockets.WithKeepalive(hop1)), Equal(0))
			gateway.Fact("hop 2, sockets with a keepalive timer", len(sockets.WithKeepalive(hop2)), Equal(0))
			return nil
		},
		Control: []lab.Variation{lab.Together("neither hop's rule has a tcpKeepalive", without(s.Hop1Rule), without(s.Hop2Rule))},
	}
})

var _ = Claim("P-idle-keepalive", func(t *trial.T) trial.Experiment {
	const idle, probing = 2 * time.Second, time.Second
	requests := 1
	var calls []*trial.Call
	var closing *trial.Closing
	return trial.Experiment{
		Arrange: []lab.Variation{hop2Pool(t, "hop 2: tcp.idleTimeout 2s, a keepalive probe each second", func(pool *networking.ConnectionPoolSettings) {
			pool.Tcp.IdleTimeout = durationpb.New(idle)
			pool.Tcp.TcpKeepalive.Time, pool.Tcp.TcpKeepalive.Interval = durationpb.New(probing), durationpb.New(probing)
		})},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			probes, _, err := t.KeepaliveProbes(ctx, t.Gateway)
			if err != nil {
				return err
			}
			client := t.Keep(ctx, requests, probing)
			if err := client.Begun(ctx); err != nil {
				return err
			}
			gateway, err := t.Sockets(ctx, t.Gateway)
			if err != nil {
				return err
			}
			if calls, err = client.Calls(ctx); err != nil {
				return err
			}
			hop2 := hop2Sockets(t, gateway)
			gateway.Fact("hop 2, time to the next keepalive probe", sockets.Keepalive(hop2), BeNumerically("<=", probing))
			if closing, err = t.AwaitClosing(ctx, calls, lab.Timeouts.Line); err != nil {
				return err
			}
			closing.Fact("partner: time from the first request to the end of its connection", closing.Life, takes(idle))
			closing.Fact("partner: who closed", closing.Said, ContainSubstring("client "+t.Gateway.IP+" closed"))
			later, path, err := t.KeepaliveProbes(ctx, t.Gateway)
			if err != nil {
				return err
			}
			t.Fact("gateway's kernel: keepalive probes sent meanwhile", later-probes, BeNumerically(">", 0), path)
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			calls[0].Fact("partner: requests that the one connection carried", trial.Carried(trial.Connections(calls)), Equal([]int{requests}))
			closing.Fact("partner: time from the last request to the end", closing.Idle, takes(idle))
			return nil
		},
		Control: []lab.Variation{lab.Input("the application makes a request each second, three in all", func() { requests = 3 })},
	}
})

var _ = Claim("P-idle-precedence", func(t *trial.T) trial.Experiment {
	// pilot/pkg/networking/core, applyConnectionPool: tcp.idleTimeout is taken
	// only where http.idleTimeout is not set.
	const tcp, http = 2 * time.Second, time.Second
	var hop2 *trial.Cluster
	var closing *trial.Closing
	return trial.Experiment{
		Arrange: []lab.Variation{hop2Pool(t, "hop 2: tcp.idleTimeout 2s, http.idleTimeout 1s", func(pool *networking.ConnectionPoolSettings) {
			pool.Tcp.IdleTimeout = durationpb.New(tcp)
			pool.Http = &networking.ConnectionPoolSettings_HTTPSettings{IdleTimeout: durationpb.New(http)}
		})},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if hop2, err = t.Cluster(ctx, t.Gateway, t.Subject.Hop2Cluster()); err != nil {
				return err
			}
			hop2.Fact("idle timeout", hop2.Pool.IdleTimeout, Equal(tcp))
			call, err := t.Call(ctx)
			if err != nil {
				return err
			}
			call.Status(Equal(200))
			if closing, err = t.AwaitClosing(ctx, []*trial.Call{call}, lab.Timeouts.Line); err != nil {
				return err
			}
			closing.Fact("partner: who closed", closing.Said, ContainSubstring("client "+t.Gateway.IP+" closed"))
			closing.Fact("partner: time that the connection lay idle", closing.Idle, takes(tcp))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			hop2.Fact("idle timeout, from http", hop2.Pool.IdleTimeout, Equal(http))
			closing.Fact("partner: time that the connection lay idle, http's", closing.Idle, takes(http))
			return nil
		},
		Control: []lab.Variation{hop2Pool(t, "drop http.idleTimeout", func(pool *networking.ConnectionPoolSettings) {
			pool.Http = nil
		})},
	}
})

var _ = Claim("P-max-duration", func(t *trial.T) trial.Experiment {
	const bound = time.Second
	var calls []*trial.Call
	var before, after *trial.Counters
	return trial.Experiment{
		Arrange: []lab.Variation{hop2Pool(t, "hop 2: maxConnectionDuration 1s", func(pool *networking.ConnectionPoolSettings) {
			pool.Tcp.MaxConnectionDuration = durationpb.New(bound)
		})},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if before, err = t.Counters(ctx, t.Gateway, t.Subject.Hop2Cluster()); err != nil {
				return err
			}
			if calls, err = t.Keep(ctx, 9, 200*time.Millisecond).Calls(ctx); err != nil {
				return err
			}
			if after, err = t.Counters(ctx, t.Gateway, t.Subject.Hop2Cluster()); err != nil {
				return err
			}
			calls[0].Fact("curl: answers 200", trial.Answered(calls, 200), Equal(len(calls)))
			used := trial.Connections(calls)
			first, next := trial.Used(used, 0), trial.Used(used, 1)
			calls[0].Fact("partner: last use of the first connection, after its first", first.Last.Sub(first.First), BeNumerically("<=", bound+early))
			var renewed any // nothing, if there is no next one
			if len(used) > 1 {
				renewed = next.First.Sub(first.First)
			}
			calls[0].Fact("partner: first use of the next connection, after that", renewed, BeNumerically(">=", bound-early))
			after.Grew(before, "upstream_cx_max_duration_reached", BeNumerically(">", 0))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			used := trial.Connections(calls)
			first := trial.Used(used, 0)
			calls[0].Fact("partner: requests that each connection carried", trial.Carried(used), Equal([]int{len(calls)}))
			calls[0].Fact("partner: last use of the one connection, after its first", first.Last.Sub(first.First), BeNumerically(">", bound+early))
			return nil
		},
		Control: []lab.Variation{hop2Pool(t, "drop maxConnectionDuration", func(pool *networking.ConnectionPoolSettings) {
			pool.Tcp.MaxConnectionDuration = nil
		})},
	}
})

var _ = Claim("P-max-requests", func(t *trial.T) trial.Experiment {
	var calls []*trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{hop2Pool(t, "hop 2: maxRequestsPerConnection 3", func(pool *networking.ConnectionPoolSettings) {
			pool.Http = &networking.ConnectionPoolSettings_HTTPSettings{MaxRequestsPerConnection: 3}
		})},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if calls, err = t.Keep(ctx, 7, 0).Calls(ctx); err != nil {
				return err
			}
			calls[0].Fact("curl: answers 200", trial.Answered(calls, 200), Equal(len(calls)))
			calls[0].Fact("partner: requests that each connection carried", trial.Carried(trial.Connections(calls)), Equal([]int{3, 3, 1}))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			calls[0].Fact("partner: requests that the one connection carried", trial.Carried(trial.Connections(calls)), Equal([]int{len(calls)}))
			return nil
		},
		Control: []lab.Variation{hop2Pool(t, "drop maxRequestsPerConnection", func(pool *networking.ConnectionPoolSettings) {
			pool.Http = nil
		})},
	}
})

// silentPort is the partner's port that neither accepts nor refuses.
const silentPort = 8449

func connectTimeout(t *trial.T, change string, d time.Duration) lab.Variation {
	return hop2Pool(t, change, func(pool *networking.ConnectionPoolSettings) {
		pool.Tcp.ConnectTimeout = durationpb.New(d)
	})
}

// swallowed makes a call into the black hole and states how it ended, but not
// when: the kernel dropped its connection attempts, and Envoy gave up for want
// of an answer and not for a refusal.
func swallowed(ctx context.Context, t *trial.T) (*trial.Call, error) {
	before, _, err := t.SwallowedConnects(ctx)
	if err != nil {
		return nil, err
	}
	call, err := t.Call(ctx, trial.Patience(20*time.Second))
	if err != nil {
		return nil, err
	}
	after, path, err := t.SwallowedConnects(ctx)
	if err != nil {
		return nil, err
	}
	call.Status(Equal(503))
	call.Fact("gateway: response flags", call.Through().ResponseFlags, ContainElement("UF"))
	call.Fact("gateway: details", call.Through().ResponseCodeDetails, ContainSubstring("connection_timeout"))
	t.Fact("partner's kernel: connection attempts dropped without an answer", after-before, BeNumerically(">", 0), path)
	return call, nil
}

// givesUpAfter is an experiment on how long one attempt to connect takes.
func givesUpAfter(t *trial.T, d time.Duration, arrange ...lab.Variation) trial.Experiment {
	const other = time.Second
	var call *trial.Call
	return trial.Experiment{
		Arrange: append([]lab.Variation{
			t.PartnerPort("the partner does not answer", silentPort),
			noRetries(t, "the routes do not retry"),
		}, arrange...),
		Check: func(ctx context.Context, t *trial.T) (err error) {
			hop2, err := t.Cluster(ctx, t.Gateway, t.Subject.Hop2Cluster())
			if err != nil {
				return err
			}
			hop2.Fact("connectTimeout", hop2.Pool.ConnectTimeout, Equal(d))
			if call, err = swallowed(ctx, t); err != nil {
				return err
			}
			call.Fact("gateway: attempts", call.Through().UpstreamRequestAttemptCount, BeNumerically("==", 1))
			call.Fact("gateway: duration of the request", call.Through().Duration, takes(d))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			call.Fact("gateway: duration of the request, by the other value", call.Through().Duration, takes(other))
			return nil
		},
		Control: []lab.Variation{connectTimeout(t, "connectTimeout 1s", other)},
	}
}

var _ = Claim("P-connect-timeout", func(t *trial.T) trial.Experiment {
	return givesUpAfter(t, 3*time.Second)
})

var _ = Claim("P-connect-timeout-2", func(t *trial.T) trial.Experiment {
	return givesUpAfter(t, 10*time.Second, hop2Pool(t, "drop connectTimeout", func(pool *networking.ConnectionPoolSettings) {
		pool.Tcp.ConnectTimeout = nil
	}))
})

var _ = Claim("P-connect-timeout-3", func(t *trial.T) trial.Experiment {
	// pilot/pkg/networking/core/route/retry, newRetryPolicy: two retries, on
	// connect-failure among others.
	const timeout = time.Second
	var call *trial.Call
	return trial.Experiment{
		Arrange: []lab.Variation{
			t.PartnerPort("the partner does not answer", silentPort),
			connectTimeout(t, "connectTimeout 1s", timeout),
		},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = swallowed(ctx, t); err != nil {
				return err
			}
			call.Fact("sidecar: duration of the request", call.Left().Duration, takes(timeout))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			call.Fact("gateway: attempts", call.Through().UpstreamRequestAttemptCount, BeNumerically("==", 3))
			call.Fact("gateway: the retries are used up", call.Through().ResponseFlags, ContainElement("URX"))
			call.Fact("sidecar: attempts", call.Left().UpstreamRequestAttemptCount, BeNumerically("==", 1))
			call.Fact("sidecar: duration of the request, three times the value", call.Left().Duration, takes(3*timeout))
			return nil
		},
		Control: []lab.Variation{noRetries(t, "the routes do not retry")},
	}
})

// ejecting is hop 2 with outlier detection as the guide has it, but for less patience.
func ejecting(t *trial.T, change string, percent int32) lab.Variation {
	return t.DestinationRule(change, t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
		dr.TrafficPolicy.PortLevelSettings[0].OutlierDetection = &networking.OutlierDetection{
			Consecutive_5XxErrors: wrapperspb.UInt32(3),
			Interval:              durationpb.New(30 * time.Second),
			BaseEjectionTime:      durationpb.New(60 * time.Second),
			MaxEjectionPercent:    percent,
		}
	})
}

// cut is the outlier claims' experiment: does the channel's only endpoint, once
// it has failed often enough, still get a request?
func cut(arrange, control lab.Variation) trial.Experiment {
	var failed []*trial.Call
	var call *trial.Call
	var before, after *trial.Counters
	var host *trial.Endpoint
	return trial.Experiment{
		Arrange: []lab.Variation{arrange},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if before, err = t.Counters(ctx, t.Gateway, t.Subject.Hop2Cluster()); err != nil {
				return err
			}
			if failed, err = t.Keep(ctx, 4, 0, trial.Failing).Calls(ctx); err != nil {
				return err
			}
			failed[0].Fact("partner: 503s of its own", trial.Arrived(failed, 503), BeNumerically(">=", 3))
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			if host, err = t.OnlyEndpoint(ctx, t.Gateway, t.Subject.Hop2Cluster()); err != nil {
				return err
			}
			if after, err = t.Counters(ctx, t.Gateway, t.Subject.Hop2Cluster()); err != nil {
				return err
			}
			call.Status(Equal(503))
			call.Fact("gateway: response flags", call.Through().ResponseFlags, ContainElement("UH"))
			call.Fact("partner: requests of this token", len(call.Partner), Equal(0))
			host.Fact("reasons against it", host.Flags, ContainElement("failed_outlier_check"))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			call.Status(Equal(200))
			host.Fact("ejected", len(host.Flags), Equal(0))
			after.Is("outlier_detection.ejections_active", BeNumerically("==", 0))
			after.Grew(before, "outlier_detection.ejections_overflow", BeNumerically(">", 0))
			return nil
		},
		Control: []lab.Variation{control},
	}
}

var _ = Claim("P-outlier-single", func(t *trial.T) trial.Experiment {
	return cut(ejecting(t, "outlierDetection with maxEjectionPercent 50", 50), ejecting(t, "maxEjectionPercent 100", 100))
})

var _ = Claim("P-outlier-single-2", func(t *trial.T) trial.Experiment {
	return cut(ejecting(t, "outlierDetection with maxEjectionPercent 100", 100), ejecting(t, "maxEjectionPercent 50", 50))
})

var _ = Claim("P-not-retroactive", func(t *trial.T) trial.Experiment {
	// A value that is there already would be no edit: each time there is another.
	newTime := 200 * time.Second
	edit := func() lab.Variation {
		newTime -= time.Second
		return hop2Pool(t, fmt.Sprintf("hop 2's tcpKeepalive.time becomes %gs", newTime.Seconds()), func(pool *networking.ConnectionPoolSettings) {
			pool.Tcp.TcpKeepalive.Time = durationpb.New(newTime)
		})
	}
	var calls []*trial.Call
	return trial.Experiment{
		Check: func(ctx context.Context, t *trial.T) error {
			client := t.Keep(ctx, 12, 200*time.Millisecond)
			if err := client.Begun(ctx); err != nil {
				return err
			}
			if err := t.Change(ctx, edit()); err != nil {
				return err
			}
			before, err := client.Made(ctx)
			if err != nil {
				return err
			}
			if calls, err = client.Calls(ctx); err != nil {
				return err
			}
			// One may have been under way just then; the next began after the edit.
			if before+1 >= len(calls) {
				return fmt.Errorf("the edit took as long as %d of the client's %d calls: none shows what came after it", before, len(calls))
			}
			calls[0].Fact("curl: answers 200", trial.Answered(calls, 200), Equal(len(calls)))
			calls[0].Fact("sidecar: one connection of the application's", trial.Callers(calls), Equal(1))
			calls[0].Fact("partner: connections used, before the edit and after", len(trial.Connections(calls)), Equal(1))
			return nil
		},
		Cause: func(ctx context.Context, t *trial.T) error {
			calls[0].Fact("partner: connections used, one before and one after", len(trial.Connections(calls)), Equal(2))
			_, gateway, _, _, hop2, err := hopSockets(ctx, t)
			if err != nil {
				return err
			}
			gateway.Fact("hop 2, connections now", len(hop2), Equal(1))
			gateway.Fact("hop 2, time to the next keepalive probe, by the new value", sockets.Keepalive(hop2), And(BeNumerically(">", 0), BeNumerically("<=", newTime)))
			return nil
		},
		Control: []lab.Variation{lab.Input("edit an annotation of the rule instead", func() {
			edit = func() lab.Variation {
				return lab.Edit("hop 2's rule gets an annotation", t.Subject.Gateway.Namespace, t.Subject.Hop2Rule, func(o *istio.DestinationRule) {
					metav1.SetMetaDataAnnotation(&o.ObjectMeta, "twohop/note", "nothing that a proxy sees")
				})
			}
		})},
	}
})
