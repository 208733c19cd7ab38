package suites

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"twohop/internal/analysis"
	"twohop/internal/envoy"
	"twohop/internal/lab"
	"twohop/internal/subject"
	"twohop/internal/trial"
	"twohop/internal/verdict"
)

// aligned is one string of the map: how to break it, and what then tells why.
type aligned struct {
	name string
	edit func(bend) []lab.Variation
	// status is curl's; says is part of what the witness said who knows why.
	status  int
	witness witness
	says    string
	// header leads the call to the route on which the string is broken, where
	// several of them are broken at a time; slow: once Envoy has given up
	// waiting for a secret.
	header string
	slow   bool
	// besides is what the edit changes apart from the string: what the analyzer
	// says about that it does not say about the string.
	besides []lab.Variation
}

// tells matches what the witness said.
func (a aligned) tells() types.GomegaMatcher {
	var any []types.GomegaMatcher
	for text := range strings.SplitSeq(a.says, " or ") {
		any = append(any, ContainSubstring(text))
	}
	if len(any) == 1 {
		return any[0]
	}
	return Or(any...)
}

// witness is who can tell why a call failed.
type witness string

const (
	sidecarSays  witness = "sidecar"
	gatewaySays  witness = "gateway"
	gatewayShuts witness = "gateway, of a connection without a request"
	partnerSays  witness = "partner"
)

// bend breaks strings by one letter and ports by one; straight, it leaves them.
type bend struct{ straight bool }

func (b bend) text(s string) string {
	if b.straight {
		return s
	}
	return "x" + s
}

func (b bend) port(n uint32) uint32 {
	if b.straight {
		return n
	}
	return n + 1
}

var _ = Claim("A-align", func(t *trial.T) trial.Experiment {
	return everyString(t, alignmentMap(t), "The alignment map: each string broken in turn")
})

var _ = Claim("A-align-secret", func(t *trial.T) trial.Experiment {
	return everyString(t, secretStrings(t), "The alignment map's last line: each string of the Secret broken")
})

// servicePort is the guide's: Service port 443, target port 8443. The lab's own
// Service has 8443 for both.
const servicePort = 443

// asInTheGuide gives the subject the guide's port chain, and each request a
// connection of its own: a living one would carry a call past what was broken.
func asInTheGuide(t *trial.T) lab.Variation {
	once := &networking.ConnectionPoolSettings_HTTPSettings{MaxRequestsPerConnection: 1}
	return lab.Together("the guide's port chain, and a connection for each request",
		t.GatewayServicePorts("Service port 443, target port 8443", func(ports []corev1.ServicePort) { ports[0].Port = servicePort }),
		t.DestinationRule("hop 1's rule for port 443", t.Subject.Hop1Rule, func(dr *networking.DestinationRule) {
			settings := dr.Subsets[0].TrafficPolicy.PortLevelSettings[0]
			settings.Port.Number, settings.ConnectionPool.Http = servicePort, once
		}),
		t.DestinationRule("one request a connection on hop 2", t.Subject.Hop2Rule, func(dr *networking.DestinationRule) {
			dr.TrafficPolicy.PortLevelSettings[0].ConnectionPool.Http = once
		}),
		t.VirtualService("the mesh route to port 443", func(vs *networking.VirtualService) {
			vs.Http[0].Route[0].Destination.Port.Number = servicePort
		}))
}

