package suites

import (
	"regexp"

	. "github.com/onsi/gomega"
	networking "istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/check"
	"twohop/internal/manifest"
)

var _ = Claim("F-one-identity", func(s *Setup) Experiment[*Call] {
	const subset, route = "second", "hop2-second"
	name := s.Unique("second")
	pair := s.Issue(s.Certificates.ClientCA, "second-egress-client")
	return Experiment[*Call]{
		Arrange: vary(
			s.SecondClient("run a second application, under a service account of its own"),
			manifest.Add("a client certificate for the second application", s.CredentialSecret(name, pair)),
			s.Hop2DestinationRule("hop 2's rule has a subset that presents it", func(dr *networking.DestinationRule) {
				settings := s.Hop2Settings(dr).DeepCopy()
				settings.Tls.CredentialName = name
				dr.Subsets = append(dr.Subsets, &networking.Subset{Name: subset, TrafficPolicy: &networking.TrafficPolicy{
					PortLevelSettings: []*networking.TrafficPolicy_PortTrafficPolicy{settings}}})
			}).Holding(manifest.SDSName(name), pair.Serial()),
			s.VirtualService("the gateway's route chooses the subset by the caller's SPIFFE id", func(vs *networking.VirtualService) {
				mine := manifest.GatewayRoute(vs).DeepCopy()
				mine.Name = route
				manifest.Destination(mine).Subset = subset
				caller := regexp.QuoteMeta(s.Subject.SPIFFE(s.Subject.SecondClient()))
				manifest.OnlyMatch(mine).Headers = map[string]*networking.StringMatch{
					"x-forwarded-client-cert": {MatchType: &networking.StringMatch_Regex{Regex: ".*URI=" + caller + "($|[;,].*)"}},
				}
				manifest.InsertRouteBefore(vs, manifest.GatewayRouteName, mine)
			}),
		),
		Check: func(t *T) *Call {
			first, second := t.Call(), t.CallFrom(t.SecondSidecar)
			first.StatusOf("first application: curl", Equal(200))
			first.Fact("first application: subject at the partner", first.PartnerLog().DN, Equal("CN=egress-client"))
			first.Fact("first application: serial at the partner", first.PartnerLog().Serial, Equal(s.Certificates.Credential.Serial()))
			second.StatusOf("second application: curl", Equal(200))
			second.Fact("second application: subject at the partner", second.PartnerLog().DN, Equal("CN=second-egress-client"))
			second.Fact("second application: serial at the partner", second.PartnerLog().Serial, Equal(pair.Serial()))
			return second
		},
		Cause: func(_ *T, second *Call) {
			second.Fact("second application: the gateway's route", second.GatewayLog().RouteName, Equal(manifest.GatewayRouteName))
			second.Fact("second application: subject at the partner, the first one's", second.PartnerLog().DN, Equal("CN=egress-client"))
		},
		Control: vary(s.VirtualService("take the second application's route away", func(vs *networking.VirtualService) {
			manifest.DropRoute(vs, route)
		})),
		Flips: []string{"second application: subject at the partner", "second application: serial at the partner"},
	}
})

// inTurn makes a port's settings take its hosts in turn.
func inTurn(p *networking.TrafficPolicy_PortTrafficPolicy) {
	p.LoadBalancer = &networking.LoadBalancerSettings{
		LbPolicy: &networking.LoadBalancerSettings_Simple{Simple: networking.LoadBalancerSettings_ROUND_ROBIN}}
}

