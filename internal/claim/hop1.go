package claim

// hop1 is from the application's sidecar to the egress gateway.
var hop1 = []Claim{
	{
		ID: "H1-unpaired", Chapter: Hop1, Section: "§2.1", Expected: Supported,
		Statement: "With the Gateway on ISTIO_MUTUAL and no tls in hop 1's DestinationRule, the sidecar sends plaintext and the gateway refuses the connection.",
	},
	{
		ID: "H1-sni-align", Chapter: Hop1, Section: "§2.1, trap 4", Expected: Supported,
		Statement: "An SNI in hop 1's DestinationRule that is not among the Gateway's hosts matches no filter chain: the connection is reset.",
	},
	{
		ID: "H1-sni-omitted", Chapter: Hop1, Section: "§2.1", Expected: Supported,
		Statement: "Without an SNI in hop 1's DestinationRule, no filter chain of the gateway matches.",
	},
	{
		ID: "H1-host-align", Chapter: Hop1, Section: "§2.1, trap 4", Expected: Supported,
		Statement: "With the right SNI and a VirtualService for another host at the gateway, the gateway ends hop 1 and answers 404.",
	},
	{
		ID: "H1-identity", Chapter: Hop1, Section: "§1, §2.1", Expected: Supported,
		Statement: "Hop 1 establishes who leaves: an AuthorizationPolicy at the gateway lets one service account through and not another.",
	},
	{
		ID: "H1-identity-2", Chapter: Hop1, Section: "§2.1", Expected: Refuted,
		Statement: "ISTIO_MUTUAL at the gateway keeps callers out that were not meant to leave.",
		Lesson:    "The guide calls hop 1 the point where it is settled who leaves. ISTIO_MUTUAL asks for some certificate of the mesh and no more: without an AuthorizationPolicy any workload with a sidecar leaves with the partner's certificate. Put an ALLOW policy with the callers' principals on the gateway.",
	},
	{
		ID: "H1-per-pod", Chapter: Hop1, Section: "§2.2", Expected: Supported,
		Statement: "Hop 1's limits are counted by each client pod for itself: one pod at its limit takes nothing from another.",
	},
	{
		ID: "H1-http", Chapter: Hop1, Section: "§2.2", Expected: Supported,
		Statement: "The http settings of hop 1's connectionPool take effect, because the gateway ends hop 1 and both ends speak HTTP.",
	},
	{
		ID: "H1-domain", Chapter: Hop1, Section: "record ②", Expected: Supported,
		Statement: "Hop 1's DestinationRule and route have to name the gateway as istiod's registry does (--domain): the same Service under another suffix is not found.",
	},
	{
		ID: "H1-protocol", Chapter: Hop1, Expected: Supported,
		Statement: "Hop 1's HTTP version follows the name of the gateway Service's port: named http2 it is HTTP/2, named https it is HTTP/1.1.",
	},
}
