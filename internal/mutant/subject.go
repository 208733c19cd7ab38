package mutant

import (
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	selector "istio.io/api/type/v1beta1"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	istiosecurity "istio.io/client-go/pkg/apis/security/v1"
	istiotelemetry "istio.io/client-go/pkg/apis/telemetry/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/manifest"
	"twohop/internal/subject"
)

type port = networking.TrafficPolicy_PortTrafficPolicy

// Reasons that several mutants plant.
const (
	refused503 = "HTTP status: expected 200, saw 503"
	refused400 = "HTTP status: expected 200, saw 400"
)

func hop1(e *manifest.Editor) ([]Mutant, error) {
	edit := func(name string, edit func(*port), turns ...[]Kill) Mutant {
		return fault(Fixtures, e.Hop1Port(name, edit), turns...)
	}
	return []Mutant{
		edit("hop 1's rule has another SNI", func(p *port) { p.Tls.Sni = "elsewhere.example.com" },
			kills("SNI: expected .*saw elsewhere.example.com", "G1"),
			kills(refused503, "G2", "G3", "H1-domain", "H1-protocol"),
			kills("connections of hop 1", "H1-http")),
		edit("hop 1's rule disables TLS", func(p *port) { p.Tls = &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_DISABLE} },
			kills("TLS transport socket: expected true, saw false", "G1")),
		edit("hop 1's rule pins another gateway's identity", func(p *port) { p.Tls.SubjectAltNames = []string{"spiffe://cluster.local/ns/elsewhere/sa/nobody"} },
			kills("server identity, filled in by istiod: expected .*saw .*nobody", "G1"), kills(refused503, "G2", "H2-xfcc")),
		edit("hop 1's maxConnections is one more", func(p *port) { p.ConnectionPool.Tcp.MaxConnections++ },
			kills("maxConnections.*expected 77, saw 78", "G3", "H1-per-pod", "P-wrong-proxy-2")),
		edit("hop 1's keepalive is gone", func(p *port) { p.ConnectionPool.Tcp.TcpKeepalive = nil },
			kills("tcpKeepalive time: expected 300s, saw absent", "G3"),
			kills("hop 1, time to the next keepalive probe: expected .*saw absent", "P-keepalive-socket")),
		edit("hop 1's connectTimeout is gone", func(p *port) { p.ConnectionPool.Tcp.ConnectTimeout = nil },
			kills("connectTimeout: expected 3s, saw 10s", "G3")),
		edit("hop 1 has http settings that the subject does not set", func(p *port) {
			p.ConnectionPool.Http = &networking.ConnectionPoolSettings_HTTPSettings{MaxRequestsPerConnection: 100}
		}, kills("settings that no rule asks for: expected empty, saw maxRequestsPerConnection 100", "G3")),
		fault(Fixtures, e.Hop1DestinationRule("hop 1's subset has another name", func(dr *networking.DestinationRule) {
			manifest.Subset(dr, e.Subject.Subset).Name = "elsewhere"
		}), kills("TLS transport socket: expected true, saw false", "G1"), kills(refused503, "G2"), kills("present: expected true, saw false", "T2-typo-hop1")),
		fault(Fixtures, e.GatewayServer("the Gateway asks for no client certificate", func(s *networking.Server) {
			s.Tls = &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_SIMPLE, CredentialName: e.Subject.Credential}
		}), kills("requires a client certificate: expected true, saw (absent|false)", "G1", "H1-unpaired")),
		fault(Fixtures, e.GatewayServer("the Gateway serves another host", func(s *networking.Server) { s.Hosts = []string{"elsewhere.example.com"} }),
			kills("present: expected true, saw false", "G1"), kills("HTTP status: expected (200, saw (503|404)|404, saw 503)", "G2", "H1-host-align")),
	}, nil
}

