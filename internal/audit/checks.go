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
	"01": {"One DestinationRule applies", "If several DestinationRules match a host, the oldest wins. One that the proxy cannot see is silently ignored.", "T1-merge"},
	"02": {"The Gateway matches the gateway pods and the route's protocol", "A Gateway server with protocol TLS or TCP forwards bytes and ignores http routes.", "A-align-rest"},
	"03": {"What the sidecar sends is what the gateway expects", "SNI, port and host must match across the DestinationRule, Service, Gateway and VirtualService. A mismatch resets the connection or returns 404.", "A-align"},
	"04": {"The gateway's credential exists", "Without its Secret, the gateway cannot connect to the partner, and calls fail with 503.", "A-align-secret"},
	"05": {"The gateway's service account may list secrets", "istiod serves a Secret only to a proxy whose account may list secrets in its namespace.", "G2-rbac"},
	"06": {"The partner is verified with a known CA", "Without a CA, the gateway accepts any server certificate or rejects all of them.", "H2-secret-ca"},
	"07": {"Only the gateway sees hop 2's DestinationRule", "A sidecar that sees a DestinationRule with credentialName drops its tls settings. Traffic that bypasses the gateway then leaves in plaintext.", "H2-sidecar-plaintext"},
	"08": {"The partner's name is verified", "With sni set and no subjectAltNames, the gateway accepts any certificate from that CA.", "H2-no-san"},
	"09": {"The partner's certificate is verified", "With insecureSkipVerify, the gateway accepts any certificate.", "H2-san-pin"},
	"10": {"The gateway sends the SNI that the partner expects", "The partner selects its certificate, and often the tenant, by SNI.", "H2-sni-omitted"},
	"11": {"Each hop is encrypted once", "Plaintext sent to a TLS port fails and exposes the request. TLS inside TLS fails.", "H1-unpaired"},
	"12": {"ServiceEntries of the host agree", "Istio merges the ServiceEntries for a host from every namespace that exports one.", "F-se-collision"},
	"13": {"Every route to the host goes through the gateway", "A call that bypasses the gateway can still return 200.", "G4"},
	"14": {"Callers can reach only registered hosts", "With ALLOW_ANY, a call that matches no route bypasses the gateway and leaves as the application sent it.", "T3-passthrough"},
	"15": {"Only the gateway has network access to the outside", "A pod can bypass its sidecar. It cannot bypass a NetworkPolicy that the CNI plugin enforces.", ""},
	"16": {"Callers' traffic goes through their sidecar", "Traffic that is excluded from capture bypasses the sidecar and the gateway.", ""},
	"17": {"The caller's Sidecar resource includes the gateway and the host", "If a Sidecar resource hides either one, the caller has no route to the gateway.", "T3-real-lock-4"},
	"18": {"Every route leads to a cluster that exists", "A route to a missing cluster returns 503 (response flag NC).", "A-align"},
	"19": {"Hop 1 is mutual TLS at both ends", "Set ISTIO_MUTUAL in both the DestinationRule and the Gateway.", "G1"},
	"20": {"The gateway authorizes its callers", "Without an AuthorizationPolicy, every workload in the mesh can use the partner's client certificate.", "H1-identity-2"},
	"21": {"Certificates are valid and match their keys", "The partner rejects an expired client certificate.", "F-expired"},
	"22": {"Connections are renewed after a certificate is rotated", "An open connection keeps using the old certificate until it closes.", "H2-rotation"},
	"23": {"connectionPool settings apply where they are written", "A port-level or subset trafficPolicy replaces the whole connectionPool of the level above.", "P-port-replaces"},
	"24": {"Idle connections close before a firewall drops them", "If a firewall drops an idle connection silently, both ends keep waiting.", "P-idle-keepalive"},
	"25": {"Each hop uses an HTTP version that the other end supports", "Forcing HTTP/2 on a partner that supports only HTTP/1.1 breaks every call.", "F-h2"},
	"26": {"Each call reaches the partner once", "Retries on both hops multiply, including those of non-idempotent requests.", "F-retry-count-2"},
	"27": {"The gateway can find the partner's address", "The ServiceEntry's resolution decides this. With NONE, the gateway connects to the address it was called at: its own.", "F-dns-stale"},
	"28": {"Only one Gateway and one VirtualService exist for the host", "If two exist for one host, either the oldest applies or the outcome is undefined.", ""},
	"29": {"Both proxies run the configuration that istiod sent", "A proxy that rejects an update keeps its previous configuration.", ""},
	"30": {"The next Istio version generates the same proxy configuration", "An upgrade may change a default.", ""},
	"31": {"The API server accepts every object unchanged", "A rejected object has no effect. Depending on the client, an unknown field is rejected or dropped.", "V-reject"},
	"32": {"Every object has an effect", "An object that nothing refers to often has a typo in a name.", "T2-typo-hop2"},
	"33": {"Requests reach the partner unchanged", "A fault, redirect or direct response means the partner never answers the request.", ""},
	"35": {"Every object that the channel refers to exists", "Kubernetes does not start a pod whose service account is missing.", ""},
	"36": {"The caller's identity stays in the mesh", "The gateway sends the caller's SPIFFE identity to the partner in x-forwarded-client-cert.", "H2-xfcc"},
	"34": {"No object is defined twice", "kubectl apply uses the last definition.", ""},
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
