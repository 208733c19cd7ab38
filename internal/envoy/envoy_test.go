package envoy

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	hop1 = "outbound|8443|partner|egress-gateway.egress.svc.cluster.local"
	hop2 = "outbound|8443||partner.example.com"

	callerID  = "spiffe://cluster.local/ns/client/sa/curl"
	gatewayID = "spiffe://cluster.local/ns/egress/sa/egress-gateway"
)

func sample(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func lines(t *testing.T, name string) [][]byte {
	t.Helper()
	return bytes.Split(bytes.TrimSpace(sample(t, name)), []byte("\n"))
}

func dump(t *testing.T, name string) *Dump {
	t.Helper()
	d, err := ParseConfigDump(sample(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func cluster(t *testing.T, file, name string) *Cluster {
	t.Helper()
	c, err := dump(t, file).Cluster(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func equal(t *testing.T, what string, want, got any, opts ...cmp.Option) {
	t.Helper()
	if diff := cmp.Diff(want, got, opts...); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestConfigDump(t *testing.T) {
	d := dump(t, "client-config-dump.json")
	equal(t, "version", "2026-09-01T10:00:00Z/7", d.VersionInfo)
	var names []string
	for _, c := range d.Clusters() {
		names = append(names, c.Name())
	}
	equal(t, "names", []string{
		"BlackHoleCluster", "PassthroughCluster", hop1,
		"outbound|8443||egress-gateway.egress.svc.cluster.local", hop2, "sds-grpc",
	}, names)

	_, err := d.Cluster("outbound|443||nowhere")
	var absent *AbsentError
	if !errors.As(err, &absent) || absent.Name != "outbound|443||nowhere" || len(absent.Have) != 6 {
		t.Errorf("absent cluster: %v", err)
	}
	for name, want := range map[string]string{hop1: "STATIC", hop2: "STRICT_DNS", "PassthroughCluster": "ORIGINAL_DST"} {
		c, err := d.Cluster(name)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "type of "+name, want, c.Type())
	}
}

func TestConfigDumpByResource(t *testing.T) {
	whole, part := dump(t, "gateway-config-dump.json"), dump(t, "gateway-active-clusters.json")
	static, err := whole.Cluster("sds-grpc")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "?resource= and the whole", "", DiffClusters(whole.Clusters(), append(part.Clusters(), static)))
	equal(t, "version of ?resource=", "", part.VersionInfo)
	c, err := part.Cluster(hop2)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "cluster's own version", "2026-09-01T10:00:00Z/7", c.Version())
}

func TestConfigDumpEmptyIsNotMissing(t *testing.T) {
	d := dump(t, "empty.json")
	equal(t, "clusters", 0, len(d.Clusters()))
	var absent *AbsentError
	if _, err := d.Cluster(hop1); !errors.As(err, &absent) {
		t.Errorf("cluster of an empty dump: %v", err)
	}

	_, err := ParseConfigDump(sample(t, "gateway-active-secrets.json"))
	var missing *NoSectionError
	if !errors.As(err, &missing) || missing.Section != "ClustersConfigDump" {
		t.Errorf("a dump of secrets read for clusters: %v", err)
	}
}

func TestConfigDumpRefuses(t *testing.T) {
	const entry = `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump.DynamicCluster",%s}]}`
	cases := map[string]struct{ raw, want string }{
		"Envoy's error text": {"dynamic_active_cluster not found in config dump\n", "not found in config dump"},
		"nothing":            {"", "(nothing)"},
		"cut":                {`{"configs": [`, "not a JSON object"},
		"another object":     {`{"clusters": []}`, `unexpected field "clusters"`},
		"no type":            {`{"configs": [{"cluster": {}}]}`, "no @type"},
		"no cluster":         {strings.Replace(entry, "%s", `"version_info":"1"`, 1), "neither cluster nor error_state"},
		"no name":            {strings.Replace(entry, "%s", `"cluster":{"type":"EDS"}`, 1), "without a name"},
		"bad value":          {strings.Replace(entry, "%s", `"cluster":{"name":"x","connect_timeout":"soon"}`, 1), `cluster "x"`},
		"unknown type": {
			strings.Replace(entry, "%s", `"cluster":{"name":"x","transport_socket":{"name":"s","typed_config":{"@type":"type.googleapis.com/acme.Socket"}}}`, 1),
			"acme.Socket",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := ParseConfigDump([]byte(c.raw))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want an error with %q, have %v", c.want, err)
			}
		})
	}
}

func TestConfigDumpUnknownFieldsAreDropped(t *testing.T) {
	d, err := ParseConfigDump([]byte(`{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
		"dynamic_warming_clusters":[{"cluster":{"name":"w","of_tomorrow":{"a":1}}}],
		"dynamic_active_clusters":[{"error_state":{"failed_configuration":{"@type":"x","name":"r"},"details":"no","version_info":"3"}}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "live", 0, len(d.Clusters()))
	equal(t, "warming", "w", d.Warming()[0].Name())
	equal(t, "rejected", []Rejection{{Name: "r", Version: "3", Details: "no"}}, d.Rejected())
}

func TestIstioctlReadsTheSame(t *testing.T) {
	for _, who := range []string{"client", "gateway"} {
		theirs, err := ParseIstioctlClusters(sample(t, who+"-istioctl-cluster.json"))
		if err != nil {
			t.Fatal(err)
		}
		ours := dump(t, who+"-config-dump.json").Clusters()
		equal(t, who, "", DiffClusters(ours, theirs))

		// The comparison itself has to see a difference.
		if diff := DiffClusters(ours, theirs[1:]); !strings.Contains(diff, theirs[0].Name()) {
			t.Errorf("%s: a missing cluster went unseen: %q", who, diff)
		}
		theirs[0].Proto().ConnectTimeout.Seconds++
		if diff := DiffClusters(ours, theirs); !strings.Contains(diff, "connect_timeout") {
			t.Errorf("%s: a changed timeout went unseen: %q", who, diff)
		}
	}
	if _, err := ParseIstioctlClusters([]byte(`{"configs":[]}`)); err == nil {
		t.Error("an object passed for istioctl's list")
	}
}

func TestPool(t *testing.T) {
	pool := func(file, name string) Pool {
		p, err := cluster(t, file, name).Pool()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	none := uint32(4294967295)
	keepalive := &Keepalive{Time: new(300 * time.Second), Interval: new(30 * time.Second), Probes: new(uint32(3))}

	p := pool("client-config-dump.json", hop1)
	equal(t, "hop 1", Pool{
		MaxConnections: new(uint32(77)), MaxPendingRequests: &none, MaxRequests: &none, MaxRetries: &none,
		ConnectTimeout: new(3 * time.Second), Keepalive: keepalive,
		IdleTimeout: new(900 * time.Second), MaxConnectionDuration: new(time.Minute),
		MaxRequestsPerConnection: new(uint32(50)), Protocol: ProtocolHTTP1,
		Outlier: &Outlier{
			Consecutive5xx: new(uint32(5)), Interval: new(10 * time.Second), BaseEjectionTime: new(30 * time.Second),
			MaxEjectionPercent: new(uint32(100)), EnforcingConsecutive5xx: new(uint32(100)), EnforcingSuccessRate: new(uint32(0)),
		},
	}, p)
	equal(t, "hop 1 in words", "maxConnections=77 maxPendingRequests=4294967295 maxRequests=4294967295 maxRetries=4294967295 "+
		"connectTimeout=3s tcpKeepalive=300/30/3 idleTimeout=15m0s maxConnectionDuration=1m0s maxRequestsPerConnection=50 "+
		"protocol=http1 outlier=set", p.String())

	equal(t, "hop 2", Pool{
		MaxConnections: new(uint32(83)), MaxPendingRequests: &none, MaxRequests: &none, MaxRetries: &none,
		ConnectTimeout: new(3 * time.Second), Keepalive: keepalive,
		Protocol: ProtocolHTTP1, AutoSNI: true, AutoSANValidation: true,
	}, pool("gateway-config-dump.json", hop2))

	equal(t, "hop 2 as the client sees it", Pool{
		MaxConnections: &none, MaxPendingRequests: &none, MaxRequests: &none, MaxRetries: &none, ConnectTimeout: new(10 * time.Second),
	}, pool("client-config-dump.json", hop2))

	equal(t, "passthrough", Pool{
		MaxConnections: &none, MaxPendingRequests: &none, MaxRequests: &none, MaxRetries: &none, ConnectTimeout: new(10 * time.Second),
		IdleTimeout: new(300 * time.Second), Protocol: ProtocolUseDownstream, MaxConcurrentStreams: new(uint32(1073741824)),
	}, pool("client-config-dump.json", "PassthroughCluster"))

	equal(t, "nothing", "nothing set", Pool{}.String())
	equal(t, "keepalive in parts", "-/1.5/-", (&Keepalive{Interval: new(1500 * time.Millisecond)}).String())
}

func TestPoolBeyond(t *testing.T) {
	none := uint32(4294967295)
	unlimited := Pool{MaxConnections: new(uint32(7)), MaxPendingRequests: &none, MaxRequests: &none, MaxRetries: &none, Keepalive: &Keepalive{}}
	equal(t, "what Istio writes", []string(nil), unlimited.Beyond())

	equal(t, "no thresholds", []string{
		"maxPendingRequests 1024, by Envoy's default", "maxRequests 1024, by Envoy's default", "maxRetries 3, by Envoy's default",
	}, Pool{}.Beyond())

	p := unlimited
	p.MaxPendingRequests, p.MaxRequests = nil, new(uint32(5))
	equal(t, "one absent, one set", []string{"maxPendingRequests 1024, by Envoy's default", "maxRequests 5"}, p.Beyond())

	p = unlimited
	p.IdleTimeout, p.MaxConnectionDuration, p.MaxRequestsPerConnection, p.Outlier = new(time.Minute), new(time.Hour), new(uint32(1)), &Outlier{}
	equal(t, "HTTP", []string{"idleTimeout 1m0s", "maxConnectionDuration 1h0m0s", "maxRequestsPerConnection 1", "outlierDetection"}, p.Beyond())
}

func TestPoolOfPriorities(t *testing.T) {
	read := func(thresholds string) (Pool, error) {
		clusters, err := ParseIstioctlClusters([]byte(`[{"name":"x","circuitBreakers":{"thresholds":` + thresholds + `}}]`))
		if err != nil {
			t.Fatal(err)
		}
		return clusters[0].Pool()
	}
	p, err := read(`[{"priority":"HIGH","maxConnections":1}]`)
	if err != nil || p.MaxConnections != nil {
		t.Errorf("the high priority's limit was taken for the default's: %v %v", p, err)
	}
	if _, err = read(`[{"maxConnections":1},{"maxConnections":2}]`); err == nil {
		t.Error("two default thresholds passed")
	}
}

func TestTLS(t *testing.T) {
	tls := func(file, name string) *TLS {
		found, err := cluster(t, file, name).TLS()
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	equal(t, "hop 1", &TLS{
		SNI: "partner.example.com", CertificateSDS: []string{"default"}, ValidationSDS: "ROOTCA",
		SANs: []string{"exact:" + gatewayID}, ALPN: []string{"istio"}, MinVersion: "TLSv1_2", MaxVersion: "TLSv1_3",
	}, tls("client-config-dump.json", hop1))
	equal(t, "hop 2", &TLS{
		SNI: "partner.example.com", CertificateSDS: []string{"kubernetes://partner-client"}, ValidationSDS: "kubernetes://partner-client-cacert",
		SANs: []string{"exact:partner.example.com"}, MinVersion: "TLSv1_2", MaxVersion: "TLSv1_3",
	}, tls("gateway-config-dump.json", hop2))
	equal(t, "plaintext", (*TLS)(nil), tls("client-config-dump.json", hop2))

	matches, err := cluster(t, "client-config-dump.json", "outbound|8443||egress-gateway.egress.svc.cluster.local").TLSMatches()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "matches", []TLSMatch{
		{Name: "tlsMode-istio", Match: map[string]string{"tlsMode": "istio"}, TLS: &TLS{
			SNI: "outbound_.8443_._.egress-gateway.egress.svc.cluster.local", CertificateSDS: []string{"default"}, ValidationSDS: "ROOTCA",
			SANs: []string{"exact:" + gatewayID}, ALPN: []string{"istio-peer-exchange", "istio"}, MinVersion: "TLSv1_2", MaxVersion: "TLSv1_3",
		}},
		{Name: "tlsMode-disabled", Match: map[string]string{}},
	}, matches)
}

func TestTLSForms(t *testing.T) {
	const context = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
	read := func(socket string) (*TLS, error) {
		clusters, err := ParseIstioctlClusters([]byte(`[{"name":"x","transportSocket":` + socket + `}]`))
		if err != nil {
			t.Fatal(err)
		}
		return clusters[0].TLS()
	}
	got, err := read(`{"name":"p","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
		"transportSocket":{"name":"t","typedConfig":{"@type":"` + context + `","autoHostSni":true,"commonTlsContext":{
			"tlsCertificates":[{"certificateChain":{"filename":"/etc/certs/client.pem"}}],
			"validationContext":{"trustedCa":{"inlineString":"x"},"crl":{"filename":"/etc/certs/crl.pem"},
				"matchTypedSubjectAltNames":[{"sanType":"URI","matcher":{"prefix":"spiffe://a/"}},{"sanType":"DNS","matcher":{"suffix":".b","ignoreCase":true}}]}}}}}}`)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "files, under PROXY protocol", &TLS{
		AutoHostSNI: true, Certificates: []string{"/etc/certs/client.pem"}, CA: "inline", CRL: "/etc/certs/crl.pem",
		SANs: []string{"uri:prefix:spiffe://a/", "dns:ignore-case:suffix:.b"}, MinVersion: "TLS_AUTO", MaxVersion: "TLS_AUTO",
	}, got)

	for name, socket := range map[string]string{
		"another kind": `{"name":"s","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"}}`,
		"no config":    `{"name":"s"}`,
	} {
		if _, err := read(socket); err == nil || !strings.Contains(err.Error(), `cluster "x"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClusterWords(t *testing.T) {
	c := cluster(t, "client-config-dump.json", hop1)
	rule, ok := c.DestinationRule()
	equal(t, "rule", "/apis/networking.istio.io/v1/namespaces/egress/destination-rule/egress-gateway", rule)
	equal(t, "has a rule", true, ok)
	equal(t, "endpoints", []string{"127.0.0.1:18443"}, c.Endpoints())

	_, ok = cluster(t, "client-config-dump.json", hop2).DestinationRule()
	equal(t, "without a rule", false, ok)
	equal(t, "pipe", []string{"unix:///etc/lab/nobody"}, cluster(t, "client-config-dump.json", "sds-grpc").Endpoints())
}

func TestSecrets(t *testing.T) {
	whole, err := ParseSecrets(sample(t, "gateway-config-dump.json"))
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, s := range whole {
		seen = append(seen, s.Name+" "+string(s.State)+" "+string(s.Kind))
	}
	equal(t, "secrets", []string{
		"kubernetes://partner-client ACTIVE certificate", "default ACTIVE certificate",
		"ROOTCA ACTIVE validation", "kubernetes://partner-client-cacert ACTIVE validation",
		"kubernetes://missing WARMING ",
	}, seen)

	equal(t, "last updated", "2026-11-23", whole[0].LastUpdated.Format(time.DateOnly))

	istioctl, err := ParseSecrets(sample(t, "gateway-istioctl-secret.json"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "istioctl", whole, istioctl)

	active, err := ParseSecrets(sample(t, "gateway-active-secrets.json"))
	if err != nil {
		t.Fatal(err)
	}
	warming, err := ParseSecrets(sample(t, "gateway-warming-secrets.json"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "?resource=", whole, append(active, warming...))

	var absent *AbsentError
	if _, err := FindSecrets(whole, "kubernetes://other"); !errors.As(err, &absent) {
		t.Errorf("absent secret: %v", err)
	}
	missing, err := FindSecrets(whole, "kubernetes://missing")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := missing[0].Leaf(); err == nil {
		t.Error("a warming secret has a certificate")
	}
}

// The certificate in the gateway's secret has to compare equal with what the
// partner logged of it: that is how G2 proves the very Secret.
func TestSecretIsWhatThePartnerSaw(t *testing.T) {
	secrets, err := ParseSecrets(sample(t, "gateway-config-dump.json"))
	if err != nil {
		t.Fatal(err)
	}
	found, err := FindSecrets(secrets, "kubernetes://partner-client")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := found[0].Leaf()
	if err != nil {
		t.Fatal(err)
	}
	log, err := ParsePartnerLog(lines(t, "partner-access.jsonl")[0])
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "serial", log.Serial, leaf.Serial)
	equal(t, "fingerprint", log.Fingerprint, leaf.SHA1)
	equal(t, "subject", log.DN, leaf.Subject)
	equal(t, "issuer", log.Issuer, leaf.Issuer)
	equal(t, "SANs", []string{"DNS:egress-client"}, leaf.SANs)
	equal(t, "CA", false, leaf.IsCA)
	equal(t, "SHA-256 digits", 64, len(leaf.SHA256))
	if !leaf.NotAfter.After(leaf.NotBefore) {
		t.Errorf("validity %s to %s", leaf.NotBefore, leaf.NotAfter)
	}
}

func TestSecretsRefuse(t *testing.T) {
	const entry = `{"dynamicActiveSecrets":[{"name":"s","secret":%s}]}`
	for name, raw := range map[string]string{
		"not JSON":  "Error: pod not found",
		"bad PEM":   strings.Replace(entry, "%s", `{"tlsCertificate":{"certificateChain":{"inlineBytes":"bm9uZQ=="}}}`, 1),
		"bad DER":   strings.Replace(entry, "%s", `{"validationContext":{"trustedCa":{"inlineString":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}}}`, 1),
		"no name":   `{"dynamicActiveSecrets":[{}]}`,
		"no secret": `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.RoutesConfigDump"}]}`,
	} {
		if got, err := ParseSecrets([]byte(raw)); err == nil {
			t.Errorf("%s passed: %v", name, got)
		}
	}
}

func TestNormalizeSerial(t *testing.T) {
	for in, want := range map[string]string{
		"764D0CE1786357D6": "764d0ce1786357d6", "0A:0b:FF": "a0bff", "00000000000000000000000000000001": "1",
	} {
		got, err := NormalizeSerial(in)
		if err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "serial", "0x1g"} {
		if got, err := NormalizeSerial(in); err == nil {
			t.Errorf("%q passed as %q", in, got)
		}
	}
}

func TestListeners(t *testing.T) {
	want := []Listener{{
		Name: "0.0.0.0_18443", Address: "127.0.0.1:18443", Version: "2026-09-01T10:00:00Z/7",
		Chains: []FilterChain{{
			ServerNames: []string{"partner.example.com"}, Transport: "tls",
			Filters: []string{"envoy.filters.network.http_connection_manager"}, RouteConfig: "https.8443.https.egress.egress",
			TLS: &DownstreamTLS{
				RequireClientCertificate: new(true), CertificateSDS: []string{"default"}, ValidationSDS: "ROOTCA",
				ALPN: []string{"istio-peer-exchange", "h2", "http/1.1"},
			},
		}},
	}}
	for _, file := range []string{"gateway-config-dump.json", "gateway-listeners.json"} {
		got, err := ParseListeners(sample(t, file))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, file, want, got)
	}
	got, err := ParseListeners(sample(t, "gateway-istioctl-listener.json"))
	if err != nil {
		t.Fatal(err)
	}
	want[0].Version = ""
	equal(t, "istioctl", want, got)
	equal(t, "served", []string{"partner.example.com"}, got[0].ServedNames())
	equal(t, "chain for another name", 0, len(got[0].ChainFor("wrong.example.com")))

	client, err := ParseListeners(sample(t, "client-config-dump.json"))
	if err != nil {
		t.Fatal(err)
	}
	outbound, err := FindListener(client, "virtualOutbound")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "TCP proxy", []FilterChain{{
		Name: "PassthroughFilterChain", Default: true, Filters: []string{"envoy.filters.network.tcp_proxy"}, TCPCluster: hop2,
	}}, outbound.Chains)
	var absent *AbsentError
	if _, err := FindListener(client, "0.0.0.0_443"); !errors.As(err, &absent) {
		t.Errorf("absent listener: %v", err)
	}
}

func TestRejectedListeners(t *testing.T) {
	got, err := ParseListeners(sample(t, "rejected-listeners.json"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range got {
		names = append(names, l.Name)
		equal(t, "chains", 0, len(l.Chains))
		if l.Rejected == nil || !strings.Contains(l.Rejected.Details, "UPSTREAM_LOCAL_SUBJECT") {
			t.Errorf("no reason for the refusal: %+v", l.Rejected)
		}
	}
	equal(t, "each by name and once more", []string{"virtualOutbound", "0.0.0.0_80", "0.0.0.0_80", "virtualOutbound"}, names,
		cmpopts.SortSlices(func(a, b string) bool { return a < b }))
}

func TestRoutes(t *testing.T) {
	retry := &Retry{On: "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes", Times: new(uint32(2))}
	want := []RouteConfig{{
		Name: "80", Version: "2026-09-01T10:00:00Z/7",
		VirtualHosts: []VirtualHost{
			{Name: "partner.example.com:80", Domains: []string{"partner.example.com"}, Routes: []Route{
				{Match: "prefix:/nc/", Clusters: []WeightedCluster{{Name: "outbound|8443|typo|egress-gateway.egress.svc.cluster.local"}}},
				{Match: "prefix:/split/", Clusters: []WeightedCluster{{Name: hop1, Weight: new(uint32(90))}, {Name: hop2, Weight: new(uint32(10))}}},
				{Match: "prefix:/", Clusters: []WeightedCluster{{Name: hop1}}, Retry: retry},
			}},
			{Name: "allow_any", Domains: []string{"*"}, Routes: []Route{
				{Name: "allow_any", Match: "prefix:/", Clusters: []WeightedCluster{{Name: "PassthroughCluster"}}},
			}},
		},
	}}
	for _, file := range []string{"client-config-dump.json", "client-routes.json"} {
		got, err := ParseRoutes(sample(t, file))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, file, want, got)
	}
	got, err := ParseRoutes(sample(t, "client-istioctl-route.json"))
	if err != nil {
		t.Fatal(err)
	}
	want[0].Version = ""
	equal(t, "istioctl", want, got)

	hosts, err := FindVirtualHosts(got, "80", "partner.example.com")
	if err != nil || len(hosts) != 1 {
		t.Errorf("virtual host: %v %v", hosts, err)
	}
	var absent *AbsentError
	if _, err := FindVirtualHosts(got, "443", "partner.example.com"); !errors.As(err, &absent) {
		t.Errorf("absent virtual host: %v", err)
	}
}

func TestStats(t *testing.T) {
	s, err := ParseStats(sample(t, "stats.txt"))
	if err != nil {
		t.Fatal(err)
	}
	total, ok := s.Value("cluster." + hop1 + ";.upstream_cx_total")
	equal(t, "connections", true, ok && total == 15)
	_, ok = s.Value("cluster.nowhere.upstream_cx_total")
	equal(t, "absent", false, ok)
	equal(t, "text", "2026-09-01T10:00:00Z/7", s.Texts["cluster_manager.cds.version_text"])
	equal(t, "histogram", "No recorded values", s.Histograms["cluster."+hop2+";.upstream_rq_per_cx"])
	if h := s.Histograms["cluster."+hop1+";.upstream_rq_per_cx"]; !strings.HasPrefix(h, "P0(") {
		t.Errorf("histogram: %q", h)
	}

	empty, err := ParseStats([]byte("\n"))
	if err != nil || len(empty.Values) != 0 {
		t.Errorf("no stats: %v %v", empty, err)
	}
	for _, raw := range []string{"a: b", "no colon", "a: -1", `a: "open`, "a: 1\na: 2", ": 1"} {
		if got, err := ParseStats([]byte(raw + "\n")); err == nil {
			t.Errorf("%q passed: %v", raw, got)
		}
	}
	if got, err := ParseStats([]byte("a: 1\nb: 1")); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("cut off within a number: %v, %v", got, err)
	}
}

func TestClusterStatuses(t *testing.T) {
	got, err := ParseClusterStatuses(sample(t, "client-cluster-statuses.json"))
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[string]Host{}
	for _, c := range got {
		for _, h := range c.Hosts {
			hosts[c.Name] = h
		}
	}
	ejected := hosts[hop1]
	equal(t, "flags", []string{"failed_outlier_check"}, ejected.Flags)
	equal(t, "discovery", "HEALTHY", ejected.EDSHealth)
	equal(t, "address", "127.0.0.1:18443", ejected.Address)
	if n, ok := ejected.Stats["cx_active"]; !ok || n != 1 {
		t.Errorf("cx_active %d %t: %v", n, ok, ejected.Stats)
	}
	equal(t, "healthy", 0, len(hosts[hop2].Flags))
	equal(t, "hostname", "localhost", hosts[hop2].Hostname)

	for _, raw := range []string{"", "{}", "a::b", `{"cluster_statuses":[{"name":"x","host_statuses":[{}]}]}`} {
		if got, err := ParseClusterStatuses([]byte(raw)); err == nil {
			t.Errorf("%q passed: %v", raw, got)
		}
	}
}

func accessLog(t *testing.T, file, with string) AccessLog {
	t.Helper()
	for _, line := range lines(t, file) {
		if !IsAccessLog(line) {
			t.Fatalf("not seen as an access log: %s", line)
		}
		if bytes.Contains(line, []byte(with)) {
			l, err := ParseAccessLog(line)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
	}
	t.Fatalf("%s has no line with %q", file, with)
	return AccessLog{}
}

func TestAccessLog(t *testing.T) {
	hidden := cmpopts.IgnoreUnexported(AccessLog{})
	got := accessLog(t, "access-log-gateway.jsonl", "t-ok")
	equal(t, "the request at the gateway", AccessLog{
		StartTime: got.StartTime, Duration: got.Duration, UpstreamServiceTime: got.UpstreamServiceTime,
		Method: "GET", Path: "/probe/t-ok", Protocol: "HTTP/1.1", Authority: "partner.example.com",
		RequestID: "48d249a6-eda1-45dd-98ea-c3e213a388a8", UserAgent: "curl/7.88.1",
		ResponseCode: new(uint64(200)), ResponseCodeDetails: "via_upstream", BytesReceived: new(uint64(0)), BytesSent: new(uint64(458)),
		ConnectionID: got.ConnectionID, DownstreamRemoteAddress: "127.0.0.1:41138", DownstreamDirectRemoteAddress: "127.0.0.1:41138",
		DownstreamLocalAddress: "127.0.0.1:18443", RequestedServerName: "partner.example.com",
		DownstreamTLSVersion: "TLSv1.3", DownstreamTLSCipher: "TLS_AES_128_GCM_SHA256",
		DownstreamPeerURISAN: callerID, DownstreamLocalURISAN: gatewayID,
		UpstreamCluster: hop2, UpstreamHost: "127.0.0.1:19443", UpstreamLocalAddress: got.UpstreamLocalAddress,
		UpstreamConnectionID: got.UpstreamConnectionID, UpstreamRequestAttemptCount: new(uint64(1)), UpstreamProtocol: "HTTP/1.1",
		UpstreamTLSVersion: "TLSv1.2", UpstreamTLSCipher: "ECDHE-ECDSA-AES128-GCM-SHA256",
		UpstreamPeerDNSSAN: "partner.example.com", UpstreamPeerSubject: "CN=partner.example.com",
	}, got, hidden)
	equal(t, "token", "t-ok", got.Token())
	equal(t, "day", "2026-11-23", got.StartTime.Format(time.DateOnly))
	if got.ConnectionID == nil || got.UpstreamConnectionID == nil || got.Duration == nil || got.UpstreamServiceTime == nil {
		t.Errorf("numbers went missing: %+v", got)
	}

	sidecar := accessLog(t, "access-log-sidecar.jsonl", "t-ok")
	equal(t, "the gateway's identity at the sidecar", gatewayID, sidecar.UpstreamPeerURISAN)
	equal(t, "joined addresses", sidecar.UpstreamLocalAddress, got.DownstreamRemoteAddress)

	refused := accessLog(t, "access-log-gateway.jsonl", "t-warming")
	equal(t, "flag", true, refused.HasFlag("UF"))
	equal(t, "another flag", false, refused.HasFlag("UO"))
	equal(t, "reason", "TLS_error:_Secret_is_not_supplied_by_SDS", refused.UpstreamTransportFailureReason)
	equal(t, "no connection was made", (*uint64)(nil), refused.UpstreamConnectionID)

	retried := accessLog(t, "access-log-sidecar.jsonl", "t-refused")
	equal(t, "attempts", uint64(3), *retried.UpstreamRequestAttemptCount)
	equal(t, "flags", []string{"URX"}, retried.ResponseFlags)

	lost := accessLog(t, "access-log-gateway.jsonl", "filter_chain_not_found")
	equal(t, "flags of a listener", []string{"NR"}, lost.ResponseFlags)
	equal(t, "wrong SNI", "wrong.example.com", lost.RequestedServerName)
	equal(t, "no token", "", lost.Token())
	equal(t, "code", uint64(0), *lost.ResponseCode)

	tcp := accessLog(t, "access-log-sidecar.jsonl", `:18001"`)
	equal(t, "TCP", "", tcp.Method+tcp.Path+tcp.Protocol)
	equal(t, "TCP cluster", hop2, tcp.UpstreamCluster)
}

func TestAccessLogFormatIsWhatIsParsed(t *testing.T) {
	var format map[string]string
	if err := json.Unmarshal([]byte(AccessLogFormat), &format); err != nil {
		t.Fatal(err)
	}
	for name, operator := range format {
		if !strings.HasPrefix(operator, "%") || strings.Count(operator, "%") != 2 {
			t.Errorf("%s: %q is not one operator", name, operator)
		}
	}
	// A captured line has exactly the format's fields, and the parser knows
	// each: a value of its own in one field has to change what is parsed.
	line := lines(t, "access-log-gateway.jsonl")[0]
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		t.Fatal(err)
	}
	before, err := ParseAccessLog(line)
	if err != nil {
		t.Fatal(err)
	}
	for name := range format {
		old, ok := fields[name]
		if !ok {
			t.Errorf("captured lines have no %s", name)
			continue
		}
		switch {
		case name == "start_time":
			fields[name] = "2001-02-03T04:05:06.789Z"
		case old == nil:
			fields[name] = "123456"
		default:
			fields[name] = "654321"
		}
		changed, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		after, err := ParseAccessLog(changed)
		if err != nil || cmp.Equal(before, after, cmpopts.IgnoreUnexported(AccessLog{})) {
			t.Errorf("the parser does not read %s (%v)", name, err)
		}
		if !after.Logged(name) {
			t.Errorf("%s does not count as logged", name)
		}
		fields[name] = old
	}
	for name := range fields {
		if _, ok := format[name]; !ok {
			t.Errorf("captured lines have %s, which the format lacks", name)
		}
	}
}

func TestAccessLogRefuses(t *testing.T) {
	line := string(lines(t, "access-log-gateway.jsonl")[0])
	for name, bad := range map[string]string{
		"the agent's line":  "2026-11-23T16:37:39.234Z\tinfo\tEnvoy proxy is ready",
		"a cut line":        line[:len(line)/2],
		"a missing field":   strings.Replace(line, `"response_flags"`, `"flags"`, 1),
		"a word for a code": strings.Replace(line, `"response_code":200`, `"response_code":"OK"`, 1),
		"no time":           strings.Replace(line, `"start_time":"2026`, `"start_time":"last year`, 1),
		"an object":         strings.Replace(line, `"method":"GET"`, `"method":{}`, 1),
		"null":              "null",
	} {
		if bad == line {
			t.Fatalf("%s: the line was not changed", name)
		}
		if got, err := ParseAccessLog([]byte(bad)); err == nil {
			t.Errorf("%s passed: %+v", name, got)
		}
	}
	for _, other := range []string{"", "{}", `{"level":"info","time":"x","msg":"response_flags"}`, "plain"} {
		if IsAccessLog([]byte(other)) {
			t.Errorf("%q counts as an access log", other)
		}
	}
}

func TestToken(t *testing.T) {
	for path, want := range map[string]string{
		"/probe/abc": "abc", "/abc?x=/y": "abc", "/a%20b": "a b", "/slow/": "", "": "", "/%zz": "%zz",
	} {
		equal(t, path, want, AccessLog{Path: path}.Token())
	}
}

func TestPartnerLog(t *testing.T) {
	all := lines(t, "partner-access.jsonl")
	got, err := ParsePartnerLog(all[0])
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "with a certificate", PartnerLog{
		Token: "t-ok", Time: got.Time, Logged: time.UnixMilli(1795451858939).UTC(), Status: 200, Port: 19443, Peer: "127.0.0.1", Host: "partner.example.com",
		URI: "/probe/t-ok", Protocol: "HTTP/1.1", TLS: "TLSv1.2", Cipher: "ECDHE-ECDSA-AES128-GCM-SHA256", SNI: "partner.example.com",
		Verify: "SUCCESS", DN: "O=Twohop,CN=egress-client", Issuer: "CN=partner client CA",
		Serial: "764d0ce1786357d6a767a8dce99099e51c891d97", Fingerprint: "a7eeb3bdb4fe69d17b021b71455b54d303f1a062",
		XFCC: got.XFCC, Connection: 1, ConnectionRequests: 1,
	}, got)
	equal(t, "time", "2026-11-23 16:37:38", got.Time.UTC().Format(time.DateTime))
	if got.XFCC == nil || !strings.Contains(*got.XFCC, "URI="+callerID) || !strings.Contains(*got.XFCC, `Subject="`) {
		t.Errorf("XFCC: %v", got.XFCC)
	}
	for _, line := range all {
		l, err := ParsePartnerLog(line)
		if err != nil || !IsPartnerLog(line) {
			t.Errorf("%v: %s", err, line)
		}
		switch l.Token {
		case "t-plain", "tcp-bypass":
			equal(t, "plaintext", "", l.TLS+l.Verify+l.DN+l.Serial)
		case "direct-nocert":
			equal(t, "no certificate", "NONE", l.Verify)
			equal(t, "no header", "", *l.XFCC)
		}
	}

	curl, err := ParseCurl(sample(t, "curl-ok.txt"))
	if err != nil {
		t.Fatal(err)
	}
	echo, err := ParsePartnerEcho(curl.Body)
	if err != nil {
		t.Fatal(err)
	}
	got.Time, got.Logged, got.XFCC = time.Time{}, time.Time{}, nil
	equal(t, "the answer says what the log says", got, echo)
}

func TestPartnerLogRefuses(t *testing.T) {
	line := string(lines(t, "partner-access.jsonl")[0])
	for name, bad := range map[string]string{
		"error log":    string(lines(t, "partner-error.log")[0]),
		"no verify":    strings.Replace(line, `"verify"`, `"verified"`, 1),
		"no status":    strings.Replace(line, `"status":"200"`, `"status":""`, 1),
		"bad serial":   strings.Replace(line, `"serial":"764D`, `"serial":"none`, 1),
		"no time":      strings.Replace(line, `"time"`, `"when"`, 1),
		"no xfcc":      strings.Replace(line, `"xfcc"`, `"header"`, 1),
		"empty peer":   strings.Replace(line, `"peer":"127.0.0.1"`, `"peer":""`, 1),
		"cut":          line[:100],
		"not a number": strings.Replace(line, `"connection":"1"`, `"connection":"one"`, 1),
	} {
		if bad == line {
			t.Fatalf("%s: the line was not changed", name)
		}
		if got, err := ParsePartnerLog([]byte(bad)); err == nil {
			t.Errorf("%s passed: %+v", name, got)
		}
	}
	if _, err := ParsePartnerEcho(sample(t, "curl-nocert.txt")); err == nil {
		t.Error("nginx's error page passed for an answer")
	}
}

func TestNginxError(t *testing.T) {
	var got []NginxError
	for _, line := range lines(t, "partner-error.log") {
		e, err := ParseNginxError(line)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
		if e.Message == "" || e.Level == "" || e.Time.Year() != 2026 {
			t.Errorf("%+v of %s", e, line)
		}
	}
	find := func(what string) NginxError {
		for _, e := range got {
			if strings.Contains(e.Message, what) {
				return e
			}
		}
		t.Fatalf("no line with %q", what)
		return NginxError{}
	}
	e := find("no required SSL certificate")
	equal(t, "refusal", NginxError{
		Time: e.Time, Level: "info", Connection: new(uint64(7)),
		Message: "client sent no required SSL certificate while reading client request headers",
		Client:  "127.0.0.1", Request: "GET /direct-nocert HTTP/1.1", Host: "partner.example.com",
	}, e)
	equal(t, "token", "direct-nocert", e.Token())
	e = find("while SSL handshaking")
	equal(t, "handshake", "127.0.0.1:19443", e.Server)
	equal(t, "no token", "", e.Token())
	if e := find("epoll"); e.Connection != nil || e.Client != "" {
		t.Errorf("a start-up line of a connection: %+v", e)
	}
	for _, bad := range []string{"", `{"token":"x"}`, "2026/13/45 00:00:00 [info] 1#1: x", "nginx: [emerg] host not found"} {
		if e, err := ParseNginxError([]byte(bad)); err == nil {
			t.Errorf("%q passed: %+v", bad, e)
		}
	}
}

func TestCurl(t *testing.T) {
	ok, err := ParseCurl(sample(t, "curl-ok.txt"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "an answer", CurlResult{
		Body: ok.Body, HTTPCode: 200, HTTPVersion: "1.1", Method: "GET", URL: "http://127.0.0.1:18080/probe/t-ok",
		RemoteIP: "127.0.0.1", RemotePort: 18080, LocalIP: "127.0.0.1", LocalPort: 41482, NumConnects: 1,
		TimeTotal: ok.TimeTotal, TimeConnect: ok.TimeConnect,
	}, ok)
	equal(t, "time", 8758*time.Microsecond, ok.TimeTotal.Round(time.Microsecond))
	equal(t, "size of the body", 458, len(ok.Body))

	refused, err := ParseCurl(sample(t, "curl-refused.txt"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "exit code", 7, refused.ExitCode)
	equal(t, "no code", 0, refused.HTTPCode)
	equal(t, "no body", 0, len(refused.Body))
	if !strings.Contains(refused.ErrorMsg, "Couldn't connect") {
		t.Errorf("reason: %q", refused.ErrorMsg)
	}

	for file, want := range map[string]string{
		"curl-nocert.txt": "No required SSL certificate was sent",
		"curl-400.txt":    "plain HTTP request was sent to HTTPS port",
		"curl-503.txt":    "upstream connect error",
	} {
		r, err := ParseCurl(sample(t, file))
		if err != nil || !bytes.Contains(r.Body, []byte(want)) || r.HTTPCode < 400 {
			t.Errorf("%s: %d %v: %s", file, r.HTTPCode, err, r.Body)
		}
	}
}

func TestCurlMany(t *testing.T) {
	raw := sample(t, "curl-many.txt")
	got, err := ParseCurlMany(raw)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "transfers", 2, len(got))
	for i, token := range []string{"m3", "m4"} {
		echo, err := ParsePartnerEcho(got[i].Body)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "token", token, echo.Token)
	}
	equal(t, "the second reuses the connection", 0, got[1].NumConnects)

	// Without a newline after the trailer the next body starts on its line.
	tight := bytes.ReplaceAll(raw, []byte("\"}\n{"), []byte("\"}{"))
	if bytes.Equal(tight, raw) {
		t.Fatal("the sample was not changed")
	}
	again, err := ParseCurlMany(tight)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "tight", got, again)

	one, err := ParseCurlMany(sample(t, "curl-nocert.txt"))
	if err != nil || len(one) != 1 {
		t.Errorf("one transfer: %d %v", len(one), err)
	}
	for name, bad := range map[string][]byte{
		"cut":     raw[:len(raw)-40],
		"rest":    append(bytes.Clone(raw), "more"...),
		"nothing": nil,
	} {
		if got, err := ParseCurlMany(bad); err == nil {
			t.Errorf("%s passed with %d transfers", name, len(got))
		}
	}
}

