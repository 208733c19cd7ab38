package suites

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"twohop/internal/analysis"
	"twohop/internal/check"
	"twohop/internal/envoy"
	"twohop/internal/manifest"
	"twohop/internal/subject"
	"twohop/internal/verdict"
)

var _ = Claim("A-align", func(s *Setup) Experiment[[]broken] {
	return everyString(s, alignmentMap(s), "The alignment map: each string broken in turn")
})

var _ = Claim("A-align-secret", func(s *Setup) Experiment[[]broken] {
	return everyString(s, secretStrings(s), "The alignment map's last line: each string of the Secret broken")
})

var _ = Claim("A-align-rest", func(s *Setup) Experiment[[]broken] {
	return everyString(s, unmapped(s), "Strings that the alignment map does not name, each broken in turn")
})

var _ = Claim("A-align-target", func(s *Setup) Experiment[*Call] {
	// A Gateway's port that is a port of its Service stands for that port's
	// target, whatever it is (pilot/pkg/model/gateway.go, resolvePorts).
	const elsewhere = 8444
	return Experiment[*Call]{
		Arrange: vary(s.GatewayServicePort("the gateway Service's port 8443 leads to target port 8444, the Gateway's port stays 8443", func(p *corev1.ServicePort) {
			p.TargetPort = intstr.FromInt32(elsewhere)
		})),
		Check: func(t *T) *Call {
			for _, port := range []int{t.Subject.GatewayPort, elsewhere} {
				chain := t.FilterChain(t.Gateway, port, t.Subject.ExternalHost)
				chain.Fact("present", chain.Present, Equal(port == t.Subject.GatewayPort))
			}
			call := t.Call()
			call.Status(Equal(503))
			call.Fact("sidecar: where it connected", call.SidecarLog().UpstreamHost, Equal(fmt.Sprintf("%s:%d", t.Gateway.IP, elsewhere)))
			call.Because("sidecar: transport failure", call.SidecarLog().UpstreamTransportFailureReason, ContainSubstring(connectionRefused))
			call.Fact("gateway: requests of this token", len(call.GatewayLines), Equal(0))
			return call
		},
		Control: vary(manifest.Together("the Service's port is the guide's 443, so that the Gateway's 8443 is no port of the Service", guidesChain(s))),
		Cause: func(t *T, call *Call) {
			call.Status(Equal(200))
			call.Fact("gateway: where it listened", call.GatewayLog().DownstreamLocalAddress, Equal(fmt.Sprintf("%s:%d", t.Gateway.IP, elsewhere)))
			call.Fact("partner: requests of this token", len(call.PartnerLines), Equal(1))
			call.Fact("partner: verification of the client certificate", call.PartnerLog().Verify, Equal("SUCCESS"))
		},
		Flips: []string{"gateway, listener on *: present", "curl: HTTP status", "sidecar: transport failure", "gateway: requests of this token"},
	}
})

// guidesChain is the guide's port chain, whose Service port is no port of the
// Gateway: from the mesh route to the Service.
func guidesChain(s *Setup) Variation {
	return manifest.Together("the guide's port chain: Service port 443",
		s.GatewayServicePort("", func(p *corev1.ServicePort) { p.Port = guidesPort }),
		s.Hop1Port("", func(p *networking.TrafficPolicy_PortTrafficPolicy) { p.Port.Number = guidesPort }),
		s.VirtualService("", func(vs *networking.VirtualService) {
			manifest.Destination(manifest.MeshRoute(vs)).Port.Number = guidesPort
		}))
}

// asInTheGuide gives the subject the guide's port chain, and each request a
// connection of its own: a living one would carry a call past what was broken.
func asInTheGuide(s *Setup) Variation {
	return manifest.Together("the guide's port chain, and a connection for each request",
		s.FreshHop1(""), guidesChain(s), everyRequestAnew(s, ""))
}

// broken is what came of breaking one string, and of the others with it.
type broken struct {
	aligned
	call *Call
}

// straight is the input by which nothing is broken.
const straight = "straight"

// everyString breaks each string in turn and states what turned. Those whose
// break Envoy takes 15 s to act upon are broken together, each on a route of its
// own, so that this is waited for once.
func everyString(s *Setup, all []aligned, title string) Experiment[[]broken] {
	return Experiment[[]broken]{
		Arrange: vary(asInTheGuide(s)),
		Check: func(t *T) (saw []broken) {
			b := bend{straight: given(t, straight, false)}
			from := t.Checkpoint()
			var found *findings
			if !b.straight { // there is nothing to tell of edits that break nothing
				found = &findings{table: t.Table(title, "string broken", "curl", "sidecar", "gateway", "istioctl analyze"), known: t.Analyze()}
			}
			for _, group := range grouped(all, b) {
				saw = append(saw, breakGroup(t, from, group, b, found)...)
			}
			t.Instead(from) // the control begins where the check began
			return saw
		},
		Control: vary(manifest.Input("make every one of these edits with the string as it was", straight, true)),
		Cause: func(t *T, saw []broken) {
			var said []string // several strings may have been edited for one call
			for _, s := range saw {
				if slices.Contains(said, s.header) {
					continue
				}
				said = append(said, s.header)
				who := "the call"
				if s.header != "" {
					who += " with " + s.header
				}
				s.call.StatusOf(who, Equal(200))
				s.call.Fact(who+": took both hops", bothHops(t, s.call), BeTrue())
				s.call.Fact(who+": partner's verification of the client certificate", s.call.PartnerLog().Verify, Equal("SUCCESS"))
			}
		},
		Flips: []string{"* broken: HTTP status", "* broken: none at the *", "* broken: * says why"},
	}
}

// findings are the table, and what the analyzer says while nothing is broken.
type findings struct {
	table *verdict.Table
	known *check.Analysis
}

