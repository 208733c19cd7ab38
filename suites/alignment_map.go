package suites

import (
	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"twohop/internal/manifest"
)

// aligned is one string of the map: how to break it, and what then tells why.
type aligned struct {
	name string
	edit func(bend) Variation
	// status is curl's; says are the texts of which the witness who knows why
	// gives one.
	status  int
	witness witness
	says    []string
	// header leads the call to the route on which the string is broken, where
	// several of them are broken at a time; slow: once Envoy has given up
	// waiting for a secret.
	header string
	slow   bool
	// besides is what the edit changes apart from the string: what the analyzer
	// says about that it does not say about the string.
	besides []Variation
}

// witness is whose log says why a call failed, and how far the call got. It ends up in
// a fact's name: "… broken: WITNESS says why".
type witness string

const (
	sidecarSays  witness = "sidecar"
	gatewaySays  witness = "gateway"
	gatewayShuts witness = "gateway (a connection without a request)"
	partnerSays  witness = "partner"
	bypassedSays witness = "partner (the call bypassed the gateway)"
)

// What the witnesses say.
const (
	noCluster         = "cluster_not_found"
	noHost            = "no_healthy_upstream"
	noChain           = "filter_chain_not_found"
	noRoute           = "route_not_found"
	connectionRefused = "Connection_refused"
	connectionReset   = "Connection_reset"
	plainHTTP         = "client sent plain HTTP request to HTTPS port"
	untrusted         = "CERTIFICATE_VERIFY_FAILED"
	notBySDS          = "Secret_is_not_supplied_by_SDS"
	guidesPort        = 443 // the guide's Service port; the lab's own Service has 8443 for it and for its target
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

// of is a string's edit, in words.
func (b bend) of(a aligned) Variation {
	v := a.edit(b)
	v.Change = a.name + ", broken"
	if b.straight {
		v.Change = a.name + ", as it was"
	}
	return v
}

// bends makes edits of the objects that the map's strings stand in.
type bends struct{ *Setup }

func (s bends) host(list []string, b bend) { s.in(list, s.Subject.ExternalHost, b) }

func (s bends) in(list []string, text string, b bend) { manifest.Replace(list, text, b.text(text)) }

// gatewayRef is how the VirtualService names the Gateway.
func (s bends) gatewayRef() string {
	return s.Subject.Gateway.Namespace + "/" + s.Subject.GatewayName
}

func (s bends) entry(edit func(*networking.ServiceEntry, bend)) func(bend) Variation {
	return func(b bend) Variation {
		return s.ServiceEntry("", func(o *networking.ServiceEntry) { edit(o, b) })
	}
}

func (s bends) server(edit func(*networking.Server, bend)) func(bend) Variation {
	return func(b bend) Variation {
		return s.GatewayServer("", func(o *networking.Server) { edit(o, b) })
	}
}

func (s bends) routes(edit func(*networking.VirtualService, bend)) func(bend) Variation {
	return func(b bend) Variation {
		return s.VirtualService("", func(o *networking.VirtualService) { edit(o, b) })
	}
}

func (s bends) rule(name string, edit func(*networking.DestinationRule, bend)) func(bend) Variation {
	return func(b bend) Variation {
		return s.DestinationRule("", name, func(o *networking.DestinationRule) { edit(o, b) })
	}
}

func (s bends) service(edit func(*corev1.ServicePort, bend)) func(bend) Variation {
	return func(b bend) Variation {
		return s.GatewayServicePort("", func(o *corev1.ServicePort) { edit(o, b) })
	}
}

func (s bends) hop1(edit func(*networking.TrafficPolicy_PortTrafficPolicy, bend)) func(bend) Variation {
	return s.rule(s.Subject.Hop1Rule, func(o *networking.DestinationRule, b bend) { edit(s.Hop1SettingsOf(o, guidesPort), b) })
}

func (s bends) hop2(edit func(*networking.TrafficPolicy_PortTrafficPolicy, bend)) func(bend) Variation {
	return s.rule(s.Subject.Hop2Rule, func(o *networking.DestinationRule, b bend) { edit(s.Hop2Settings(o), b) })
}

func (s bends) toHop1(edit func(*networking.Destination, bend)) func(bend) Variation {
	return s.routes(func(o *networking.VirtualService, b bend) { edit(manifest.Destination(manifest.MeshRoute(o)), b) })
}

func (s bends) toHop2(edit func(*networking.Destination, bend)) func(bend) Variation {
	return s.routes(func(o *networking.VirtualService, b bend) { edit(manifest.Destination(manifest.GatewayRoute(o)), b) })
}

// alignmentMap is the guide's, line by line.
func alignmentMap(setup *Setup) []aligned {
	s := bends{setup}
	type port = networking.TrafficPolicy_PortTrafficPolicy
	return []aligned{
		{name: "external host: ServiceEntry hosts", status: 503, witness: gatewaySays, says: []string{noCluster},
			edit: s.entry(func(o *networking.ServiceEntry, b bend) { s.host(o.Hosts, b) })},
		{name: "external host: Gateway servers.hosts", status: 503, witness: gatewayShuts, says: []string{noChain},
			edit: s.server(func(o *networking.Server, b bend) { s.host(o.Hosts, b) })},
		{name: "external host: VirtualService hosts", status: 400, witness: bypassedSays, says: []string{plainHTTP},
			edit: s.routes(func(o *networking.VirtualService, b bend) { s.host(o.Hosts, b) })},
		{name: "external host: hop-1 rule, sni", status: 503, witness: gatewayShuts, says: []string{noChain},
			edit: s.hop1(func(p *port, b bend) { p.Tls.Sni = b.text(p.Tls.Sni) })},
		{name: "external host: hop-2 rule, host", status: 400, witness: partnerSays, says: []string{plainHTTP},
			edit: s.rule(s.Subject.Hop2Rule, func(o *networking.DestinationRule, b bend) { o.Host = b.text(o.Host) })},
		{name: "external host: hop-2 rule, sni", status: 503, witness: gatewaySays, says: []string{untrusted},
			edit: s.hop2(func(p *port, b bend) { p.Tls.Sni = b.text(p.Tls.Sni) })},
		{name: "external host: hop-2 rule, subjectAltNames", status: 503, witness: gatewaySays, says: []string{untrusted},
			edit: s.hop2(func(p *port, b bend) { s.host(p.Tls.SubjectAltNames, b) })},

		{name: "gateway: hop-1 rule, host", status: 503, witness: sidecarSays, says: []string{noCluster},
			edit: s.rule(s.Subject.Hop1Rule, func(o *networking.DestinationRule, b bend) { o.Host = b.text(o.Host) })},
		{name: "gateway: VirtualService hop 1, destination.host", status: 503, witness: sidecarSays, says: []string{noCluster},
			edit: s.toHop1(func(d *networking.Destination, b bend) { d.Host = b.text(d.Host) })},

		{name: "subset: hop-1 rule, subsets.name", status: 503, witness: sidecarSays, says: []string{noCluster},
			edit: s.rule(s.Subject.Hop1Rule, func(o *networking.DestinationRule, b bend) {
				subset := manifest.Subset(o, s.Subject.Subset)
				subset.Name = b.text(subset.Name)
			})},
		{name: "subset: VirtualService hop 1, destination.subset", status: 503, witness: sidecarSays, says: []string{noCluster},
			edit: s.toHop1(func(d *networking.Destination, b bend) { d.Subset = b.text(d.Subset) })},

		// The subset's cluster for the old port is gone, or stays without hosts:
		// istiod removes one of the old port's two clusters, by chance
		// (pilot/pkg/networking/core/cluster.go, deltaFromServices).
		{name: "ports: Service, port", status: 503, witness: sidecarSays, says: []string{noCluster, noHost},
			edit: s.service(func(p *corev1.ServicePort, b bend) { p.Port = int32(b.port(uint32(p.Port))) })},
		{name: "ports: Service, targetPort", status: 503, witness: sidecarSays, says: []string{connectionRefused},
			edit: s.service(func(p *corev1.ServicePort, b bend) {
				p.TargetPort = intstr.FromInt32(int32(b.port(uint32(p.TargetPort.IntVal))))
			})},
		// Where a Gateway of somebody else's still binds that port, the
		// connection is reset instead.
		{name: "ports: Gateway, port", status: 503, witness: sidecarSays, says: []string{connectionRefused, connectionReset},
			edit: s.server(func(o *networking.Server, b bend) { o.Port.Number = b.port(o.Port.Number) })},
		{name: "ports: VirtualService hop 2, match.port", status: 404, witness: gatewaySays, says: []string{noRoute},
			edit: s.routes(func(o *networking.VirtualService, b bend) {
				match := manifest.OnlyMatch(manifest.GatewayRoute(o))
				match.Port = b.port(match.Port)
			})},
		{name: "ports: hop-1 rule, portLevelSettings.port", status: 503, witness: gatewayShuts, says: []string{noChain},
			edit: s.hop1(func(p *port, b bend) { p.Port.Number = b.port(p.Port.Number) })},
		{name: "ports: VirtualService hop 1, destination.port", status: 503, witness: sidecarSays, says: []string{noCluster},
			edit: s.toHop1(func(d *networking.Destination, b bend) { d.Port.Number = b.port(d.Port.Number) })},
	}
}

// secretStrings is the last line of the guide's map. Each is slow: Envoy waits
// 15 s for a secret that does not come.
func secretStrings(setup *Setup) []aligned {
	s := bends{setup}
	// A Secret's own strings are broken for a Secret that the gateway has not
	// asked for before: istiod takes none back that it has once sent
	// (pilot/pkg/xds/sds.go, Generate leaves out what it does not find).
	secret := func(what string, number uint32, place func(bend, string) (namespace, name string)) aligned {
		name, header := s.Unique("aligned"), "x-secret-"+what
		port := func(credential string) Variation {
			return s.OtherPort("a port for "+header+", whose settings name a Secret", manifest.Port{Number: number, Target: uint32(s.Subject.ExternalPort), Header: header,
				Settings: func(p *networking.TrafficPolicy_PortTrafficPolicy) { p.Tls.CredentialName = credential }})
		}
		return aligned{
			name: "secret: Secret, " + what, status: 503, witness: gatewaySays, says: []string{notBySDS}, header: header, slow: true,
			besides: vary(port(s.Subject.Credential)),
			edit: func(b bend) Variation {
				in := s.CredentialSecret(name, s.Certificates.Credential)
				in.Namespace, in.Name = place(b, name)
				return manifest.Together("", manifest.Add("", in), port(name))
			},
		}
	}
	return []aligned{
		secret("name", 444, func(b bend, name string) (string, string) { return s.Subject.Gateway.Namespace, b.text(name) }),
		secret("namespace", 445, func(b bend, name string) (string, string) {
			if b.straight {
				return s.Subject.Gateway.Namespace, name
			}
			return s.Subject.Client.Namespace, name
		}),
		{name: "secret: hop-2 rule, credentialName", status: 503, witness: gatewaySays, says: []string{notBySDS}, slow: true,
			edit: s.hop2(func(p *networking.TrafficPolicy_PortTrafficPolicy, b bend) {
				p.Tls.CredentialName = b.text(p.Tls.CredentialName)
			})},
	}
}

// unmapped are strings of the guide's YAML that its map does not name.
func unmapped(setup *Setup) []aligned {
	s := bends{setup}
	return []aligned{
		{name: "VirtualService, gateways", status: 404, witness: gatewaySays, says: []string{noRoute},
			edit: s.routes(func(o *networking.VirtualService, b bend) { s.in(o.Gateways, s.gatewayRef(), b) })},
		{name: "VirtualService hop 2, match.gateways", status: 404, witness: gatewaySays, says: []string{noRoute},
			edit: s.routes(func(o *networking.VirtualService, b bend) {
				s.in(manifest.OnlyMatch(manifest.GatewayRoute(o)).Gateways, s.gatewayRef(), b)
			})},
		{name: "VirtualService hop 1, match.port", status: 400, witness: bypassedSays, says: []string{plainHTTP},
			edit: s.routes(func(o *networking.VirtualService, b bend) {
				match := manifest.OnlyMatch(manifest.MeshRoute(o))
				match.Port = b.port(match.Port)
			})},
		{name: "VirtualService hop 2, destination.host", status: 503, witness: gatewaySays, says: []string{noCluster},
			edit: s.toHop2(func(d *networking.Destination, b bend) { d.Host = b.text(d.Host) })},
		{name: "VirtualService hop 2, destination.port", status: 503, witness: gatewaySays, says: []string{noCluster},
			edit: s.toHop2(func(d *networking.Destination, b bend) { d.Port.Number = b.port(d.Port.Number) })},
		{name: "hop-2 rule, portLevelSettings.port", status: 400, witness: partnerSays, says: []string{plainHTTP},
			edit: s.hop2(func(p *networking.TrafficPolicy_PortTrafficPolicy, b bend) { p.Port.Number = b.port(p.Port.Number) })},
		{name: "ServiceEntry, ports.number", status: 503, witness: gatewaySays, says: []string{noCluster},
			edit: s.entry(func(o *networking.ServiceEntry, b bend) {
				p := manifest.EntryPort(o, uint32(s.Subject.ExternalPort))
				p.Number = b.port(p.Number)
			})},
		{name: "Gateway, selector", status: 503, witness: sidecarSays, says: []string{connectionRefused},
			edit: func(b bend) Variation {
				return s.Gateway("", func(o *networking.Gateway) { o.Selector["istio"] = b.text(o.Selector["istio"]) })
			}},
	}
}