func hop2(e *manifest.Editor) ([]Mutant, error) {
	edit := func(name string, edit func(*port), turns ...[]Kill) Mutant {
		return fault(Fixtures, e.Hop2Port(name, edit), turns...)
	}
	return []Mutant{
		edit("hop 2 pins no server name", func(p *port) { p.Tls.SubjectAltNames = nil },
			kills("server names accepted: expected .*saw (absent|empty)", "G2"), kills("HTTP status: expected 503, saw 200", "H2-san-pin")),
		edit("hop 2 pins another server name", func(p *port) { p.Tls.SubjectAltNames = []string{"elsewhere.example.com"} },
			kills("server names accepted: expected .*saw exact:elsewhere.example.com", "G2"), kills(refused503, "G1", "H1-identity", "H1-identity-2")),
		edit("hop 2 accepts a server of an unknown CA", func(p *port) {
			p.Tls.InsecureSkipVerify, p.Tls.SubjectAltNames = wrapperspb.Bool(true), nil
		},
			kills("(accepts a server of an unknown CA|CA by SDS|server names accepted): expected", "G2")),
		edit("hop 2's SNI is another host", func(p *port) { p.Tls.Sni = "elsewhere.example.com" }, kills(refused503+"|SNI of hop 2", "G2")),
		edit("hop 2's maxConnections is one less", func(p *port) { p.ConnectionPool.Tcp.MaxConnections-- },
			kills("maxConnections.*expected .*83.*saw .*82", "G3", "P-wrong-proxy", "F-two-gateways", "P-port-replaces", "H2-export", "H2-export-2", "H2-sidecar-plaintext", "T1-merge", "T1-export")),
		edit("hop 2's keepalive is gone", func(p *port) { p.ConnectionPool.Tcp.TcpKeepalive = nil },
			kills("hop 2, time to the next keepalive probe: expected .*saw absent", "P-keepalive-socket")),
		edit("hop 2's connectTimeout is 2s", func(p *port) { p.ConnectionPool.Tcp.ConnectTimeout.Seconds = 2 },
			kills("connectTimeout: expected 3s, saw 2s", "G3", "P-connect-timeout")),
		edit("hop 2 opens a connection for each request", func(p *port) {
			p.ConnectionPool.Http = &networking.ConnectionPoolSettings_HTTPSettings{MaxRequestsPerConnection: 1}
		},
			kills("settings that no rule asks for: expected empty, saw maxRequestsPerConnection 1", "G3"),
			kills("number of connections: expected 1", "H2-rotation"),
			kills("next connection", "P-max-duration"),
			kills("partner: connections used", "P-not-retroactive"),
			kills("partner's connections: expected 1", "H2-rotation-bound")),
		fault(Fixtures, e.Hop2DestinationRule("hop 2's rule is seen by every proxy", func(dr *networking.DestinationRule) { dr.ExportTo = []string{"*"} }),
			kills("maxConnections: expected 4294967295, saw 83", "G3", "P-wrong-proxy"), kills("DestinationRule: expected empty, saw", "H2-export")),
		fault(Fixtures, e.Hop2DestinationRule("hop 2's rule selects the gateway's workload", func(dr *networking.DestinationRule) {
			dr.WorkloadSelector = &selector.WorkloadSelector{MatchLabels: map[string]string{"app": e.Subject.Gateway.Deployment}}
		}), kills("messages about hop 2's rule", "F-analyze-blind", "F-analyze-noise")),
	}, nil
}

func routes(e *manifest.Editor) ([]Mutant, error) {
	s := e.Subject
	return []Mutant{
		fault(Fixtures, e.VirtualService("the gateway's route mirrors each request to the partner", func(vs *networking.VirtualService) {
			r := manifest.GatewayRoute(vs)
			r.Mirror = manifest.Destination(r).DeepCopy()
		}), kills(`logged the call \w+ 2 times|requests of this token.*saw`, "G1", "G2", "G2-control", "F-order", "F-retry-count", "F-retry-count-2")),
		fault(Fixtures, e.VirtualService("hop 1's calls go around the gateway", func(vs *networking.VirtualService) {
			r := manifest.MeshRoute(vs)
			around := &networking.HTTPRouteDestination{Weight: 100, Destination: &networking.Destination{Host: s.ExternalHost, Port: &networking.PortSelector{Number: uint32(s.AppPort)}}}
			r.Route = []*networking.HTTPRouteDestination{around}
		}), kills("upstream cluster: expected|"+refused400, "G1", "G2")),
		fault(Fixtures, e.VirtualService("the VirtualService has no mesh route", func(vs *networking.VirtualService) {
			manifest.DropRoute(vs, manifest.MeshRouteName)
		}), kills(`upstream cluster: expected .*saw outbound.80|`+refused400, "G1", "G2", "G3")),
		fault(Fixtures, e.VirtualService("the gateway's route leads to port 80", func(vs *networking.VirtualService) {
			manifest.Destination(manifest.GatewayRoute(vs)).Port.Number = uint32(s.AppPort)
		}),
			kills(refused400, "G1", "G2", "H2-xfcc", "H1-sni-align", "H1-sni-omitted", "T2-short", "T2-typo-hop2", "T3-real-lock-3", "T3-real-lock-4"),
			kills(refused503, "T3-80-hack", "T3-80-hack-2"), // whose ServiceEntry has no port 80
			kills("gateway: upstream cluster: expected", "P-default", "P-subset-replaces", "P-subset-replaces-2", "P-subset-replaces-3")),
		fault(Fixtures, e.ServiceEntry("the ServiceEntry does not register port 80", func(se *networking.ServiceEntry) {
			manifest.DropEntryPort(se, uint32(s.AppPort))
		}),
			kills("upstream cluster: expected .*saw (PassthroughCluster|BlackHoleCluster)", "G4", "T3-se-port"),
			kills("did not flip|upstream cluster|route", "T3-real-lock", "T3-real-lock-2")),
		fault(Fixtures, e.ServiceEntry("the ServiceEntry's port 80 leads to the partner's plaintext port", func(se *networking.ServiceEntry) {
			manifest.EntryPort(se, uint32(s.AppPort)).TargetPort = 80
		}), kills("HTTP status: expected 400, saw 200", "G4", "T3-registry-only", "T3-real-lock")),
		fault(Fixtures, manifest.Add("another rule for the gateway's Service lies in the application's namespace", &istio.DestinationRule{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.Client.Namespace, Name: "foreign"},
			Spec:       networking.DestinationRule{Host: s.GatewayFQDN(), Subsets: []*networking.Subset{{Name: s.Subset}}},
		}), kills("TLS transport socket: expected true, saw false", "G1")),
		fault(Fixtures, e.ServiceEntry("the external host has a second endpoint with the same certificate", func(se *networking.ServiceEntry) {
			other := se.Endpoints[0].DeepCopy()
			other.Ports = map[string]uint32{"tls": 8445}
			se.Endpoints = append(se.Endpoints, other)
		}), kills("addresses: expected", "G2")),
	}, nil
}

