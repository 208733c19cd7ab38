package claim

import "time"

// hop1 is the path from the application's sidecar to the egress gateway.
var hop1 = []Claim{
	{
		ID: "H1-unpaired", Chapter: Hop1, Section: "§2.1", Expected: Supported,
		Statement: "With the Gateway on ISTIO_MUTUAL and no tls in hop 1's DestinationRule, the sidecar sends plaintext and the gateway refuses the connection.",
	},
	{
		ID: "H1-sni-align", Chapter: Hop1, Section: "§2.1, trap 4", Expected: Supported,
		Statement: "If the SNI in hop 1's DestinationRule is not one of the Gateway's hosts, no filter chain matches and the connection is reset.",
	},
	{
		ID: "H1-sni-omitted", Chapter: Hop1, Section: "§2.1", Expected: Supported,
		Statement: "Without an SNI in hop 1's DestinationRule, none of the gateway's filter chains matches.",
	},
	{
		ID: "H1-host-align", Chapter: Hop1, Section: "§2.1, trap 4", Expected: Supported,
		Statement: "If the SNI is right but the VirtualService on the gateway is for another host, the gateway terminates hop 1 and answers 404.",
		Lesson:    "The guide says that any misalignment of the three resets the connection. That is true of the SNI. A VirtualService for another host resets nothing: both proxies log a response, and the gateway's line says NR, route_not_found.",
	},
	{
		ID: "H1-identity", Chapter: Hop1, Section: "§1, §2.1", Expected: Supported,
		Statement: "Hop 1 establishes who leaves the mesh: an AuthorizationPolicy on the gateway lets one service account through and not another.",
	},
	{
		ID: "H1-identity-2", Chapter: Hop1, Section: "§2.1", Expected: Refuted, Takes: 4 * time.Second,
		Statement: "ISTIO_MUTUAL on the gateway keeps out callers that are not meant to leave the mesh.",
		Lesson:    "The guide calls hop 1 the point that settles who leaves. ISTIO_MUTUAL asks for a mesh certificate and nothing more: without an AuthorizationPolicy, any workload with a sidecar reaches the partner under the gateway's client certificate. Put an ALLOW policy with the callers' principals on the gateway.",
	},
	{
		ID: "H1-per-pod", Chapter: Hop1, Section: "§2.2", Expected: Supported,
		Statement: "Hop 1's limits apply to each client pod separately: a pod at its limit takes nothing away from another.",
	},
	{
		ID: "H1-http", Chapter: Hop1, Section: "§2.2", Expected: Supported,
		Statement: "The http settings in hop 1's connectionPool take effect, because the gateway terminates hop 1 and both ends speak HTTP.",
	},
	{
		ID: "H1-domain", Chapter: Hop1, Section: "record ②", Expected: Supported,
		Statement: "Hop 1's DestinationRule and route must name the gateway as istiod's registry does (--domain): under another suffix, the same Service is not found.",
	},
	{
		ID: "H1-protocol", Chapter: Hop1, Expected: Supported,
		Statement: "The name of the gateway Service's port decides hop 1's HTTP version: http2 gives HTTP/2, https gives HTTP/1.1.",
	},
}
