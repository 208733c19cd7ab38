package claim

// pool is what the guide says about connectionPool, outlierDetection and the
// lives of connections.
var pool = []Claim{
	{
		ID: "P-default", Chapter: Pool, Section: "§3.5, §6", Expected: Refuted,
		Statement: "Without a DestinationRule the gateway hits Envoy's default of 1,024 connections to the partner.",
		Lesson:    "The guide warns of Envoy's default of 1,024 connections. Istio writes 4294967295 into every cluster's thresholds, so without a connectionPool there is no limit at all, and the one that is hit first is memory or file descriptors. Set maxConnections because nothing bounds it, not because 1,024 does.",
	},
	{
		ID: "P-overflow", Chapter: Pool, Section: "§3.5", Expected: Refuted, Timer: true,
		Statement: "At maxConnections the gateway refuses further requests: 503 with the flag UO.",
		Lesson:    "The guide says that the limit shows as UO. Over HTTP/1.1 a request beyond maxConnections waits in a queue without a bound, and all callers get slow instead of failing; only upstream_cx_overflow tells. Set http1MaxPendingRequests as well to fail fast.",
	},
	{
		ID: "P-overflow-2", Chapter: Pool, Section: "§3.5", Expected: Supported, Timer: true,
		Statement: "Requests beyond maxConnections wait for a connection and succeed; upstream_cx_overflow counts them all the same.",
	},
	{
		ID: "P-overflow-3", Chapter: Pool, Section: "§3.5", Expected: Supported, Timer: true,
		Statement: "With http1MaxPendingRequests set too, the gateway answers the excess at once with 503 and the flag UO, counted in upstream_rq_pending_overflow.",
		Lesson:    "UO goes with upstream_rq_pending_overflow and not with upstream_cx_overflow, which the guide names: that one counts waiting requests, and may stay at 0 while requests are refused. Look on the gateway; the caller's sidecar shows the same 503 without a flag.",
	},
	{
		ID: "P-wrong-proxy", Chapter: Pool, Section: "§3.5", Expected: Supported,
		Statement: "Hop 2's connectionPool, looked up on the client's sidecar, looks as if it were not applied.",
		Lesson:    "That is the work of exportTo [\".\"]: without it the sidecar compiles hop 2's rule too, with values that never act there.",
	},
	{
		ID: "P-wrong-proxy-2", Chapter: Pool, Section: "§3.5", Expected: Refuted,
		Statement: "Hop 1's connectionPool, looked up on the gateway, looks as if it were not applied.",
		Lesson:    "The guide says that on the wrong proxy a setting looks unapplied. Hop 1's rule lies in the gateway's namespace and is visible there, so the gateway's configuration shows all its values, although the gateway never opens a connection with them. Look at the proxy that opens the hop; a value found elsewhere proves nothing.",
	},
	{
		ID: "P-port-replaces", Chapter: Pool, Section: "§3.4", Expected: Supported,
		Statement: "A port entry with only tls loses the connectionPool of the rule's top level.",
	},
	{
		ID: "P-subset-replaces", Chapter: Pool, Section: "§3.4", Expected: Refuted,
		Statement: "A subset with only tls loses the connectionPool of the rule's top level.",
		Lesson:    "The guide says that a subset replaces the top level as a whole. It does so block by block (connectionPool, outlierDetection, loadBalancer, tls): a subset without a connectionPool keeps the top level's. Only a port entry, also one inside a subset, drops all that it does not repeat.",
	},
	{
		ID: "P-subset-replaces-2", Chapter: Pool, Section: "§3.4", Expected: Supported,
		Statement: "A port entry with only tls inside a subset loses the subset's connectionPool and the top level's.",
	},
	{
		ID: "P-subset-replaces-3", Chapter: Pool, Section: "§3.4", Expected: Supported,
		Statement: "A subset's connectionPool with only http loses the tcp settings of the top level's connectionPool.",
	},
	{
		ID: "P-keepalive-socket", Chapter: Pool, Section: "§6", Expected: Supported,
		Statement: "tcpKeepalive is on the sockets of the proxy that opens the hop: hop 1's on the sidecar, hop 2's on the gateway, and not on the other end.",
	},
	{
		ID: "P-idle-keepalive", Chapter: Pool, Section: "§6", Expected: Supported, Timer: true,
		Statement: "Keepalive probes do not reset tcp.idleTimeout; only requests do.",
	},
	{
		ID: "P-idle-precedence", Chapter: Pool, Section: "§5", Expected: Refuted, Timer: true,
		Statement: "A tcp.idleTimeout takes effect beside a shorter http.idleTimeout.",
		Lesson:    "The guide's YAML sets tcp.idleTimeout 1800s and http.idleTimeout 900s. Both land in the same field of the cluster, and http's wins: connections live 900 s and the 1800 s are nowhere. Set one of them.",
	},
	{
		ID: "P-max-duration", Chapter: Pool, Section: "§6", Expected: Supported, Timer: true,
		Statement: "maxConnectionDuration bounds the life of a connection, however busy it is.",
	},
	{
		ID: "P-max-requests", Chapter: Pool, Section: "§6", Expected: Supported,
		Statement: "maxRequestsPerConnection replaces a connection after that number of requests.",
	},
	{
		ID: "P-connect-timeout", Chapter: Pool, Section: "§6", Expected: Supported, Timer: true,
		Statement: "A connectTimeout of 3s gives up on a partner that does not answer after 3 s.",
	},
	{
		ID: "P-connect-timeout-2", Chapter: Pool, Section: "§6", Expected: Supported, Timer: true,
		Statement: "Without a connectTimeout the gateway gives up after 10 s.",
	},
	{
		ID: "P-connect-timeout-3", Chapter: Pool, Section: "§6", Expected: Refuted, Timer: true,
		Statement: "The caller waits no longer than connectTimeout for a partner that does not answer.",
		Lesson:    "The guide presents connectTimeout as the time to failure. Istio's default retry policy makes two more attempts, so the caller waits three times as long. Set retries {attempts: 0} on hop 2's route, or count on three times the value.",
	},
	{
		ID: "P-outlier-single", Chapter: Pool, Section: "§6", Expected: Refuted,
		Statement: "With outlierDetection as in the guide's YAML (maxEjectionPercent 50), the failures of a single endpoint cut the whole channel.",
		Lesson:    "The guide says that on a single address an ejection is a total block. At maxEjectionPercent 50 Envoy does not eject the only host and counts ejections_overflow: the setting does nothing. It blocks the channel only at 100, or where the percentage leaves room for the host.",
	},
	{
		ID: "P-outlier-single-2", Chapter: Pool, Section: "§6", Expected: Supported,
		Statement: "With maxEjectionPercent 100 the failures of a single endpoint cut the whole channel: 503 UH.",
	},
	{
		ID: "P-not-retroactive", Chapter: Pool, Section: "§6", Expected: Refuted, Timer: true,
		Statement: "An edit of hop 2's connectionPool does not reach connections that live; they go on with the old settings until a restart.",
		Lesson:    "The guide says that living connections keep the old settings until maxConnectionDuration or a rollout restart. For HTTP, an edit replaces the cluster and drains its pools: the next request rides a new connection, with the new settings, within a second. No restart is needed.",
	},
}