// alignmentMap is the guide's, line by line.
func alignmentMap(t *trial.T) []aligned {
	s := t.Subject
	se := func(edit func(*networking.ServiceEntry, bend)) func(bend) []lab.Variation {
		return func(b bend) []lab.Variation {
			return []lab.Variation{t.ServiceEntry("ServiceEntry", func(o *networking.ServiceEntry) { edit(o, b) })}
		}
	}
	gw := func(edit func(*networking.Server, bend)) func(bend) []lab.Variation {
		return func(b bend) []lab.Variation {
			return []lab.Variation{t.GatewayServer("Gateway", func(o *networking.Gateway) { edit(o.Servers[0], b) })}
		}
	}
	vs := func(edit func(*networking.VirtualService, bend)) func(bend) []lab.Variation {
		return func(b bend) []lab.Variation {
			return []lab.Variation{t.VirtualService("VirtualService", func(o *networking.VirtualService) { edit(o, b) })}
		}
	}
	rule := func(name string, edit func(*networking.DestinationRule, bend)) func(bend) []lab.Variation {
		return func(b bend) []lab.Variation {
			return []lab.Variation{t.DestinationRule("DestinationRule "+name, name, func(o *networking.DestinationRule) { edit(o, b) })}
		}
	}
	service := func(edit func(*corev1.ServicePort, bend)) func(bend) []lab.Variation {
		return func(b bend) []lab.Variation {
			return []lab.Variation{t.GatewayServicePorts("Service", func(ports []corev1.ServicePort) { edit(&ports[0], b) })}
		}
	}
	hop1 := func(vs *networking.VirtualService) *networking.Destination { return vs.Http[0].Route[0].Destination }
	const (
		noCluster = "NC"
		noChain   = "filter_chain_not_found"
		noRoute   = "route_not_found"
		refused   = "Connection_refused"
		plaintext = "client sent plain HTTP request to HTTPS port"
		untrusted = "CERTIFICATE_VERIFY_FAILED"
	)
	return []aligned{
		{name: "external host: ServiceEntry hosts", status: 503, witness: gatewaySays, says: noCluster,
			edit: se(func(o *networking.ServiceEntry, b bend) { o.Hosts[0] = b.text(o.Hosts[0]) })},
		{name: "external host: Gateway servers.hosts", status: 503, witness: gatewayShuts, says: noChain,
			edit: gw(func(o *networking.Server, b bend) { o.Hosts[0] = b.text(o.Hosts[0]) })},
		{name: "external host: VirtualService hosts", status: 400, witness: partnerSays, says: plaintext,
			edit: vs(func(o *networking.VirtualService, b bend) { o.Hosts[0] = b.text(o.Hosts[0]) })},
		{name: "external host: hop-1 rule, sni", status: 503, witness: gatewayShuts, says: noChain,
			edit: rule(s.Hop1Rule, func(o *networking.DestinationRule, b bend) {
				tls := o.Subsets[0].TrafficPolicy.PortLevelSettings[0].Tls
				tls.Sni = b.text(tls.Sni)
			})},
		{name: "external host: hop-2 rule, host", status: 400, witness: partnerSays, says: plaintext,
			edit: rule(s.Hop2Rule, func(o *networking.DestinationRule, b bend) { o.Host = b.text(o.Host) })},
		{name: "external host: hop-2 rule, sni", status: 503, witness: gatewaySays, says: untrusted,
			edit: rule(s.Hop2Rule, func(o *networking.DestinationRule, b bend) { hop2TLS(o).Sni = b.text(hop2TLS(o).Sni) })},
		{name: "external host: hop-2 rule, subjectAltNames", status: 503, witness: gatewaySays, says: untrusted,
			edit: rule(s.Hop2Rule, func(o *networking.DestinationRule, b bend) {
				hop2TLS(o).SubjectAltNames[0] = b.text(hop2TLS(o).SubjectAltNames[0])
			})},

		{name: "gateway: hop-1 rule, host", status: 503, witness: sidecarSays, says: noCluster,
			edit: rule(s.Hop1Rule, func(o *networking.DestinationRule, b bend) { o.Host = b.text(o.Host) })},
		{name: "gateway: VirtualService hop 1, destination.host", status: 503, witness: sidecarSays, says: noCluster,
			edit: vs(func(o *networking.VirtualService, b bend) { hop1(o).Host = b.text(hop1(o).Host) })},

		{name: "subset: hop-1 rule, subsets.name", status: 503, witness: sidecarSays, says: noCluster,
			edit: rule(s.Hop1Rule, func(o *networking.DestinationRule, b bend) { o.Subsets[0].Name = b.text(o.Subsets[0].Name) })},
		{name: "subset: VirtualService hop 1, destination.subset", status: 503, witness: sidecarSays, says: noCluster,
			edit: vs(func(o *networking.VirtualService, b bend) { hop1(o).Subset = b.text(hop1(o).Subset) })},

		// The subset's cluster for the old port is gone, or stays without hosts:
		// istiod removes one of the old port's two clusters, by chance
		// (pilot/pkg/networking/core/cluster.go, deltaFromServices).
		{name: "ports: Service, port", status: 503, witness: sidecarSays, says: noCluster + " or UH",
			edit: service(func(p *corev1.ServicePort, b bend) { p.Port = int32(b.port(uint32(p.Port))) })},
		{name: "ports: Service, targetPort", status: 503, witness: sidecarSays, says: refused,
			edit: service(func(p *corev1.ServicePort, b bend) {
				p.TargetPort = intstr.FromInt32(int32(b.port(uint32(p.TargetPort.IntVal))))
			})},
		// Where a Gateway of somebody else's still binds that port, the
		// connection is reset instead.
		{name: "ports: Gateway, port", status: 503, witness: sidecarSays, says: refused + " or Connection_reset",
			edit: gw(func(o *networking.Server, b bend) { o.Port.Number = b.port(o.Port.Number) })},
		{name: "ports: VirtualService hop 2, match.port", status: 404, witness: gatewaySays, says: noRoute,
			edit: vs(func(o *networking.VirtualService, b bend) { o.Http[1].Match[0].Port = b.port(o.Http[1].Match[0].Port) })},
		{name: "ports: hop-1 rule, portLevelSettings.port", status: 503, witness: gatewayShuts, says: noChain,
			edit: rule(s.Hop1Rule, func(o *networking.DestinationRule, b bend) {
				port := o.Subsets[0].TrafficPolicy.PortLevelSettings[0].Port
				port.Number = b.port(port.Number)
			})},
		{name: "ports: VirtualService hop 1, destination.port", status: 503, witness: sidecarSays, says: noCluster,
			edit: vs(func(o *networking.VirtualService, b bend) { hop1(o).Port.Number = b.port(hop1(o).Port.Number) })},
	}
}