var _ = Claim("F-two-gateways", func(s *Setup) Experiment[[]*Call] {
	const n = 8
	inFirst := func(calls []*Call) (found int) {
		for _, c := range calls {
			found += len(c.GatewayLines)
		}
		return found
	}
	return Experiment[[]*Call]{
		Arrange: vary(s.Hop1Port("hop 1 takes gateways in turn", inTurn), s.SecondGateway("run a second gateway pod")),
		Check: func(t *T) []*Call {
			var limits []uint32
			var files []string
			for _, gateway := range gateways(t) {
				hop2 := t.Cluster(gateway, t.Subject.Hop2Cluster())
				files = append(files, hop2.Evidence())
				if hop2.Pool.MaxConnections != nil {
					limits = append(limits, *hop2.Pool.MaxConnections)
				}
			}
			whole := t.Subject.Hop2Pool.MaxConnections
			t.Fact("hop 2's maxConnections, of each gateway pod", limits, ConsistOf(whole, whole), files...)
			if t.SecondGateway != nil {
				usesBothGateways(t)
			}
			calls := t.Sequential(n, 0).Calls()
			inSecond, once := 0, 0
			for _, c := range calls {
				inSecond += len(c.SecondGatewayLines)
				if len(c.GatewayLines)+len(c.SecondGatewayLines) == 1 {
					once++
				}
			}
			last := calls[n-1]
			last.Fact("calls that are in one gateway's log, once", once, Equal(n))
			last.Fact("calls in the first gateway's log", inFirst(calls), And(BeNumerically(">", 0), BeNumerically("<", n)))
			last.Fact("calls in the second gateway's log", inSecond, BeNumerically(">", 0))
			last.Fact("partner: gateways that it was called from", check.Values(calls, func(c *Call) string { return c.PartnerLog().Peer }), HaveLen(2))
			return calls
		},
		Cause: func(_ *T, calls []*Call) {
			calls[n-1].Fact("calls in the one gateway's log", inFirst(calls), Equal(n))
		},
		Control: vary(s.OneGateway("take the second gateway pod away")),
		Flips: []string{
			"hop 2's maxConnections, of each gateway pod", "calls in the first gateway's log", "calls in the second gateway's log",
			"partner: gateways that it was called from",
		},
	}
})

// gateways are those that there are: one or two.
func gateways(t *T) []*check.Proxy {
	if t.SecondGateway == nil {
		return []*check.Proxy{t.Gateway}
	}
	return []*check.Proxy{t.Gateway, t.SecondGateway}
}

// usesBothGateways calls until a call has gone through the second gateway: a new
// host reaches Envoy's workers later than its admin API.
func usesBothGateways(t *T) {
	const most = 100
	for range most {
		if len(t.Call().SecondGatewayLines) == 1 {
			return
		}
	}
	t.Abort("%d calls went to the first gateway only", most)
}

var _ = Claim("F-se-collision", func(s *Setup) Experiment[*Call] {
	// Of several Services of one hostname istiod takes the oldest; of those made
	// in one second the first by namespace (pilot/pkg/model,
	// SortServicesByCreationTime). The application's namespace sorts before the
	// gateway's.
	_, partner := s.PartnerAddresses()
	entry := func(change string, exportTo ...string) Variation {
		return manifest.Add(change, &istio.ServiceEntry{
			ObjectMeta: metav1.ObjectMeta{Name: "somebody-elses", Namespace: s.Subject.Client.Namespace},
			Spec: networking.ServiceEntry{
				Hosts: []string{s.Subject.ExternalHost}, Location: networking.ServiceEntry_MESH_EXTERNAL, Resolution: networking.ServiceEntry_STATIC,
				Ports: []*networking.ServicePort{
					{Number: uint32(s.Subject.ExternalPort), Name: "tls", Protocol: "TLS", TargetPort: laxPort},
					// What the application calls; without it the sidecar, which sees
					// this entry first, may have no listener on that port.
					{Number: uint32(s.Subject.AppPort), Name: "http", Protocol: "HTTP", TargetPort: laxPort},
				},
				Endpoints: []*networking.WorkloadEntry{{Address: partner}},
				ExportTo:  exportTo,
			},
		})
	}
	ours := s.BaselineServiceEntry()
	return Experiment[*Call]{
		Arrange: vary(
			entry("another namespace has a ServiceEntry for the host, to another port of the partner"),
			manifest.Remove("take ours away", ours),
			manifest.Add("and make it again: it is the younger one now", ours),
		),
		Check: func(t *T) *Call {
			hop2 := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			hop2.Is(BeTrue())
			hop2.Fact("kind of discovery", hop2.Discovery(), Equal("STRICT_DNS"))
			call := t.Call()
			call.Status(Equal(200))
			call.Fact("partner: its port", call.PartnerLog().Port, BeNumerically("==", 8443))
			call.Fact("partner: verification of the client certificate", call.PartnerLog().Verify, Equal("SUCCESS"))
			return call
		},
		Cause: func(t *T, call *Call) {
			hop2 := t.Cluster(t.Gateway, t.Subject.Hop2Cluster())
			hop2.Fact("kind of discovery, as the other ServiceEntry wants it", hop2.Discovery(), Equal("EDS"))
			call.Fact("partner: its port, as the other ServiceEntry wants it", call.PartnerLog().Port, BeNumerically("==", laxPort))
			call.Fact("partner: it did not ask for a certificate", call.PartnerLog().Verify, Equal("NONE"))
		},
		Control: vary(entry("that ServiceEntry is exported to its own namespace only", ".")),
		Flips:   []string{"*: kind of discovery", "partner: its port", "partner: verification of the client certificate"},
	}
})