func policies(e *manifest.Editor) ([]Mutant, error) {
	s := e.Subject
	// Without a rule an ALLOW policy lets nobody through.
	deny := &istiosecurity.AuthorizationPolicy{ObjectMeta: e.InGateway("deny-all"), Spec: security.AuthorizationPolicy{}}
	silent := func(namespace string) *istiotelemetry.Telemetry {
		return &istiotelemetry.Telemetry{
			ObjectMeta: metav1.ObjectMeta{Name: "no-logs", Namespace: namespace},
			// disabled: true does nothing to a log that meshConfig.accessLogFile asks for.
			Spec: telemetry.Telemetry{AccessLogging: []*telemetry.AccessLogging{{
				Providers: []*telemetry.ProviderRef{{Name: "envoy"}},
				Filter:    &telemetry.AccessLogging_Filter{Expression: "response.code == 999"},
			}}},
		}
	}
	fresh := func(name string, plant manifest.Variation, turns ...[]Kill) Mutant {
		m := fault(Mesh, plant, turns...)
		m.Name = name
		m.Plant = append([]manifest.Variation{e.FreshHop1("one request per connection of hop 1")}, m.Plant...)
		return m
	}
	return []Mutant{
		fault(RBAC, withRole(s.Unbound, "the gateway that lacks the Role has it"), kills("HTTP status: expected 503, saw 200", "G2-rbac")),
		fault(RBAC, manifest.Remove("the gateway's credential does not exist", e.SecretNamed(s.Credential)),
			kills("has the secret kubernetes://"+s.Credential, "H2-rbac-verbs", "H2-rbac-names")),
		fresh("the gateway admits nobody", manifest.Add("an AuthorizationPolicy that allows nothing", deny), kills("HTTP status: expected 200, saw 403", "G1", "G2")),
		fresh("the gateway logs nothing", manifest.Add("a Telemetry without access logs", silent(s.Gateway.Namespace)), kills("the log of .*gateway|later line", "G1", "G2", "G2-control", "G4")),
		fault(Mesh, manifest.Add("the sidecar logs nothing", silent(s.Client.Namespace)), kills("the line of the probe", "G1", "G2", "G2-control", "G4")),
	}, nil
}

// withRole gives a gateway a service account that may read Secrets: another one,
// because istiod remembers for a minute that its own may not.
func withRole(gateway subject.Workload, change string) manifest.Variation {
	const account = "may-read-secrets"
	return manifest.Together(change,
		manifest.Add("", &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: account}}),
		manifest.Allow("", gateway.Namespace, account, rbacv1.PolicyRule{Verbs: []string{"get", "watch", "list"}}),
		manifest.Edit("", gateway.Namespace, gateway.Deployment, func(d *appsv1.Deployment) { d.Spec.Template.Spec.ServiceAccountName = account }))
}
