package claim

// field is what users of the pattern report most; none of it is in the guide.
// Issue numbers are istio/istio's.
var field = []Claim{
	{
		ID: "F-analyze-blind", Chapter: Field, Expected: Refuted, // issue 50070
		Statement: "istioctl analyze notices a DestinationRule whose credential does not exist.",
		Lesson:    "The analyzer looks up the Secrets that Gateways name and none that DestinationRules name. A credentialName without a Secret goes through it in silence. Look at `istioctl proxy-config secret` of the gateway: ACTIVE or WARMING.",
	},
	{
		ID: "F-analyze-noise", Chapter: Field, Expected: Refuted, // issue 42005
		Statement: "istioctl analyze is quiet about the DestinationRule of hop 2 in a setup that works.",
		Lesson:    "It warns with IST0129 that no caCertificates are set to validate the server, although the Secret's ca.crt does that: the analyzer accepts a credentialName only beside a workloadSelector. Suppress the message for this rule, or select the gateway's workload.",
	},
	{
		ID: "F-partner-lax", Chapter: Field, Expected: Refuted, // issue 37638
		Statement: "If the partner does not ask for a client certificate, the call fails or a proxy says so.",
		Lesson:    "A TLS client presents its certificate only if it is asked. With a partner that does not ask, everything is green and nobody at the partner knows who called. Only the partner's own record shows it: have them confirm the subject that they see.",
	},
	{
		ID: "F-ca-direction", Chapter: Field, Expected: Refuted, // issue 39166
		Statement: "\"Our CA does not vouch for the partner\" and \"the partner distrusts our certificate\" look alike to the caller and in the gateway's log.",
		Lesson:    "They are told apart at a glance: 503 with CERTIFICATE_VERIFY_FAILED in the gateway's log is our side refusing; 400 \"The SSL certificate error\" from upstream, without a flag, is the partner's. Fix ca.crt for the first and the client certificate for the second.",
	},
	{
		ID: "F-order", Chapter: Field, Expected: Refuted,
		Statement: "While its DestinationRule asks for MUTUAL hop 2 does not go out in plaintext, in whatever order ServiceEntry and rule were applied.",
		Lesson:    "A port that the ServiceEntry registers before there is a rule for it, as in the guide's YAML, has a cluster without TLS. If the rule's Secret does not come, that cluster goes on serving for 15 s (Envoy's wait), in plaintext. Apply Secret and DestinationRule first, ServiceEntry and route last.",
	},
	{
		ID: "F-expired", Chapter: Field, Expected: Supported,
		Statement: "An expired client certificate is refused by the partner, and visible beforehand in the gateway's secrets.",
	},
	{
		ID: "F-dns-stale", Chapter: Field, Expected: Supported, Timer: true, // issue 17051
		Statement: "With resolution DNS the gateway follows a partner that moves once its DNS record's time to live is over; an address written with resolution STATIC stays.",
		Lesson:    "Until then calls go to the old address: for a move that is planned, lower the record's time to live beforehand and keep the old address serving that long.",
	},
	{
		ID: "F-dns-stale-2", Chapter: Field, Expected: Refuted, Timer: true, // issue 17051
		Statement: "A connection of hop 2 from before the partner's move goes on carrying requests until one side's timer ends it.",
		Lesson:    "Not where the gateway speaks HTTP: when the old address leaves the DNS answer the gateway closes what is idle there, and the next request goes to the new address. Only an address that is still in the answer keeps its connections: a partner that moves has to take the old one out.",
	},
	{
		ID: "F-h2", Chapter: Field, Expected: Supported, // issue 36850
		Statement: "Forcing HTTP/2 on hop 2 breaks the call to a partner that speaks HTTP/1.1.",
	},
	{
		ID: "F-retry-count", Chapter: Field, Expected: Supported, // issue 50506
		Statement: "With Istio's default retries one call is one request at the partner, even if the partner hangs up without an answer.",
		Lesson:    "The default retries on failures to connect and not on what comes after the request was sent. As soon as a VirtualService asks for `reset` or `5xx`, a payment may arrive more than once; `attempts: 0` says that none is wanted.",
	},
	{
		ID: "F-retry-count-2", Chapter: Field, Expected: Refuted, // issue 50506
		Statement: "A VirtualService that asks for two retries makes at most three requests at the partner of one call.",
		Lesson:    "Each hop retries for itself, so that they multiply: two retries at both hops are nine requests. Ask for retries on one hop, and write `attempts: 0` on the other.",
	},
	{
		ID: "F-idle-race", Chapter: Field, Expected: Supported, Timer: true, // issue 55138
		Statement: "A partner that gives a connection up before the gateway's idle time has passed makes the next call on it fail with 503 UC.",
		Lesson:    "Keep http.idleTimeout on hop 2 below the partner's keep-alive: the gateway then leaves first, and the call gets a fresh connection.",
	},
	{
		ID: "F-se-collision", Chapter: Field, Expected: Refuted, // issues 55879, 51466
		Statement: "Another namespace's ServiceEntry for the same host changes nothing here.",
		Lesson:    "Of several ServiceEntries for one host the oldest wins in every proxy that sees them, the gateway's own namespace notwithstanding: an older one elsewhere sent hop 2, with our certificate, to its own endpoints. Make exportTo [\".\"] the rule for ServiceEntries (defaultServiceExportTo), and do not recreate your own without need: that makes it the younger one.",
	},
	{
		ID: "F-one-identity", Chapter: Field, Expected: Supported, // issue 35430
		Statement: "One gateway presents different client certificates for one host, by caller, if the hop-2 rule has a subset for each and the route chooses it by the caller's identity.",
	},
	{
		ID: "F-two-gateways", Chapter: Field, Expected: Supported, // issue 45486
		Statement: "Two gateway pods hold hop 2's limit each for itself, and the calls are in one log or the other.",
	},
}
