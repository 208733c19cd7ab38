package suites

import (
	"fmt"
	"strings"

	. "github.com/onsi/gomega"

	"twohop/internal/check"
	"twohop/internal/manifest"
	"twohop/internal/verdict"
)

// badValue is a document with a place for a value: one that cannot be right,
// and one that is.
type badValue struct {
	name, document, bad, good string
	// says is part of the API server's refusal.
	says string
}

var _ = Claim("V-reject", func(s *Setup) Experiment[[]*check.Admission] {
	const right = "right"
	values := badValues(s)
	return Experiment[[]*check.Admission]{
		Check: func(t *T) (admissions []*check.Admission) {
			var table *verdict.Table
			if !given(t, right, false) {
				table = t.Table("Values that the API server refuses", "value", "written", "the API server says")
			}
			for _, v := range values {
				value := v.bad
				if given(t, right, false) {
					value = v.good
				}
				a := t.DryRunCreate(strings.ReplaceAll(v.document, "VALUE", value))
				a.Fact(v.name+": accepted", a.Accepted, BeFalse())
				a.Fact(v.name+": message", a.Message, ContainSubstring(v.says))
				if table != nil {
					table.Rows = append(table.Rows, []string{v.name, value, a.Message})
				}
				admissions = append(admissions, a)
			}
			return admissions
		},
		Control: vary(manifest.Input("write the value that each document should have", right, true)),
		Cause: func(t *T, admissions []*check.Admission) {
			for i, a := range admissions {
				a.Fact(values[i].name+", with the right value: message", a.Message, BeEmpty())
			}
		},
		Flips: []string{"API server: *: accepted", "API server: *: message"},
	}
})

func badValues(s *Setup) []badValue {
	document := func(kind, spec string) string { return document(s, kind, spec) }
	host := s.Subject.ExternalHost
	rule := func(policy string) string {
		return document("DestinationRule", fmt.Sprintf("{host: %s, trafficPolicy: %s}", host, policy))
	}
	pool := func(settings string) string { return rule("{connectionPool: " + settings + "}") }
	tls := func(settings string) string { return rule("{tls: " + settings + "}") }
	gateway := func(server string) string {
		return document("Gateway", fmt.Sprintf("{selector: {istio: none}, servers: [%s]}", server))
	}
	return []badValue{
		{"tcpKeepalive.time, a number", pool("{tcp: {tcpKeepalive: {time: VALUE}}}"), "300", "300s", "must be of type string"},
		{"maxConnections, a text", pool("{tcp: {maxConnections: VALUE}}"), `"77"`, "77", "must be of type integer"},
		{"maxConnections, negative", pool("{tcp: {maxConnections: VALUE}}"), "-1", "1", "max connections must be non-negative"},
		{"connectTimeout below a millisecond", pool("{tcp: {connectTimeout: VALUE}}"), "0.5ms", "5ms", "must be a valid duration greater than 1ms"},
		{"connectTimeout, not whole milliseconds", pool("{tcp: {connectTimeout: VALUE}}"), "1.5ms", "2ms", "only durations to ms precision are supported"},
		{"maxConnectionDuration, a word", pool("{tcp: {maxConnectionDuration: VALUE}}"), "forever", "1h", "must be a valid duration"},
		{"maxRequestsPerConnection, negative", pool("{http: {maxRequestsPerConnection: VALUE}}"), "-1", "1", "max requests per connection must be non-negative"},
		{"h2UpgradePolicy, no such policy", pool("{http: {h2UpgradePolicy: VALUE}}"), `"ALWAYS"`, "UPGRADE", "Unsupported value"},
		{"maxEjectionPercent above 100", rule("{outlierDetection: {maxEjectionPercent: VALUE}}"), "101", "100", "percentage 101 is not in range 0..100"},
		{"tls.mode in small letters", tls("{mode: VALUE}"), "simple", "SIMPLE", "Unsupported value"},
		{"a misspelt field of tls", tls("{mode: MUTUAL, VALUE: a-secret}"), "credentialname", "credentialName", "unknown field"},
		{"credentialName beside a certificate file", tls("{mode: MUTUAL, credentialName: a-secret, VALUE}"), "clientCertificate: /etc/c.pem", "sni: a.example.com", "cannot specify client certificates"},
		{"MUTUAL with neither Secret nor files", tls("{mode: MUTUAL, VALUE}"), "sni: a.example.com", "credentialName: a-secret", "client certificate required for mutual tls"},
		{"MUTUAL with a certificate and no key", tls("{mode: MUTUAL, clientCertificate: /etc/c.pem, VALUE}"), "sni: a.example.com", "privateKey: /etc/k.pem", "private key required for mutual tls"},
		{"a rule without a host", document("DestinationRule", "{VALUE}"), "exportTo: [.]", "host: " + host, "Required value"},
		{"portLevelSettings without a port", rule("{portLevelSettings: [{tls: {mode: SIMPLE}, VALUE}]}"), "loadBalancer: {simple: RANDOM}", "port: {number: 443}", "portTrafficPolicy must have valid port"},
		{"two subsets of one name", document("DestinationRule", "{host: "+host+", subsets: [{name: a}, {name: VALUE}]}"), "a", "b", "duplicate"},
		{"a Gateway's HTTPS server without tls", gateway("{port: {number: 8443, name: https, protocol: HTTPS}, hosts: [" + host + "]VALUE}"), "", ", tls: {mode: ISTIO_MUTUAL}", "server must have TLS settings"},
		{"a Gateway's ISTIO_MUTUAL with credentialName", gateway("{port: {number: 8443, name: https, protocol: HTTPS}, hosts: [" + host + "], tls: {mode: ISTIO_MUTUALVALUE}}"), ", credentialName: a-secret", "", "ISTIO_MUTUAL TLS"},
		{"a port above 65535", gateway("{port: {number: VALUE, name: https, protocol: HTTPS}, hosts: [" + host + "], tls: {mode: ISTIO_MUTUAL}}"), "70000", "7000", "port number 70000 must be in the range 1..65535"},
		{"a ServiceEntry for every host", document("ServiceEntry", "{hosts: [VALUE], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}"), `"*"`, host, "hostname cannot be wildcard"},
		{"two ports of one number in a ServiceEntry", document("ServiceEntry", "{hosts: ["+host+"], ports: [{number: 443, name: tls, protocol: TLS}, {number: VALUE, name: more, protocol: TLS}], resolution: DNS}"), "443", "444", "duplicate"},
		{"a VirtualService without a route", document("VirtualService", "{hosts: ["+host+"]VALUE}"), "", ", http: [{route: [{destination: {host: " + host + "}}]}]", "http, tcp or tls must be provided"},
		{"a retry of negative attempts", document("VirtualService", "{hosts: ["+host+"], http: [{route: [{destination: {host: "+host+"}}], retries: {attempts: VALUE}}]}"), "-1", "0", "attempts cannot be negative"},
	}
}