// secretStrings is the last line of the guide's map. Each is slow: Envoy waits
// 15 s for a secret that does not come.
func secretStrings(t *trial.T) []aligned {
	s := t.Subject
	const unserved = "Secret_is_not_supplied_by_SDS"
	// A Secret's own strings are broken for a Secret that the gateway has not
	// asked for before: istiod takes none back that it has once sent
	// (pilot/pkg/xds/sds.go, Generate leaves out what it does not find).
	secret := func(what string, number uint32, place func(bend, string) (namespace, name string)) aligned {
		name, header := "aligned-"+trial.Unique(), "x-secret-"+what
		port := func(credential string) lab.Variation {
			return t.Hop2Port("a port whose settings name a Secret", lab.Port{Number: number, Target: uint32(s.ExternalPort), Header: header,
				Settings: func(p *networking.TrafficPolicy_PortTrafficPolicy) { p.Tls.CredentialName = credential }})
		}
		return aligned{
			name: "secret: Secret, " + what, status: 503, witness: gatewaySays, says: unserved, header: header, slow: true,
			besides: []lab.Variation{port(s.Credential)},
			edit: func(b bend) []lab.Variation {
				in := t.CredentialSecret(name, t.Credential)
				in.Namespace, in.Name = place(b, name)
				return []lab.Variation{lab.Add("a Secret for "+header, in), port(name)}
			},
		}
	}
	return []aligned{
		secret("name", 444, func(b bend, name string) (string, string) { return s.Gateway.Namespace, b.text(name) }),
		secret("namespace", 445, func(b bend, name string) (string, string) {
			if b.straight {
				return s.Gateway.Namespace, name
			}
			return s.Client.Namespace, name
		}),
		{name: "secret: hop-2 rule, credentialName", status: 503, witness: gatewaySays, says: unserved, slow: true,
			edit: func(b bend) []lab.Variation {
				return []lab.Variation{t.DestinationRule("the rule names a Secret", s.Hop2Rule, func(o *networking.DestinationRule) {
					hop2TLS(o).CredentialName = b.text(hop2TLS(o).CredentialName)
				})}
			}},
	}
}

