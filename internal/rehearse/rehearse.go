// Package rehearse runs the configuration of a mesh's proxies without a cluster: a
// sidecar and its egress gateways are real Envoys on loopback, and the partner is a TLS
// server made for them, which demands a client certificate. It sends requests and says
// what each witness saw; it judges nothing.
//
// The configuration is what istiod sends, whoever asked for it (internal/computed, or a
// cluster). What the rehearsal changes in it, it lists: addresses, binding, access logs,
// and where secrets, routes and endpoints come from. It must not import what asks a
// cluster.
package rehearse

import (
	"net/http"
	"time"

	"twohop/internal/envoy"
)

// Scene is one egress to rehearse.
type Scene struct {
	// Envoy is the program; func Envoy finds it.
	Envoy   string
	Sidecar Proxy
	// Gateways are all that the sidecar's configuration may lead to; usually one.
	Gateways []Proxy
	Partner  Partner
	Calls    []Call
	// Variations are tried in this order, each with every call; nil for all of them.
	Variations []Variation
	// Missing are the credentials that have no Secret, by the name that the
	// configuration asks for: "partner-client-credential" is both its certificate and
	// its CA, "partner-client-credential-cacert" the CA alone.
	Missing []string
	// TrustDomain is the mesh's; empty for cluster.local.
	TrustDomain string
	// Timeout is how long a call may take; 0 for three seconds.
	Timeout time.Duration
}

// Proxy is one proxy of the mesh.
type Proxy struct {
	// Name is its pod's; with the namespace it finds the pod among endpoints.
	Name, Namespace string
	Account         string // service account
	// IP is its pod's, where it is known: then endpoints are found by it, too.
	IP string
	// Services are those in front of a gateway.
	Services []Service
	// Dump is its config dump in Envoy's format, with clusters, listeners, routes and
	// endpoints.
	Dump []byte
}

// Service is a Kubernetes Service in front of a gateway, for configuration that leads to
// it by name and not by its endpoints.
type Service struct {
	Hosts []string    // names and addresses
	Ports map[int]int // port of the Service to port of the gateway
}

// Partner is what lies outside of the mesh.
type Partner struct {
	// Hosts are the partner's names; a "*" may lead. Empty for those of the calls. A
	// client whose SNI is none of Hosts and SANs gets a certificate for
	// default.partner.invalid.
	Hosts []string
	// SANs are the names in its certificate; empty for Hosts.
	SANs []string
	// Addresses are where it is reached. Empty: wherever the configuration says that one
	// of its hosts is.
	Addresses []string
	// TLSPorts are those on which it demands TLS and a client certificate. Empty: all
	// but PlainPorts.
	TLSPorts []int
	// PlainPorts are those on which it answers plaintext. Nil: port 80.
	PlainPorts []int
	// Lax says that it asks for no client certificate.
	Lax bool
}

// Call is one request of the application.
type Call struct {
	Host string
	Port int
	// Address is what the host resolves to for the application, where that matters to
	// the sidecar's listeners (a Service's, or one of istiod's DNS proxy).
	Address string
	// TLS says that the application encrypts by itself.
	TLS    bool
	Path   string // the rehearsal appends a token; empty for "/"
	Header http.Header
}

// Variation is a state of the world around the proxies.
type Variation string

// The variations. Each but Plain and Again takes something away, so that what depends on
// it shows.
const (
	Plain        Variation = "plain"
	WrongName    Variation = "wrong-name"    // the partner's certificate is of its CA, for another name
	WrongCA      Variation = "wrong-ca"      // the partner's certificate is of a CA that nobody trusts
	OtherClients Variation = "other-clients" // the partner trusts another CA for clients
	Again        Variation = "again"         // like plain: what the others have left behind
	GatewayAway  Variation = "gateway-away"  // nobody listens where the gateways were
)

// Variations lists them in the order in which they are tried.
func Variations() []Variation {
	return []Variation{Plain, WrongName, WrongCA, OtherClients, Again, GatewayAway}
}

// Change is one field in which a proxy runs with another configuration than it was given.
type Change struct {
	Kind     Kind
	Proxy    string // NAMESPACE/NAME
	Resource string // such as "cluster outbound|443||example.com"
	Field    string // empty for the whole resource
	Was, Is  string // JSON; empty for absent. An access log that was added is told in words.
}

