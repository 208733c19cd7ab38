package claim

// goals are the claims in the last table of the guide, its own record of verification.
var goals = []Claim{
	{
		ID: "G1", Chapter: Goals, Section: "§2.1, record G1", Expected: Supported,
		Statement: "Hop 1 is mesh mTLS: a DestinationRule and a Gateway server form a pair, both in ISTIO_MUTUAL mode.",
	},
	{
		ID: "G2", Chapter: Goals, Section: "§3.1, record G2", Expected: Supported,
		Statement: "Hop 2 is MUTUAL with credentialName: the gateway presents the client certificate from a Secret in its own namespace.",
	},
	{
		ID: "G2-control", Chapter: Goals, Section: "record ③", Expected: Supported,
		Statement: "With hop 2 on SIMPLE and the same CA, the partner rejects the request because no client certificate was sent.",
	},
	{
		ID: "G2-rbac", Chapter: Goals, Section: "§3.1-3, record ①", Expected: Supported,
		Statement: "A dedicated gateway outside istio-system needs RBAC permission on secrets before istiod serves it a credentialName.",
	},
	{
		ID: "G3", Chapter: Goals, Section: "§2.2, §3.5, record G3", Expected: Supported,
		Statement: "connectionPool takes effect on the proxy that opens the connection: hop 1's values on the client's sidecar, hop 2's on the gateway.",
		Lesson:    "Inspect the proxy that opens the connection. The gateway also compiles hop 1's cluster wherever it can see the rule (here: in the same namespace), with the same values, but never opens a connection with it. Values in a proxy's configuration do not prove that they act there.",
	},
	{
		ID: "G3-yaml", Chapter: Goals, Section: "§5, record G3-yaml", Expected: Refuted,
		Statement: "The API server accepts the guide's first YAML, tcpKeepalive {time: 300}.",
		Lesson:    "The guide's first YAML wrote the keepalive time as a number. The API server rejects it: a Duration is a string with a unit. Write 300s.",
	},
	{
		ID: "G4", Chapter: Goals, Section: "trap 3, record G4", Expected: Supported,
		Statement: "Under ALLOW_ANY, a call without the mesh route silently bypasses the gateway.",
	},
}
