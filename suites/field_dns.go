package suites

import (
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/gomega"
	networking "istio.io/api/networking/v1alpha3"

	"twohop/internal/check"
	"twohop/internal/manifest"
	"twohop/internal/subject"
)

// wandering is a partner whose name in DNS has one of two addresses: its pod's,
// or that of its Service, with the same port on both.
type wandering struct {
	name         manifest.PartnerName
	canary       string // another host of the same name
	pod, service string
}

func newWandering(s *Setup) wandering {
	w := wandering{name: s.PartnerName(s.Unique("moving")), canary: "canary." + s.Subject.ExternalHost}
	w.pod, w.service = s.PartnerAddresses()
	return w
}

// arranged leads hop 2 to the name, which has the pod's address first.
func (w wandering) arranged(s *Setup) []Variation {
	canary := s.OtherServiceEntry(w.canary)
	manifest.EntryPort(&canary.Spec, 443).TargetPort = laxPort
	canary.Spec.Endpoints = []*networking.WorkloadEntry{{Address: w.name.FQDN()}}
	return vary(
		w.name.Has("a DNS name has the address of the partner's pod", w.pod),
		registered(s, "hop 2 goes to that name, with resolution DNS", networking.ServiceEntry_DNS, w.name.FQDN()),
		manifest.Add("a canary of the same name, with resolution DNS", canary),
	)
}

// registered leads hop 2 to an address, and to a port that keeps connections for an
// hour: what ends one is not the partner.
func registered(s *Setup, change string, resolution networking.ServiceEntry_Resolution, address string) Variation {
	return manifest.Together(change,
		s.ServiceEntry(change, func(se *networking.ServiceEntry) {
			se.Resolution, se.Endpoints = resolution, []*networking.WorkloadEntry{{Address: address}}
		}),
		s.PartnerPort(change, laxPort))
}

// at is an address with the partner's port.
func at(address string) string { return fmt.Sprintf("%s:%d", address, laxPort) }

// oldStays is given where the old address stays in DNS beside the new one.
const oldStays = "old address stays"

// move is what was seen of a partner's move.
type move struct {
	from, to string  // "host:port"
	calls    []*Call // before and after
	after    []*Call // from when the canary had the new address
	// Of hop 2, before the move and at the end.
	before, now *check.Counters
}

// move gives the name the address that it does not have, while a client is at
// work, and goes on until hop 2 has it, or until it ought to: the canary has it,
// and another time to live is over.
func (w wandering) move(t *T) (m move) {
	const (
		pace = 250 * time.Millisecond
		most = 120
		more = 4
		// Istio spreads what it asks DNS by a tenth of a second; a look at the hosts takes a while too.
		another = int((subject.DNSTTL + time.Second) / pace)
	)
	canary := subject.ClusterName(t.Subject.ExternalPort, "", w.canary)
	from, to := w.pod, w.service
	if slices.Contains(t.Hosts(t.Gateway, canary).Addresses, at(to)) {
		from, to = to, from
	}
	m.from, m.to = at(from), at(to)
	names, hosts := []string{to}, []string{m.to}
	if given(t, oldStays, false) {
		names, hosts = append(names, from), append(hosts, m.from)
	}
	client := t.SequentialUntilStopped(most, pace)
	client.Await(2)
	m.before = t.Counters(t.Gateway, t.Subject.Hop2Cluster())
	t.During(w.name.Has("the partner moves: the name has its other address", names...))
	client.AwaitHosts(t.Gateway, canary, 2*another, hosts...)
	has := t.Hosts(t.Gateway, canary)
	has.Fact("the canary's addresses", has.Addresses, ConsistOf(hosts))
	client.AwaitHosts(t.Gateway, t.Subject.Hop2Cluster(), another, hosts...)
	client.Await(1 + more)
	m.now = t.Counters(t.Gateway, t.Subject.Hop2Cluster())
	m.calls = client.Stop()
	m.after = m.calls[len(m.calls)-more:]
	return m
}

func (m move) first() *Call { return m.calls[0] }
func (m move) last() *Call  { return m.calls[len(m.calls)-1] }

