package claim

// traps are the guide's §4: what breaks in silence.
var traps = []Claim{
	{
		ID: "T1-merge", Chapter: Traps, Section: "trap 1", Expected: Supported,
		Statement: "Two DestinationRules for one host, in one namespace and with equal exportTo, merge in silence: the oldest one's top-level policy wins and the subsets unite.",
	},
	{
		ID: "T1-export", Chapter: Traps, Section: "trap 1", Expected: Refuted,
		Statement: "Two DestinationRules for one host merge like that whatever their exportTo says.",
		Lesson:    "The guide says that the oldest rule's policy wins. With different exportTo nothing is merged and the newest rule alone wins: a second rule without exportTo took hop 2's TLS away, and plaintext went to the partner. Keep one rule per host, and look for others of the same host before you add exportTo to one of them.",
	},
	{
		ID: "T2-typo-hop2", Chapter: Traps, Section: "trap 2", Expected: Supported,
		Statement: "A wrong host in hop 2's DestinationRule is accepted and ignored: the gateway's cluster has no rule, and hop 2 goes out in plaintext.",
	},
	{
		ID: "T2-typo-hop1", Chapter: Traps, Section: "trap 2", Expected: Refuted,
		Statement: "A wrong host in hop 1's DestinationRule leaves the cluster with defaults, without a rule.",
		Lesson:    "The guide's sign is a cluster with `dr: null`. Hop 1's route names a subset, and a subset's cluster exists only through its rule: there is no such cluster, and the call ends with 503, NC, cluster_not_found. Look for the missing cluster, not for one without a rule.",
	},
	{
		ID: "T2-short", Chapter: Traps, Section: "trap 2", Expected: Supported,
		Statement: "A short host in a DestinationRule is completed with the rule's own namespace: anywhere but beside the Service it names nothing, and nobody says so.",
	},
	{
		ID: "T3-se-port", Chapter: Traps, Section: "trap 3", Expected: Supported,
		Statement: "Where the ServiceEntry registers the port that is called, a bypass rides the ServiceEntry's own cluster.",
	},
	{
		ID: "T3-passthrough", Chapter: Traps, Section: "trap 3", Expected: Supported,
		Statement: "Where no ServiceEntry registers the port that is called, a bypass rides PassthroughCluster, with a 200 and without any TLS.",
	},
	{
		ID: "T3-registry-only", Chapter: Traps, Section: "trap 3", Expected: Refuted,
		Statement: "REGISTRY_ONLY blocks the bypass.",
		Lesson:    "The guide asks for REGISTRY_ONLY to lock the bypass. It blocks what the registry does not know, and a ServiceEntry that registers the port called makes the partner known: the call still leaves around the gateway. Hide the ServiceEntry from the applications as well (exportTo of the gateway's namespace only).",
	},
	{
		ID: "T3-registry-only-2", Chapter: Traps, Section: "trap 3", Expected: Supported,
		Statement: "REGISTRY_ONLY blocks the bypass of a port that no ServiceEntry registers.",
	},
	{
		ID: "T3-real-lock", Chapter: Traps, Expected: Supported,
		Statement: "Under REGISTRY_ONLY, a ServiceEntry that is exported to the gateway's namespace alone leaves no way around the gateway.",
	},
	{
		ID: "T3-real-lock-2", Chapter: Traps, Expected: Supported,
		Statement: "Under REGISTRY_ONLY, a Sidecar resource that shows the application the gateway's Service alone leaves no way around the gateway.",
	},
	{
		ID: "T3-real-lock-3", Chapter: Traps, Expected: Refuted,
		Statement: "Locked by the ServiceEntry's exportTo, the regular way through the gateway works as before.",
		Lesson:    "The ServiceEntry that is hidden from the applications also brought their listener for HTTP on port 80, in which the mesh route lives; without it every call ends in BlackHoleCluster. Give them another one: any visible HTTP service on port 80, for example a port 80 on the gateway's own Service.",
	},
	{
		ID: "T3-real-lock-4", Chapter: Traps, Expected: Refuted,
		Statement: "Locked by a Sidecar resource that shows the gateway's Service alone, the regular way through the gateway works as before.",
		Lesson:    "A Sidecar's egress hosts select VirtualServices by their hosts too: whoever may not see the partner's host does not get the mesh route for it either, and every call ends with 502 in block_all, or in BlackHoleCluster. Lock with the ServiceEntry's exportTo instead, which leaves the VirtualService visible.",
	},
	{
		ID: "T3-80-hack", Chapter: Traps, Section: "§5", Expected: Refuted,
		Statement: "The guide's YAML, whose ServiceEntry registers port 443 only, leads a call to port 80 through the gateway.",
		Lesson:    "The mesh route for port 80 lives in the sidecar's listener for HTTP on port 80, and a ServiceEntry with 443 alone brings none. The YAML works only where some other HTTP service on port 80 is visible, such as the bundled gateway's; elsewhere the call leaves in plaintext with a 200. Register port 80 too.",
	},
	{
		ID: "T3-80-hack-2", Chapter: Traps, Section: "§5", Expected: Supported,
		Statement: "Any HTTP service on port 80 that the sidecar sees, whatever its name, makes the route for port 80 work with a ServiceEntry for 443 only.",
	},
}