// unmapped are strings of the guide's YAML that its map does not name.
func unmapped(t *trial.T) []aligned {
	vs := func(edit func(*networking.VirtualService, bend)) func(bend) []lab.Variation {
		return func(b bend) []lab.Variation {
			return []lab.Variation{t.VirtualService("VirtualService", func(o *networking.VirtualService) { edit(o, b) })}
		}
	}
	hop2 := func(o *networking.VirtualService) *networking.Destination { return o.Http[1].Route[0].Destination }
	return []aligned{
		{name: "VirtualService, gateways", status: 404, witness: gatewaySays, says: "route_not_found",
			edit: vs(func(o *networking.VirtualService, b bend) { o.Gateways[1] = b.text(o.Gateways[1]) })},
		{name: "VirtualService hop 2, match.gateways", status: 404, witness: gatewaySays, says: "route_not_found",
			edit: vs(func(o *networking.VirtualService, b bend) {
				o.Http[1].Match[0].Gateways[0] = b.text(o.Http[1].Match[0].Gateways[0])
			})},
		{name: "VirtualService hop 1, match.port", status: 400, witness: partnerSays, says: "client sent plain HTTP request to HTTPS port",
			edit: vs(func(o *networking.VirtualService, b bend) { o.Http[0].Match[0].Port = b.port(o.Http[0].Match[0].Port) })},
		{name: "VirtualService hop 2, destination.host", status: 503, witness: gatewaySays, says: "NC",
			edit: vs(func(o *networking.VirtualService, b bend) { hop2(o).Host = b.text(hop2(o).Host) })},
		{name: "VirtualService hop 2, destination.port", status: 503, witness: gatewaySays, says: "NC",
			edit: vs(func(o *networking.VirtualService, b bend) { hop2(o).Port.Number = b.port(hop2(o).Port.Number) })},
		{name: "hop-2 rule, portLevelSettings.port", status: 400, witness: partnerSays, says: "client sent plain HTTP request to HTTPS port",
			edit: func(b bend) []lab.Variation {
				return []lab.Variation{t.DestinationRule("hop 2's rule", t.Subject.Hop2Rule, func(o *networking.DestinationRule) {
					port := o.TrafficPolicy.PortLevelSettings[0].Port
					port.Number = b.port(port.Number)
				})}
			}},
		{name: "ServiceEntry, ports.number", status: 503, witness: gatewaySays, says: "NC",
			edit: func(b bend) []lab.Variation {
				return []lab.Variation{t.ServiceEntry("ServiceEntry", func(o *networking.ServiceEntry) { o.Ports[1].Number = b.port(o.Ports[1].Number) })}
			}},
		{name: "Gateway, selector", status: 503, witness: sidecarSays, says: "Connection_refused",
			edit: func(b bend) []lab.Variation {
				return []lab.Variation{t.GatewayServer("Gateway", func(o *networking.Gateway) { o.Selector["istio"] = b.text(o.Selector["istio"]) })}
			}},
	}
}

var _ = Claim("A-align-rest", func(t *trial.T) trial.Experiment {
	return everyString(t, unmapped(t), "Strings that the alignment map does not name, each broken in turn")
})

