// Package subject names what is judged: workloads, hosts, ports and the values
// that must land. Every check takes a Subject and hard-codes no name, so the
// same check can judge a lab of ours or somebody's own namespace. It is data, and imports nothing
// of the project.
package subject

import (
	"fmt"
	"strings"
	"time"
)

// DNSTTL is how long the cluster's DNS records live: CoreDNS' own default.
// kubeadm's Corefile says 30 s, which claims about a partner that moves would
// wait for several times.
const DNSTTL = 5 * time.Second

// LabLabel is on the namespaces of a lab, with its number: by it a mesh tells its
// namespaces from those of the others.
const LabLabel = "twohop/lab"

// Role is the part that a pod plays in the subject.
type Role string

// The roles.
const (
	Sidecar       Role = "sidecar" // of the application's pod
	Gateway       Role = "gateway"
	SecondSidecar Role = "second-sidecar"
	SecondGateway Role = "second-gateway"
	Partner       Role = "partner"
	Istiod        Role = "istiod"
)

// ExtraGateway is the role of a gateway pod without traffic, by its name.
func ExtraGateway(pod string) Role { return Role("gateway-pod/" + pod) }

// ExtraGatewayPod is the name of the pod that plays the role of an ExtraGateway.
func (r Role) ExtraGatewayPod() (string, bool) { return strings.CutPrefix(string(r), "gateway-pod/") }

// Workload is a Deployment, one of whose pods is looked at.
type Workload struct {
	Namespace      string
	Deployment     string
	ServiceAccount string
	// Container is where requests are made from; Proxy is Envoy's container.
	Container, Proxy string
}

// String names the workload as kubectl and istioctl take it.
func (w Workload) String() string {
	return "deploy/" + w.Deployment + " -n " + w.Namespace
}

// Pool is what a connectionPool of the subject has to become in Envoy.
type Pool struct {
	MaxConnections                   uint32
	ConnectTimeout                   time.Duration
	KeepaliveTime, KeepaliveInterval time.Duration
	KeepaliveProbes                  uint32
}

// ControlPlane is the istiod of a mesh.
type ControlPlane struct {
	// Namespace is where it runs, and the mesh's root namespace.
	Namespace string
	// Revision is what pods say that it injects (istio.io/rev); empty: the default one.
	Revision string
}

// Deployment is istiod's, as Istio's charts name it.
func (c ControlPlane) Deployment() string {
	if c.Revision == "" {
		return "istiod"
	}
	return "istiod-" + c.Revision
}

// Subject is one double-mTLS egress: application, gateway, partner.
type Subject struct {
	// Lab numbers it among the subjects of a cluster; each lives in a mesh of its own.
	Lab                      int
	ControlPlane             ControlPlane
	Client, Gateway, Partner Workload
	// Unbound is a gateway like Gateway, in a namespace of its own, whose
	// service account nobody gave a Role.
	Unbound Workload
	// TrustDomain is the mesh's; SPIFFE ids start with it.
	TrustDomain string
	// Domain is istiod's --domain, the suffix of Service names in its registry.
	Domain string
	// GatewayService and GatewayPort are hop 1's destination.
	GatewayService string
	GatewayPort    int
	Subset         string
	// ExternalHost is the partner's name; AppPort is what the application
	// calls, ExternalPort where hop 2 goes.
	ExternalHost          string
	AppPort, ExternalPort int
	PartnerService        string
	// Credential is the Secret with the client certificate, in the gateway's namespace.
	Credential string
	// Names of the Istio objects, all in the gateway's namespace.
	ServiceEntry, GatewayName, Hop1Rule, Hop2Rule, VirtualService string
	Hop1Pool, Hop2Pool                                            Pool
}

