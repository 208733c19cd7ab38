package suites

import (
	"strings"
	"time"

	. "github.com/onsi/gomega"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"twohop/internal/check"
	"twohop/internal/probe"
)

// crowd is how many calls are made at once against a limit of one connection.
// Each of Envoy's worker threads may open one connection beyond the limit, so
// that no thread starves; the gateway has two.
const crowd = 6

func oneConnection(s *Setup) Variation {
	return maxConnections(s.Hop2Port, "hop 2 may have one connection", 1)
}

func onePending(s *Setup) Variation {
	return hop2Pool(s, "one request may wait for a connection", func(pool *networking.ConnectionPoolSettings) {
		pool.Http = &networking.ConnectionPoolSettings_HTTPSettings{Http1MaxPendingRequests: 1}
	})
}

// rushed are the crowd's calls, and the gateway's counters of hop 2 around them.
type rushed struct {
	calls         []*Call
	before, after *check.Counters
}

func rush(t *T) (r rushed) {
	r.before = t.Counters(t.Gateway, t.Subject.Hop2Cluster())
	r.calls = t.AtOnce(crowd, check.Slow)
	r.after = t.Counters(t.Gateway, t.Subject.Hop2Cluster())
	return r
}

// fact states a fact about all the calls: they share their evidence.
func (r rushed) fact(name string, seen any, want OmegaMatcher) { r.calls[0].Fact(name, seen, want) }

// refused states that the gateway refused some of the calls for want of room, by
// the flag and the details of its log, and no other call failed.
func (r rushed) refused() int {
	refused, overflows := check.Answered(r.calls, 503), 0
	for _, c := range r.calls {
		if l := c.GatewayLog(); check.Flags(l) == "UO" && strings.Contains(l.ResponseCodeDetails, "overflow") {
			overflows++
		}
	}
	r.fact("curl: responses with 503", refused, And(BeNumerically(">", 0), BeNumerically("<", crowd)))
	r.fact("curl: all others have 200", check.Answered(r.calls, 200), Equal(crowd-refused))
	r.calls[0].Because("gateway: each 503 has the flag UO and the reason overflow", overflows, And(Equal(refused), BeNumerically(">", 0)))
	return refused
}

// refusals are the facts by which a crowd that is refused differs from one that waits.
var refusals = []string{"curl: responses with 503", "gateway: each 503 has the flag UO and the reason overflow"}

// arrived states that the partner saw the calls that succeeded, once each, and no
// other, and the gateway each of them.
func (r rushed) arrived() {
	loggedOnce(r.calls)
	r.fact("partner: requests, one for each 200", len(check.Arrivals(r.calls)), Equal(check.Answered(r.calls, 200)))
}

var _ = Claim("P-overflow", func(s *Setup) Experiment[rushed] {
	// upstream_cx_overflow is P-overflow-2's: Envoy looks at the queue first, so
	// it counts no connection for a request that the queue has refused.
	return Experiment[rushed]{
		Arrange: vary(oneConnection(s)),
		Check: func(t *T) rushed {
			r := rush(t)
			r.refused()
			r.arrived()
			return r
		},
		Cause: func(_ *T, r rushed) {
			r.fact("curl: responses with 200", check.Answered(r.calls, 200), Equal(crowd))
			r.fact("partner: connections used", len(check.Connections(r.calls)), BeNumerically("<=", 2))
			r.fact("curl: the longest call waited for others", check.Longest(r.calls), BeNumerically(">=", 2*probe.SlowAnswer))
		},
		Control: vary(onePending(s)),
		Flips:   refusals,
	}
})

var _ = Claim("P-overflow-2", func(s *Setup) Experiment[rushed] {
	return Experiment[rushed]{
		Arrange: vary(oneConnection(s)),
		Check: func(t *T) rushed {
			r := rush(t)
			r.fact("curl: responses with 200", check.Answered(r.calls, 200), Equal(crowd))
			r.fact("curl: the longest call waited for others", check.Longest(r.calls), BeNumerically(">=", 2*probe.SlowAnswer))
			r.fact("partner: connections used", len(check.Connections(r.calls)), BeNumerically("<=", 2))
			r.arrived()
			r.after.Grew(r.before, "upstream_cx_overflow", BeNumerically(">", 0))
			return r
		},
		Cause: func(_ *T, r rushed) {
			r.fact("partner: connections used, without the limit", len(check.Connections(r.calls)), BeNumerically(">", 2))
			r.after.Grew(r.before, "upstream_cx_overflow", BeNumerically("==", 0))
		},
		Control: vary(maxConnections(s.Hop2Port, "the limit is far away again", s.Subject.Hop2Pool.MaxConnections)),
		Flips:   []string{"curl: the longest call waited for others", "partner: connections used", "gateway, *: upstream_cx_overflow grew by"},
	}
})

