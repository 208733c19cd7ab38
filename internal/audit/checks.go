package audit

import "sort"

// kind is what all findings of a check share.
type kind struct {
	title string
	why   string
	claim string // of the catalogue
}

// kinds are the checks, by id: 01 to 30 as users meet them, and from 31 on what an
// input shows before any proxy is asked.
var kinds = map[string]kind{
	"01": {"One DestinationRule is in force", "Of several rules for one host the oldest wins, and a rule that the proxy does not see is ignored in silence.", "T1-merge"},
	"02": {"The Gateway's server and the route are of one kind", "A server of protocol TLS or TCP forwards bytes; an http route on it is ignored.", "A-align-rest"},
	"03": {"What the sidecar sends is what the gateway expects", "Server name, port and host have to agree in four objects. One that does not resets the connection or answers 404.", "A-align"},
	"04": {"The gateway's credential exists", "Envoy keeps a cluster without its secret from connecting, and the call fails with 503.", "A-align-secret"},
	"05": {"The gateway's service account may list secrets", "istiod serves a Secret only to a proxy whose account may list secrets in its namespace.", "G2-rbac"},
	"06": {"The partner is verified with a known CA", "Without a CA the gateway accepts any server, or none.", "H2-secret-ca"},
	"07": {"The rule of hop 2 stays off the sidecars", "A sidecar that sees a rule with credentialName drops its TLS: whatever bypasses the gateway leaves in plaintext.", "H2-sidecar-plaintext"},
	"08": {"The partner's name is verified", "With sni set and no subjectAltNames, any certificate of that CA will do.", "H2-no-san"},
	"09": {"The partner's certificate is verified", "insecureSkipVerify accepts anybody who answers.", "H2-san-pin"},
	"10": {"The partner gets the right server name", "The partner chooses its certificate, and often its tenant, by the server name.", "H2-sni-omitted"},
	"11": {"Each hop is encrypted once", "Plaintext to a TLS port fails or leaks; TLS in TLS fails.", "H1-unpaired"},
	"12": {"ServiceEntries of the host agree", "Entries of one host are merged over all namespaces that export them.", "F-se-collision"},
	"13": {"Every route to the host leads through the gateway", "A call that goes around the gateway may still get a 200.", "G4"},
	"14": {"Callers reach only what is registered", "Under ALLOW_ANY a call that no route takes leaves in the clear.", "T3-passthrough"},
	"15": {"The network lets only the gateway out", "Istio's settings can be bypassed by a pod; a NetworkPolicy cannot, if the network enforces it.", ""},
	"16": {"Callers' traffic passes their sidecar", "What is excluded from capture leaves without any proxy.", ""},
	"17": {"The caller's scope shows the gateway and the host", "A Sidecar resource that hides one of them takes the route away.", "T3-real-lock-4"},
	"18": {"Every cluster that a route names exists", "A route to an absent cluster answers 503 with the flag NC.", "A-align"},
	"19": {"Hop 1 is mutual TLS at both ends", "ISTIO_MUTUAL has to be set in the DestinationRule and in the Gateway.", "G1"},
	"20": {"The gateway says who may leave", "Without an AuthorizationPolicy every workload of the mesh may use the client certificate.", "H1-identity-2"},
	"21": {"Certificates are valid and match their keys", "An expired client certificate is refused by the partner.", "F-expired"},
	"22": {"Connections do not outlive a certificate", "An existing connection keeps the old certificate for as long as it lasts.", "H2-rotation"},
	"23": {"Limits act where they are written", "A port or subset entry replaces the whole pool of the level above it.", "P-port-replaces"},
	"24": {"Idle connections end before the network ends them", "A firewall that forgets a connection leaves both ends waiting.", "P-idle-keepalive"},
	"25": {"Both hops speak an HTTP version that the other end knows", "HTTP/2 forced on a partner that speaks HTTP/1.1 breaks every call.", "F-h2"},
	"26": {"A call reaches the partner once", "Retries of both hops multiply, also for methods that must not be repeated.", "F-retry-count-2"},
	"27": {"The gateway can find the partner's address", "resolution decides how: NONE keeps the address that the gateway itself was called at.", "F-dns-stale"},
	"28": {"One Gateway and one VirtualService are for the host", "Of two for one host, the oldest or neither is in force.", ""},
	"29": {"Both proxies have what istiod sent them", "A proxy that refused an update goes on with the configuration it had.", ""},
	"30": {"The next Istio line gives the proxies the same", "An upgrade may change a default.", ""},
	"31": {"The API server stores every object as it is written", "What it refuses is not in force; what it does not know is dropped by some clients.", "V-reject"},
	"32": {"Every object has an effect", "An object that nothing refers to is often one with a mistake in a name.", "T2-typo-hop2"},
	"33": {"Requests are not changed on their way", "A fault, a redirect or an answer of the proxy's own takes the partner's place.", ""},
	"35": {"Every name that the channel's objects use exists", "A pod whose service account does not exist is not started.", ""},
	"36": {"The partner does not learn who called", "The gateway forwards the caller's identity in x-forwarded-client-cert.", "H2-xfcc"},
	"34": {"No object is given twice", "Applied, the later one wins.", ""},
}

// Kind is what a check is about.
type Kind struct{ ID, Title, Why, Claim string }

// Kinds lists the checks, in order.
func Kinds() (list []Kind) {
	for id, k := range kinds {
		list = append(list, Kind{id, k.title, k.why, k.claim})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].ID < list[j].ID })
	return list
}