func TestCurlStopped(t *testing.T) {
	raw := sample(t, "curl-many.txt")
	for name, c := range map[string]struct {
		raw  []byte
		want int
	}{
		"all of it":              {raw, 2},
		"cut in the trailer":     {raw[:len(raw)-40], 1},
		"a body without trailer": {append(bytes.Clone(raw), "{\"token\":\"m5\"}\n"...), 2},
	} {
		got, err := ParseCurlStopped(c.raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		equal(t, name, c.want, len(got))
	}
	if got, err := ParseCurlStopped(raw[:20]); err == nil {
		t.Errorf("less than one transfer passed as %d", len(got))
	}
}

func TestCurlRefuses(t *testing.T) {
	raw := sample(t, "curl-ok.txt")
	body, _, _ := bytes.Cut(raw, []byte("\n\n"))
	for name, bad := range map[string][]byte{
		"nothing":          nil,
		"the body alone":   body,
		"a cut trailer":    bytes.TrimRight(raw, "}\n"),
		"text after it":    append(bytes.TrimRight(raw, "\n"), " command terminated with exit code 7"...),
		"a line after it":  append(bytes.Clone(raw), "command terminated with exit code 7\n"...),
		"without exitcode": bytes.Replace(raw, []byte(`"exitcode":0,`), nil, 1),
		"null for a code":  bytes.Replace(raw, []byte(`"http_code":200`), []byte(`"http_code":null`), 1),
	} {
		if bytes.Equal(bad, raw) {
			t.Fatalf("%s: the sample was not changed", name)
		}
		if got, err := ParseCurl(bad); err == nil {
			t.Errorf("%s passed: %+v", name, got)
		}
	}
}