// took is the time in seconds from the first request to another one, by the gateway's log.
func (m move) took(c *Call) float64 {
	return c.GatewayLog().StartTime.Sub(m.first().GatewayLog().StartTime).Seconds()
}

// followed is the time in seconds from the first request to the first one at the
// new address, nil if there was none.
func (m move) followed() *float64 {
	for _, c := range m.calls {
		if c.GatewayLog().UpstreamHost == m.to {
			seconds := m.took(c)
			return &seconds
		}
	}
	return nil
}

// stayed is how many of the requests after the move were on the first one's connection.
func (m move) stayed() (n int) {
	first := m.first().GatewayLog().UpstreamConnectionID
	for _, c := range m.after {
		if id := c.GatewayLog().UpstreamConnectionID; id != nil && first != nil && *id == *first {
			n++
		}
	}
	return n
}

// nothingFails states that the move cost no request, and sent none twice.
func (m move) nothingFails() {
	onceEach(m.calls)
	m.last().Fact("requests that failed", len(m.calls)-check.Answered(m.calls, 200), Equal(0))
}

var _ = Claim("F-dns-stale", func(s *Setup) Experiment[move] {
	w := newWandering(s)
	return Experiment[move]{
		Arrange: w.arranged(s),
		Check: func(t *T) move {
			m := w.move(t)
			m.first().Fact("before: upstream host", m.first().GatewayLog().UpstreamHost, Equal(m.from))
			m.last().Fact("after: upstream host", m.last().GatewayLog().UpstreamHost, Equal(m.to))
			// It asks again when the record's time is over: not more often, and
			// follows what the response is.
			ttl := subject.DNSTTL.Seconds()
			m.now.Grew(m.before, "update_attempt", And(BeNumerically(">=", 1), BeNumerically("<=", 1+int(m.took(m.last())/ttl))))
			m.last().Fact("seconds from the first request to the first one at the new address", m.followed(), BeNumerically("<", 3*ttl))
			m.nothingFails()
			return m
		},
		Cause: func(t *T, m move) {
			hop2 := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			hop2.Fact("kind of discovery", hop2.Discovery(), Equal("EDS"))
			hosts := t.Hosts(t.Gateway, t.Subject.Hop2Cluster())
			hosts.Fact("addresses", hosts.Addresses, ConsistOf(m.from))
			m.last().Fact("after: upstream host, as written in the ServiceEntry", m.last().GatewayLog().UpstreamHost, Equal(m.from))
		},
		Control: vary(registered(s, "resolution STATIC, with the address that the name has now", networking.ServiceEntry_STATIC, w.service)),
		Flips:   []string{"after: upstream host", "*: update_attempt grew by", "seconds from the first request *"},
	}
})

var _ = Claim("F-dns-stale-2", func(s *Setup) Experiment[move] {
	w := newWandering(s)
	return Experiment[move]{
		Arrange: append(w.arranged(s), s.Hop2Port("hop 2 takes its addresses in turn", inTurn)),
		Check: func(t *T) move {
			m := w.move(t)
			m.first().Fact("before: upstream host", m.first().GatewayLog().UpstreamHost, Equal(m.from))
			m.first().Fact("before: the gateway's connection", m.first().GatewayLog().UpstreamConnectionID, Not(BeNil()))
			m.last().Fact("after: requests on the connection from before", m.stayed(), BeNumerically(">", 0))
			m.nothingFails()
			return m
		},
		Cause: func(t *T, m move) {
			m.last().Fact("after: upstream host", m.last().GatewayLog().UpstreamHost, Equal(m.to))
			// A host that leaves a cluster takes its HTTP pools along (Envoy's
			// ClusterManagerImpl, DrainAndDelete): what is idle is closed then.
			m.now.Grew(m.before, "upstream_cx_destroy_local", BeNumerically("==", 1))
			m.now.Grew(m.before, "upstream_cx_destroy_remote", BeNumerically("==", 0))
		},
		Control: vary(manifest.Input("the old address stays in DNS beside the new one", oldStays, true)),
		Flips:   []string{"after: requests on the connection from before"},
	}
})