var _ = Claim("A-align-target", func(t *trial.T) trial.Experiment {
	// A Gateway's port that is a port of its Service stands for that port's
	// target, whatever it is (pilot/pkg/model/gateway.go, resolvePorts).
	var call *trial.Call
	const elsewhere = 8444
	return trial.Experiment{
		Arrange: []lab.Variation{t.GatewayServicePorts("the gateway Service's port 8443 leads to target port 8444, the Gateway's port stays 8443", func(ports []corev1.ServicePort) {
			ports[0].TargetPort = intstr.FromInt32(elsewhere)
		})},
		Check: func(ctx context.Context, t *trial.T) (err error) {
			if call, err = t.Call(ctx); err != nil {
				return err
			}
			call.Status(Equal(503))
			call.Fact("gateway: requests of this token", len(call.Gateway), Equal(0))
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			call.Status(Equal(200))
			call.Fact("gateway: where it listened", call.Through().DownstreamLocalAddress, Equal(fmt.Sprintf("%s:%d", t.Gateway.IP, elsewhere)))
			call.Fact("partner: verification of the client certificate", call.Arrived().Verify, Equal("SUCCESS"))
			return nil
		},
		Control: []lab.Variation{
			t.GatewayServicePorts("the Service's port is the guide's 443, so that the Gateway's 8443 is no port of the Service", func(ports []corev1.ServicePort) { ports[0].Port = servicePort }),
			t.DestinationRule("hop 1's rule is for port 443", t.Subject.Hop1Rule, func(dr *networking.DestinationRule) {
				dr.Subsets[0].TrafficPolicy.PortLevelSettings[0].Port.Number = servicePort
			}),
			t.VirtualService("the mesh route leads to port 443", func(vs *networking.VirtualService) {
				vs.Http[0].Route[0].Destination.Port.Number = servicePort
			}),
		},
	}
})

// everyString breaks each string in turn and states what turned. Those whose
// break Envoy takes 15 s to act upon are broken together, each on a route of its
// own, so that this is waited for once.
func everyString(t *trial.T, all []aligned, title string) trial.Experiment {
	b := bend{}
	var calls []*trial.Call
	var from *lab.Checkpoint
	return trial.Experiment{
		Check: func(ctx context.Context, t *trial.T) error {
			calls = nil
			if from == nil {
				if err := t.Change(ctx, asInTheGuide(t)); err != nil {
					return err
				}
				c := t.Checkpoint()
				from = &c
			}
			var table *verdict.Table
			var known *trial.Analysis
			if !b.straight { // there is nothing to tell of edits that break nothing
				table = t.Table(title, "string broken", "curl", "sidecar", "gateway", "istioctl analyze")
			}
			for _, group := range inTurn(all, b) {
				if more := besides(group); table != nil && (known == nil || len(more) > 0) {
					if err := t.Instead(ctx, *from, more...); err != nil {
						return fmt.Errorf("%s: what is changed besides: %w", group[0].name, err)
					}
					var err error
					if known, err = t.Analyze(ctx); err != nil {
						return err
					}
				}
				saw, err := broken(ctx, t, *from, group, b)
				if err != nil {
					return fmt.Errorf("%s: %w", group[0].name, err)
				}
				for i, a := range group {
					a.state(t, saw[i])
					calls = append(calls, saw[i].call)
					if table != nil {
						table.Rows = append(table.Rows, saw[i].row(a, known.Messages))
					}
				}
			}
			return nil
		},
		Control: []lab.Variation{lab.Input("make every one of these edits with the string as it was", func() { b.straight = true })},
		Cause: func(_ context.Context, t *trial.T) error {
			for _, call := range slices.Compact(calls) {
				call.Status(Equal(200))
				call.Fact("the call took both hops", bothHops(t, call), BeTrue())
				call.Fact("partner: verification of the client certificate", call.Arrived().Verify, Equal("SUCCESS"))
			}
			return nil
		},
	}
}

// besides is what a group's edits change apart from their strings.
func besides(group []aligned) (all []lab.Variation) {
	for _, a := range group {
		all = append(all, a.besides...)
	}
	return all
}