var _ = Claim("P-overflow-3", func(s *Setup) Experiment[rushed] {
	return Experiment[rushed]{
		Arrange: vary(oneConnection(s), onePending(s)),
		Check: func(t *T) rushed {
			r := rush(t)
			refused := r.refused()
			r.fact("sidecar: lines with the flag UO", check.Flagged(r.calls, (*Call).SidecarLog, "UO"), Equal(0))
			r.arrived()
			r.after.Grew(r.before, "upstream_rq_pending_overflow", BeNumerically("==", refused))
			return r
		},
		Cause: func(_ *T, r rushed) {
			r.fact("curl: responses with 200, after a wait", check.Answered(r.calls, 200), Equal(crowd))
			r.fact("curl: the longest call waited for others", check.Longest(r.calls), BeNumerically(">=", 2*probe.SlowAnswer))
		},
		Control: vary(hop2Pool(s, "any number of requests may wait", func(pool *networking.ConnectionPoolSettings) { pool.Http = nil })),
		Flips:   refusals,
	}
})

// ejecting is hop 2 with outlier detection as the guide has it, but for less patience.
func ejecting(s *Setup, change string, percent int32) Variation {
	return s.Hop2Port(change, func(p *networking.TrafficPolicy_PortTrafficPolicy) {
		p.OutlierDetection = &networking.OutlierDetection{
			Consecutive_5XxErrors: wrapperspb.UInt32(3),
			Interval:              durationpb.New(30 * time.Second),
			BaseEjectionTime:      durationpb.New(60 * time.Second),
			MaxEjectionPercent:    percent,
		}
	})
}

// failedOften is a call to an endpoint that has failed often enough, and what
// the gateway says of it.
type failedOften struct {
	call          *Call
	host          *check.Endpoint
	before, after *check.Counters
}

// ejected is the outlier claims' experiment: does the channel's only endpoint,
// once it has failed often enough, still get a request?
func ejected(arrange, control Variation) Experiment[failedOften] {
	return Experiment[failedOften]{
		Arrange: vary(arrange),
		Check: func(t *T) (f failedOften) {
			f.before = t.Counters(t.Gateway, t.Subject.Hop2Cluster())
			failed := t.Sequential(4, 0, check.Failing).Calls()
			failed[0].Fact("partner: 503s of its own", check.Arrived(failed, 503), BeNumerically(">=", 3))
			loggedOnce(failed)
			heldBack := check.Flagged(failed, (*Call).GatewayLog, "UH") // the last of them, perhaps
			failed[0].Fact("partner: requests, one for each that the gateway let through", len(check.Arrivals(failed)), Equal(len(failed)-heldBack))
			f.call = t.Call()
			f.host = t.OnlyEndpoint(t.Gateway, t.Subject.Hop2Cluster())
			f.after = t.Counters(t.Gateway, t.Subject.Hop2Cluster())
			f.call.Status(Equal(503))
			f.call.Fact("gateway: response flags", f.call.GatewayLog().ResponseFlags, ContainElement("UH"))
			f.call.Because("gateway: details", f.call.GatewayLog().ResponseCodeDetails, Equal("no_healthy_upstream"))
			f.call.Fact("partner: requests of this token", len(f.call.PartnerLines), Equal(0))
			f.host.Because("reasons against it", f.host.Flags, ContainElement("failed_outlier_check"))
			return f
		},
		Cause: func(_ *T, f failedOften) {
			f.call.Status(Equal(200))
			f.host.Fact("ejected", len(f.host.Flags), Equal(0))
			f.after.Is("outlier_detection.ejections_active", BeNumerically("==", 0))
			f.after.Grew(f.before, "outlier_detection.ejections_overflow", BeNumerically(">", 0))
		},
		Control: vary(control),
		Flips:   []string{"curl: HTTP status", "gateway: response flags", "gateway: details", "partner: requests of this token", "gateway, host *: reasons against it"},
	}
}

var _ = Claim("P-outlier-single", func(s *Setup) Experiment[failedOften] {
	return ejected(ejecting(s, "outlierDetection with maxEjectionPercent 50", 50), ejecting(s, "maxEjectionPercent 100", 100))
})

var _ = Claim("P-outlier-single-2", func(s *Setup) Experiment[failedOften] {
	return ejected(ejecting(s, "outlierDetection with maxEjectionPercent 100", 100), ejecting(s, "maxEjectionPercent 50", 50))
})