var _ = Claim("V-reject-2", func(s *Setup) Experiment[[]*check.Admission] {
	// A DestinationRule's settings are checked only where their mode uses them
	// (pkg/config/validation, validateTLS); a Gateway's are checked in full
	// (pkg/config/validation, validateTLSOptions).
	const where = "where"
	fields := []struct{ rule, server string }{ // the same field is called otherwise in a Gateway
		{"credentialName", "credentialName"},
		{"clientCertificate", "serverCertificate"},
	}
	return Experiment[[]*check.Admission]{
		Check: func(t *T) (admissions []*check.Admission) {
			for _, f := range fields {
				written := document(s, "DestinationRule", fmt.Sprintf("{host: %s, trafficPolicy: {tls: {mode: ISTIO_MUTUAL, %s: a-secret}}}", t.Subject.ExternalHost, f.rule))
				if given(t, where, "DestinationRule") == "Gateway" {
					written = document(s, "Gateway", fmt.Sprintf("{selector: {istio: none}, servers: [{port: {number: 8443, name: https, protocol: HTTPS}, "+
						"hosts: [a.example.com], tls: {mode: ISTIO_MUTUAL, %s: a-secret}}]}", f.server))
				}
				a := t.DryRunCreate(written)
				a.Fact("ISTIO_MUTUAL with "+f.rule+": accepted", a.Accepted, BeFalse())
				a.Fact("ISTIO_MUTUAL with "+f.rule+": message", a.Message, ContainSubstring("ISTIO_MUTUAL TLS"))
				admissions = append(admissions, a)
			}
			return admissions
		},
		Cause: func(_ *T, admissions []*check.Admission) {
			for i, a := range admissions {
				a.Fact("ISTIO_MUTUAL with "+fields[i].rule+": message", a.Message, BeEmpty())
			}
		},
		Control: vary(manifest.Input("write the same into a Gateway's server", where, "Gateway")),
		Flips:   []string{"API server: ISTIO_MUTUAL with *: accepted", "API server: ISTIO_MUTUAL with *: message"},
	}
})

// document is one that is only tried, in the gateway's namespace.
func document(s *Setup, kind, spec string) string {
	return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: %s\nmetadata: {name: tried, namespace: %s}\nspec: %s\n",
		kind, s.Subject.Gateway.Namespace, spec)
}