// inTurn makes groups of strings that are edited together: each alone, but for
// the slow ones; and all of them where nothing is broken.
func inTurn(all []aligned, b bend) (groups [][]aligned) {
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

// seen is what came of breaking one string.
type seen struct {
	call     *trial.Call
	analysis *trial.Analysis
}

// broken edits a group's strings and calls: once for all that share a route.
func broken(ctx context.Context, t *trial.T, from lab.Checkpoint, group []aligned, b bend) ([]seen, error) {
	var edits []lab.Variation
	for _, a := range group {
		edits = append(edits, a.edit(b)...)
	}
	if err := t.Instead(ctx, from, edits...); err != nil {
		return nil, err
	}
	if group[0].slow {
		early, err := t.Call(ctx)
		if err != nil {
			return nil, err
		}
		early.Fact("right after the edits, through the cluster that was there before: HTTP status", early.HTTPCode, Equal(200))
		if err := t.AwaitWarm(ctx, t.Gateway); err != nil {
			return nil, err
		}
	}
	found := func() (*trial.Analysis, error) { return &trial.Analysis{}, nil }
	if !b.straight {
		found = t.Analyzing(ctx)
	}
	byRoute := map[string]seen{}
	for _, a := range group {
		if _, done := byRoute[a.header]; done {
			continue
		}
		var options []trial.CallOption
		if a.header != "" {
			options = append(options, trial.With("--header", a.header+": yes"))
		}
		call, err := t.Call(ctx, options...)
		if err != nil {
			return nil, err
		}
		byRoute[a.header] = seen{call: call}
	}
	analysis, err := found()
	if err != nil {
		return nil, err
	}
	saw := make([]seen, len(group))
	for i, a := range group {
		saw[i] = byRoute[a.header]
		saw[i].analysis = analysis
	}
	return saw, nil
}

// state says whether the call turned, and that it did for the reason known.
func (a aligned) state(t *trial.T, s seen) {
	s.call.Fact(a.name+" broken: the call takes both hops", bothHops(t, s.call), BeFalse())
	s.call.Fact(a.name+" broken: HTTP status", s.call.HTTPCode, Equal(a.status))
	s.call.Fact(a.name+" broken: "+string(a.witness)+" says why", s.says(a.witness), a.tells())
}

func (s seen) says(w witness) string {
	switch w {
	case sidecarSays:
		return trial.Logged(s.call.Left())
	case gatewaySays:
		return each(s.call.Gateway, trial.Logged)
	case gatewayShuts:
		return each(s.call.Refused, trial.Logged)
	}
	return s.call.PartnerSaid()
}

// row is the string's line in the table. It is short, for a wall: the facts have
// the whole lines, and the evidence what the analyzer wrote.
func (s seen) row(a aligned, known []analysis.Message) []string {
	var found []string
	for _, m := range analysis.Beyond(s.analysis.Messages, known) {
		found = append(found, m.Code)
	}
	if len(found) == 0 {
		found = []string{"silent"}
	}
	slices.Sort(found)
	return []string{
		a.name, trial.Brief(s.call),
		each(s.call.Sidecar, trial.BriefLog), each(append(slices.Clone(s.call.Gateway), s.call.Refused...), trial.BriefLog),
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
// cluster, through the gateway once, and to a partner that knew the gateway.
func bothHops(t *trial.T, call *trial.Call) bool {
	hop1 := subject.ClusterName(servicePort, t.Subject.Subset, t.Subject.GatewayFQDN())
	return call.HTTPCode == 200 && strings.HasPrefix(call.Left().UpstreamCluster, hop1) && len(call.Gateway) == 1 &&
		call.Arrived().Verify == "SUCCESS" && call.Arrived().Peer == t.Gateway.IP
}

// badValue is a document with a place for a value: one that cannot be right,
// and one that is.
type badValue struct {
	name, document, bad, good string
	// says is part of the API server's refusal.
	says string
}

var _ = Claim("V-reject", func(t *trial.T) trial.Experiment {
	right := false
	var answers []*trial.Answer
	values := badValues(t)
	return trial.Experiment{
		Check: func(ctx context.Context, t *trial.T) error {
			answers = nil
			var table *verdict.Table
			if !right {
				table = t.Table("Values that the API server refuses", "value", "written", "the API server says")
			}
			for _, v := range values {
				value := v.bad
				if right {
					value = v.good
				}
				answer, err := t.TryApply(ctx, strings.ReplaceAll(v.document, "VALUE", value))
				if err != nil {
					return fmt.Errorf("%s: %w", v.name, err)
				}
				answer.Fact(v.name+": accepted", answer.Accepted, BeFalse())
				answer.Fact(v.name+": message", answer.Message, ContainSubstring(v.says))
				answers = append(answers, answer)
				if table != nil {
					table.Rows = append(table.Rows, []string{v.name, value, answer.Message})
				}
			}
			return nil
		},
		Control: []lab.Variation{lab.Input("write the value that each document should have", func() { right = true })},
		Cause: func(_ context.Context, t *trial.T) error {
			for i, a := range answers {
				a.Fact(values[i].name+", with the right value: message", a.Message, BeEmpty())
			}
			return nil
		},
	}
})

func badValues(t *trial.T) []badValue {
	document := func(kind, spec string) string { return document(t, kind, spec) }
	host := t.Subject.ExternalHost
	rule := func(policy string) string {
		return document("DestinationRule", fmt.Sprintf("{host: %s, trafficPolicy: %s}", host, policy))
	}
	pool := func(settings string) string { return rule("{connectionPool: " + settings + "}") }
	tls := func(settings string) string { return rule("{tls: " + settings + "}") }
	gateway := func(server string) string {
		return document("Gateway", fmt.Sprintf("{selector: {istio: none}, servers: [%s]}", server))
	}
	return []badValue{
		{"tcpKeepalive.time, a number", pool("{tcp: {tcpKeepalive: {time: VALUE}}}"), "300", "300s", "must be of type string"},
		{"maxConnections, a text", pool("{tcp: {maxConnections: VALUE}}"), `"77"`, "77", "must be of type integer"},
		{"maxConnections, negative", pool("{tcp: {maxConnections: VALUE}}"), "-1", "1", "max connections must be non-negative"},
		{"connectTimeout below a millisecond", pool("{tcp: {connectTimeout: VALUE}}"), "0.5ms", "5ms", "must be a valid duration greater than 1ms"},
		{"connectTimeout, not whole milliseconds", pool("{tcp: {connectTimeout: VALUE}}"), "1.5ms", "2ms", "only durations to ms precision are supported"},
		{"maxConnectionDuration, a word", pool("{tcp: {maxConnectionDuration: VALUE}}"), "forever", "1h", "must be a valid duration"},
		{"maxRequestsPerConnection, negative", pool("{http: {maxRequestsPerConnection: VALUE}}"), "-1", "1", "max requests per connection must be non-negative"},
		{"h2UpgradePolicy, no such policy", pool("{http: {h2UpgradePolicy: VALUE}}"), `"ALWAYS"`, "UPGRADE", "Unsupported value"},
		{"maxEjectionPercent above 100", rule("{outlierDetection: {maxEjectionPercent: VALUE}}"), "101", "100", "percentage 101 is not in range 0..100"},
		{"tls.mode in small letters", tls("{mode: VALUE}"), "simple", "SIMPLE", "Unsupported value"},
		{"a misspelt field of tls", tls("{mode: MUTUAL, VALUE: a-secret}"), "credentialname", "credentialName", "unknown field"},
		{"credentialName beside a certificate file", tls("{mode: MUTUAL, credentialName: a-secret, VALUE}"), "clientCertificate: /etc/c.pem", "sni: a.example.com", "cannot specify client certificates"},
		{"MUTUAL with neither Secret nor files", tls("{mode: MUTUAL, VALUE}"), "sni: a.example.com", "credentialName: a-secret", "client certificate required for mutual tls"},
		{"MUTUAL with a certificate and no key", tls("{mode: MUTUAL, clientCertificate: /etc/c.pem, VALUE}"), "sni: a.example.com", "privateKey: /etc/k.pem", "private key required for mutual tls"},
		{"a rule without a host", document("DestinationRule", "{VALUE}"), "exportTo: [.]", "host: " + host, "Required value"},
		{"portLevelSettings without a port", rule("{portLevelSettings: [{tls: {mode: SIMPLE}, VALUE}]}"), "loadBalancer: {simple: RANDOM}", "port: {number: 443}", "portTrafficPolicy must have valid port"},
		{"two subsets of one name", document("DestinationRule", "{host: "+host+", subsets: [{name: a}, {name: VALUE}]}"), "a", "b", "duplicate"},
		{"a Gateway's HTTPS server without tls", gateway("{port: {number: 8443, name: https, protocol: HTTPS}, hosts: [" + host + "]VALUE}"), "", ", tls: {mode: ISTIO_MUTUAL}", "server must have TLS settings"},
		{"a Gateway's ISTIO_MUTUAL with credentialName", gateway("{port: {number: 8443, name: https, protocol: HTTPS}, hosts: [" + host + "], tls: {mode: ISTIO_MUTUALVALUE}}"), ", credentialName: a-secret", "", "ISTIO_MUTUAL TLS"},
		{"a port above 65535", gateway("{port: {number: VALUE, name: https, protocol: HTTPS}, hosts: [" + host + "], tls: {mode: ISTIO_MUTUAL}}"), "70000", "7000", "port number 70000 must be in the range 1..65535"},
		{"a ServiceEntry for every host", document("ServiceEntry", "{hosts: [VALUE], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}"), `"*"`, host, "hostname cannot be wildcard"},
		{"two ports of one number in a ServiceEntry", document("ServiceEntry", "{hosts: ["+host+"], ports: [{number: 443, name: tls, protocol: TLS}, {number: VALUE, name: more, protocol: TLS}], resolution: DNS}"), "443", "444", "duplicate"},
		{"a VirtualService without a route", document("VirtualService", "{hosts: ["+host+"]VALUE}"), "", ", http: [{route: [{destination: {host: " + host + "}}]}]", "http, tcp or tls must be provided"},
		{"a retry of negative attempts", document("VirtualService", "{hosts: ["+host+"], http: [{route: [{destination: {host: "+host+"}}], retries: {attempts: VALUE}}]}"), "-1", "0", "attempts cannot be negative"},
	}
}

var _ = Claim("V-reject-2", func(t *trial.T) trial.Experiment {
	// A DestinationRule's settings are checked only where their mode uses them
	// (pkg/config/validation, validateTLS); a Gateway's are checked in full
	// (pkg/config/validation, validateTLSOptions).
	documents := map[string]string{"credentialName": "", "clientCertificate": ""}
	for field := range documents {
		documents[field] = document(t, "DestinationRule", fmt.Sprintf("{host: %s, trafficPolicy: {tls: {mode: ISTIO_MUTUAL, %s: a-secret}}}", t.Subject.ExternalHost, field))
	}
	var answers map[string]*trial.Answer
	return trial.Experiment{
		Check: func(ctx context.Context, t *trial.T) (err error) {
			answers = map[string]*trial.Answer{}
			for _, field := range []string{"credentialName", "clientCertificate"} {
				if answers[field], err = t.TryApply(ctx, documents[field]); err != nil {
					return err
				}
				answers[field].Fact("ISTIO_MUTUAL with "+field+": accepted", answers[field].Accepted, BeFalse())
			}
			return nil
		},
		Cause: func(_ context.Context, t *trial.T) error {
			for field, answer := range answers {
				answer.Fact("ISTIO_MUTUAL with "+field+": message", answer.Message, BeEmpty())
			}
			return nil
		},
		Control: []lab.Variation{lab.Input("write the same into a Gateway's server", func() {
			server := "{selector: {istio: none}, servers: [{port: {number: 8443, name: https, protocol: HTTPS}, hosts: [a.example.com], tls: {mode: ISTIO_MUTUAL, %s: a-secret}}]}"
			documents["credentialName"] = document(t, "Gateway", fmt.Sprintf(server, "credentialName"))
			documents["clientCertificate"] = document(t, "Gateway", fmt.Sprintf(server, "serverCertificate"))
		})},
	}
})

// document is one that is only tried, in the gateway's namespace.
func document(t *trial.T, kind, spec string) string {
	return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: %s\nmetadata: {name: tried, namespace: %s}\nspec: %s\n",
		kind, t.Subject.Gateway.Namespace, spec)
}
