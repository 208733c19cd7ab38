package claim

// goals are the guide's own record of verification (its last table).
var goals = []Claim{
	{
		ID: "G1", Chapter: Goals, Section: "§2.1, record G1", Expected: Supported,
		Statement: "Hop 1 is mesh mTLS: a DestinationRule and a Gateway server, both ISTIO_MUTUAL, as a pair.",
	},
	{
		ID: "G2", Chapter: Goals, Section: "§3.1, record G2", Expected: Supported,
		Statement: "Hop 2 is MUTUAL with credentialName: the gateway presents the client certificate of a Secret in its own namespace.",
	},
	{
		ID: "G2-control", Chapter: Goals, Section: "record ③", Expected: Supported,
		Statement: "With hop 2 on SIMPLE and the same CA, the partner refuses the request for want of a client certificate.",
	},
	{
		ID: "G2-rbac", Chapter: Goals, Section: "§3.1-3, record ①", Expected: Supported,
		Statement: "A dedicated gateway outside istio-system needs RBAC on secrets before istiod serves it a credentialName.",
	},
	{
		ID: "G3", Chapter: Goals, Section: "§2.2, §3.5, record G3", Expected: Supported,
		Statement: "connectionPool takes effect on the proxy that opens the hop: hop 1's values on the client sidecar, hop 2's on the gateway.",
		Lesson:    "Look at the proxy that opens the hop. The gateway compiles hop 1's cluster too wherever it sees the rule (here: same namespace), with the same values, and never opens a connection with it: finding the values in a proxy's configuration is not proof that they act there.",
	},
	{
		ID: "G3-yaml", Chapter: Goals, Section: "§5, record G3-yaml", Expected: Refuted,
		Statement: "The guide's first YAML, tcpKeepalive {time: 300}, is accepted.",
		Lesson:    "The guide's first YAML wrote the keepalive time as a number. The API server refuses it: a Duration is a string with a unit. Write 300s.",
	},
	{
		ID: "G4", Chapter: Goals, Section: "trap 3, record G4", Expected: Supported,
		Statement: "Under ALLOW_ANY and without the mesh route, the call silently bypasses the gateway.",
	},
}