// Default is the subject that the fixtures describe.
func Default() Subject {
	keepalive := Pool{ConnectTimeout: 3 * time.Second, KeepaliveTime: 300 * time.Second, KeepaliveInterval: 30 * time.Second, KeepaliveProbes: 3}
	hop1, hop2 := keepalive, keepalive
	hop1.MaxConnections, hop2.MaxConnections = 77, 83
	return Subject{
		Lab:            1,
		ControlPlane:   ControlPlane{Namespace: "istio-system"},
		Client:         Workload{Namespace: "twohop-app", Deployment: "client", ServiceAccount: "client", Container: "app", Proxy: "istio-proxy"},
		Gateway:        Workload{Namespace: "twohop-egress", Deployment: "partner-egressgateway", ServiceAccount: "partner-egressgateway", Proxy: "istio-proxy"},
		Unbound:        Workload{Namespace: "twohop-unbound", Deployment: "partner-egressgateway", ServiceAccount: "partner-egressgateway", Proxy: "istio-proxy"},
		Partner:        Workload{Namespace: "twohop-partner", Deployment: "partner", Container: "nginx"},
		TrustDomain:    "cluster.local",
		Domain:         "cluster.local",
		GatewayService: "partner-egressgateway",
		GatewayPort:    8443,
		Subset:         "partner",
		ExternalHost:   "api.partner.example.com",
		AppPort:        80, ExternalPort: 443,
		PartnerService: "partner",
		Credential:     "partner-client-credential",
		ServiceEntry:   "partner-api", GatewayName: "egress-partner",
		Hop1Rule: "egressgateway-partner", Hop2Rule: "partner-originate-mtls", VirtualService: "partner-via-egress",
		Hop1Pool: hop1, Hop2Pool: hop2,
	}
}

// Numbered is the default subject in namespaces, under an external host and in a mesh
// of its own, so that several labs live in one cluster and do not see each other.
// Number 1 is the default.
func Numbered(n int) Subject {
	s := Default()
	if n > 1 {
		s.Lab = n
		s.ControlPlane = ControlPlane{Namespace: fmt.Sprintf("%s-%d", s.ControlPlane.Namespace, n), Revision: fmt.Sprintf("lab-%d", n)}
	}
	for old, renamed := range Renames(n) {
		for _, field := range []*string{&s.Client.Namespace, &s.Gateway.Namespace, &s.Unbound.Namespace, &s.Partner.Namespace, &s.ExternalHost} {
			if *field == old {
				*field = renamed
			}
		}
	}
	return s
}

// Renames maps the names in the fixtures to those of lab n.
func Renames(n int) map[string]string {
	if n <= 1 {
		return nil
	}
	names := map[string]string{}
	for _, ns := range []string{"twohop-app", "twohop-egress", "twohop-unbound", "twohop-partner"} {
		names[ns] = fmt.Sprintf("%s-%d", ns, n)
	}
	names["api.partner.example.com"] = fmt.Sprintf("api.partner-%d.example.com", n)
	return names
}

// SecondClient is another application beside the client's, under a service
// account of its own.
func (s Subject) SecondClient() Workload {
	w := s.Client
	w.Deployment, w.ServiceAccount = "second-"+w.Deployment, "second-"+w.ServiceAccount
	return w
}

// SecondGateway is another pod of the gateway.
func (s Subject) SecondGateway() Workload {
	w := s.Gateway
	w.Deployment = "second-" + w.Deployment
	return w
}

// Namespaces of the subject: the application's, the gateways', the partner's.
func (s Subject) Namespaces() []string {
	return []string{s.Client.Namespace, s.Gateway.Namespace, s.Unbound.Namespace, s.Partner.Namespace}
}

// GatewayFQDN is the gateway Service's name in istiod's registry.
func (s Subject) GatewayFQDN() string {
	return fmt.Sprintf("%s.%s.svc.%s", s.GatewayService, s.Gateway.Namespace, s.Domain)
}

// Hop1Cluster is Envoy's name for the sidecar's cluster of hop 1.
func (s Subject) Hop1Cluster() string {
	return ClusterName(s.GatewayPort, s.Subset, s.GatewayFQDN())
}

// Hop2Cluster is Envoy's name for the gateway's cluster of hop 2.
func (s Subject) Hop2Cluster() string { return ClusterName(s.ExternalPort, "", s.ExternalHost) }

// BypassCluster is the sidecar's own cluster for the port that the application
// calls: where the call goes when no mesh route bends it to the gateway.
func (s Subject) BypassCluster() string { return ClusterName(s.AppPort, "", s.ExternalHost) }

// ClusterName is Istio's name for an outbound cluster
// (pilot/pkg/model, BuildSubsetKey).
func ClusterName(port int, subset, host string) string {
	return fmt.Sprintf("outbound|%d|%s|%s", port, subset, host)
}

// SPIFFE is a workload's identity in the mesh.
func (s Subject) SPIFFE(w Workload) string {
	return fmt.Sprintf("spiffe://%s/ns/%s/sa/%s", s.TrustDomain, w.Namespace, w.ServiceAccount)
}

// URL is what the application calls, for a path that carries a token.
func (s Subject) URL(path string) string {
	host := s.ExternalHost
	if s.AppPort != 80 {
		host = fmt.Sprintf("%s:%d", host, s.AppPort)
	}
	return "http://" + host + "/" + strings.TrimPrefix(path, "/")
}