// grouped makes groups of strings that are edited together: each alone, but for
// the slow ones; and all of them where nothing is broken.
func grouped(all []aligned, b bend) (groups [][]aligned) {
	var quick, slow []aligned
	for _, a := range all {
		switch {
		case a.slow:
			slow = append(slow, a)
		case b.straight:
			quick = append(quick, a)
		default:
			groups = append(groups, []aligned{a})
		}
	}
	for _, group := range [][]aligned{quick, slow} {
		if len(group) > 0 {
			groups = append(groups, group)
		}
	}
	return groups
}

// breakGroup edits a group's strings, calls, and states what came of it. Without
// findings the analyzer is not asked.
func breakGroup(t *T, from *manifest.Set, group []aligned, b bend, found *findings) []broken {
	var edits, besides []Variation
	for _, a := range group {
		edits, besides = append(edits, b.of(a)), append(besides, a.besides...)
	}
	if found != nil && len(besides) > 0 {
		t.Instead(from, besides...)
		found = &findings{found.table, t.Analyze()}
	}
	t.Instead(from, edits...)
	if group[0].slow {
		early := t.Call()
		early.StatusOf("right after the edits, through the cluster that was there before", Equal(200))
		t.AwaitWarm(t.Gateway)
	}
	analysis := func() *check.Analysis { return nil }
	if found != nil {
		analysis = t.Analyzing()
	}
	saw := callGroup(t, group)
	analysed := analysis()
	for _, s := range saw {
		s.state()
		if found != nil {
			found.table.Rows = append(found.table.Rows, s.row(analysed.Messages, found.known.Messages))
		}
	}
	return saw
}

// callGroup makes one call for all strings of a group that share a route.
func callGroup(t *T, group []aligned) []broken {
	byRoute := map[string]*Call{}
	saw := make([]broken, len(group))
	for i, a := range group {
		if byRoute[a.header] == nil {
			var options []check.CallOption
			if a.header != "" {
				options = append(options, check.With("--header", a.header+": yes"))
			}
			byRoute[a.header] = t.Call(options...)
		}
		saw[i] = broken{a, byRoute[a.header]}
	}
	return saw
}

// state says that the call turned, for the reason known, and how far it got.
func (s broken) state() {
	name := s.name + " broken"
	s.call.StatusOf(name, Equal(s.status))
	s.got(name, "gateway", len(s.call.GatewayLines), s.witness == gatewaySays || s.witness == partnerSays)
	s.got(name, "partner", len(s.call.PartnerLines), s.witness == partnerSays || s.witness == bypassedSays)
	s.call.Because(name+": "+string(s.witness)+" says why", s.why(), oneOf(s.says))
}

// got states how often a log has the call: once, or not at all where what is broken
// lies before it.
func (s broken) got(name, who string, lines int, reached bool) {
	if reached {
		s.call.Fact(name+": one at the "+who, lines, Equal(1))
	} else {
		s.call.Fact(name+": none at the "+who, lines, Equal(0))
	}
}

// oneOf matches a text with one of these in it.
func oneOf(texts []string) types.GomegaMatcher {
	if len(texts) == 1 {
		return ContainSubstring(texts[0])
	}
	var any []types.GomegaMatcher
	for _, text := range texts {
		any = append(any, ContainSubstring(text))
	}
	return Or(any...)
}

// why is what the witness wrote who knows it.
func (s broken) why() string {
	switch s.witness {
	case sidecarSays:
		return reason(s.call.SidecarLog())
	case gatewaySays:
		return reason(s.call.GatewayLog())
	case gatewayShuts:
		return reason(s.call.RefusedLog())
	}
	return s.call.PartnerErrorLog()
}

// reason is why a proxy's call or connection failed, by its log: what the transport
// said or, where there was no connection to fail, the response code's details.
func reason(l envoy.AccessLog) string {
	return cmp.Or(l.UpstreamTransportFailureReason, l.ResponseCodeDetails)
}

// row is the string's line in the table. It is short, for a wall: the facts have
// the whole lines, and the evidence what the analyzer wrote.
func (s broken) row(all, known []analysis.Message) []string {
	var found []string
	for _, m := range analysis.Beyond(all, known) {
		found = append(found, m.Code)
	}
	if len(found) == 0 {
		found = []string{"silent"}
	}
	slices.Sort(found)
	return []string{
		s.name, check.Brief(s.call),
		each(s.call.SidecarLines, check.BriefLog), each(slices.Concat(s.call.GatewayLines, s.call.RefusedLines), check.BriefLog),
		strings.Join(slices.Compact(found), " "),
	}
}

// each joins what is said of access log lines; lines that say the same stand once.
func each(all []envoy.AccessLog, say func(envoy.AccessLog) string) string {
	if len(all) == 0 {
		return "no line"
	}
	var said []string
	for _, l := range all {
		text := say(l)
		if l.Method == "" {
			text += " (SNI " + cmp.Or(l.RequestedServerName, "none") + ")"
		}
		said = append(said, text)
	}
	return strings.Join(slices.Compact(said), "; ")
}

// bothHops says whether a call went as the guide has it: 200, through hop 1's
// cluster, through the gateway once, and once to a partner that knew the gateway.
func bothHops(t *T, c *Call) bool {
	hop1 := subject.ClusterName(guidesPort, t.Subject.Subset, t.Subject.GatewayFQDN())
	return c.HTTPCode == 200 && strings.HasPrefix(c.SidecarLog().UpstreamCluster, hop1) && len(c.GatewayLines) == 1 &&
		len(c.PartnerLines) == 1 && c.PartnerLog().Verify == "SUCCESS" && c.PartnerLog().Peer == t.Gateway.IP
}