// Kind says what a change is for.
type Kind string

// The kinds.
const (
	Address     Kind = "address"              // everything lies on loopback
	Destination Kind = "original destination" // no iptables: the PROXY protocol tells it, and the partner is there
	AccessLog   Kind = "access log"
	Secrets     Kind = "secrets"   // they come from the rehearsal
	Routes      Kind = "routes"    // they come from the rehearsal
	Endpoints   Kind = "endpoints" // they lie in the cluster, with addresses on loopback
	LeftOut     Kind = "left out"  // Outcome.Unknown says why
)

// Rejected is an update that Envoy refused.
type Rejected struct{ Proxy, Details string }

// Outcome is what the witnesses saw.
type Outcome struct {
	Changes  []Change
	Rejected []Rejected
	// Unknown is what the rehearsal cannot show of this configuration.
	Unknown []string
	// Assumed is what it took for granted.
	Assumed []string
	// Places says what the loopback ports stand for that occur in logs.
	Places  map[int]string
	Results []Result
	// Ready is how long it took until both proxies could work, Took the whole scene.
	Ready, Took time.Duration
}

// Result is one call in one variation.
type Result struct {
	Call      Call
	Variation Variation
	Token     string // the last segment of the path

	// Status is 0 where no response came; then Error says why.
	Status int
	Error  string
	Body   []byte // its first kilobyte
	Took   time.Duration

	Sidecar []Logged // its lines for the call, in order
	Gateway []Logged // those of all gateways
	// Partner has the requests that arrived there, Handshakes the connections, those
	// too that came to nothing.
	Partner    []Seen
	Handshakes []Handshake
}

// Logged is a line of a proxy's log.
type Logged struct {
	Proxy string
	// By is "http", "tcp", or "listener" for a connection that no filter chain took or
	// that failed in its handshake.
	By  string
	Raw []byte
	envoy.AccessLog
}

// Place is where the partner was reached.
type Place string

// The places.
const (
	AtTLS       Place = "tls"       // a port of the partner for TLS
	AtPlain     Place = "plain"     // a port of the partner for plaintext
	AtDirect    Place = "direct"    // where the application had called, past every gateway
	AtElsewhere Place = "elsewhere" // another host outside of the mesh than the partner
)

// Seen is one request that arrived at the partner.
type Seen struct {
	At Place
	// Peer is the caller's address and port: a proxy's log has it as
	// upstream_local_address.
	Peer string
	Raw  []byte // in the format of the catalogue's nginx
	envoy.PartnerLog
}

// Handshake is one connection to the partner.
type Handshake struct {
	At   Place
	Peer string
	// TLS is false for a connection that began in plaintext, or not at all.
	TLS  bool
	SNI  string
	ALPN []string // what the client offered
	// DN, Serial and Fingerprint are the client certificate's; empty without one.
	DN, Serial, Fingerprint string
	// Error says why the handshake failed, in the partner's words: a certificate that
	// the client did not like shows as the client's alert.
	Error string
}

// Flags are the response flags that some lines carry, in order.
func Flags(lines []Logged) (flags []string) {
	for _, l := range lines {
		flags = append(flags, l.ResponseFlags...)
	}
	return flags
}

// Reached reports whether the partner answered the call as one that it accepts, with 200:
// for TLS, after it has verified the client's certificate.
func (r Result) Reached() bool {
	for _, s := range r.Partner {
		if s.Status == http.StatusOK && s.At != AtElsewhere {
			return true
		}
	}
	return false
}

// ThroughGateway reports whether each request at the partner came over a connection that
// a gateway logged as its own; false where none arrived. Other hosts do not count.
func (r Result) ThroughGateway() bool {
	arrived := false
	for _, s := range r.Partner {
		if s.At == AtElsewhere {
			continue
		}
		if !logged(r.Gateway, s.Peer) {
			return false
		}
		arrived = true
	}
	return arrived
}

func logged(lines []Logged, peer string) bool {
	for _, l := range lines {
		if l.UpstreamLocalAddress == peer {
			return true
		}
	}
	return false
}
