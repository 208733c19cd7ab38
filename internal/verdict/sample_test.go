package verdict

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"twohop/internal/claim"
)

// sample makes a run's folder as a real run leaves it: seven claims, each with
// its control, and evidence of every kind. Its clock and its id are fixed.
type sample struct {
	t      *testing.T
	folder *Folder
	clock  time.Time
	slots  map[string]int // by claim and stage: the last ordinal
}

var sampleStart = time.Date(2026, 11, 23, 16, 30, 0, 0, time.UTC)

var sampleClaims = []claim.Claim{
	{ID: "S1", Chapter: claim.Goals, Section: "§2.1", Expected: claim.Supported,
		Statement: "Hop 1 is mesh mTLS: a DestinationRule and a Gateway server, both ISTIO_MUTUAL, as a pair."},
	{ID: "S2", Chapter: claim.Goals, Section: "§3.1", Expected: claim.Supported,
		Statement: "Hop 2 is MUTUAL with credentialName: the gateway presents the client certificate of a Secret in its own namespace."},
	{ID: "S3", Chapter: claim.Goals, Section: "§2.2", Expected: claim.Supported,
		Statement: "connectionPool lands on the proxy that opens the hop: hop 1's values on the client sidecar only, hop 2's on the gateway only."},
	{ID: "S3-yaml", Chapter: claim.Goals, Section: "§5", Expected: claim.Refuted,
		Statement: "The guide's first YAML, tcpKeepalive {time: 300}, is accepted.",
		Lesson:    "The API server refuses a number: a Duration is a string with a unit. Write 300s."},
	{ID: "S-align", Chapter: claim.Traps, Section: "§5", Expected: claim.Supported,
		Statement: "Every string of the alignment map matters."},
	{ID: "S-differs", Chapter: claim.Field, Expected: claim.Refuted,
		Statement: "If the partner does not ask for a client certificate, something fails."},
	{ID: "S-unsure", Chapter: claim.Field, Expected: claim.Supported,
		Statement: "With resolution DNS a moved partner is followed."},
	{ID: "S-absent", Chapter: claim.Field, Expected: claim.Supported,
		Statement: "With two gateway pods each holds its own limit."},
}

// makeSample writes the run into dir. all adds claims that differ, are
// inconclusive or did not run; without it the run is green.
func makeSample(t *testing.T, dir string, all bool) *Folder {
	t.Helper()
	s := &sample{t: t, clock: sampleStart, slots: map[string]int{}}
	selection := sampleClaims[:5]
	if all {
		selection = sampleClaims
	}
	var ids []string
	for _, c := range selection {
		ids = append(ids, string(c.ID))
	}
	f, err := create(dir, Run{Header: Header{
		ID: "20261123T163000Z-5a17e0", Start: sampleStart, Seed: 1700000000, Selection: strings.Join(ids, ","),
		HarnessCommit: "0123456789ab", Lane: "source", Engine: "podman 4.3.1",
	}}, selection, func() time.Time { return s.clock })
	s.ok(err)
	s.folder = f
	s.phase("engine", 400*time.Millisecond)
	s.phase("images", 1200*time.Millisecond)
	s.phase("cluster", 17*time.Second)
	s.phase("istio", 9*time.Second)
	s.phase("lab", 4*time.Second)
	s.ok(f.SetRun(func(r *Run) {
		r.Istio, r.Kubernetes, r.Envoy = "1.31", "v1.36.1", "1.39.3"
		r.Cluster, r.Domain = "twohop", "cluster.local"
		r.Asked.Images = map[string]string{"localhost/twohop/proxy": "sha256:" + strings.Repeat("ab", 32), "localhost/twohop/node": "sha256:" + strings.Repeat("cd", 32)}
		r.Notes = []string{"This lane runs upstream Envoy, without Istio's own filters."}
	}))
	claims := s.clock
	s.g1()
	s.g2()
	s.g3()
	s.g3yaml()
	s.align()
	if all {
		s.differs()
		s.unsure()
	}
	s.ok(f.AddPhase("claims", claims))
	s.phase("down", 2*time.Second)
	_, err = f.Finish("", "")
	s.ok(err)
	return f
}

func (s *sample) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *sample) phase(name string, took time.Duration) {
	start := s.clock
	s.clock = s.clock.Add(took)
	s.ok(s.folder.AddPhase(name, start))
}

// save keeps bytes as an observation of the stage by which the name begins.
func (s *sample) save(id claim.ID, name, kind, witness, command, raw string) Evidence {
	s.t.Helper()
	e := Evidence{Kind: kind, Witness: witness, Command: command, Stage: "check", Question: "what " + name + " says"}
	if stage, rest, ok := strings.Cut(name, "-"); ok && (stage == "check" || stage == "control") {
		e.Stage, name = stage, rest
	}
	slot := string(id) + e.Stage
	s.slots[slot]++
	e.Ordinal = s.slots[slot]
	var err error
	e.Path, e.SHA256, err = s.folder.SaveFile(id, fmt.Sprintf("%s-%03d-%s", e.Stage, e.Ordinal, name), []byte(raw))
	s.ok(err)
	e.Chain = Chain("", e)
	return e
}

// proven completes a finding as an experiment does: facts that differ are those
// that flip, and each has its evidence.
func proven(f Finding) Finding {
	if f.Check == nil || f.Control == nil {
		return f
	}
	for i := range f.Check.Facts {
		a, b := &f.Check.Facts[i], &f.Control.Facts[i]
		a.Flips, b.Flips = a.OK != b.OK, a.OK != b.OK
	}
	for _, facts := range [][]Fact{f.Check.Facts, f.Check.Cause, f.Control.Facts, f.Control.Cause} {
		for i := range facts {
			if facts[i].Evidence == nil {
				facts[i].Evidence = []string{f.Evidence[0].Path}
			}
		}
	}
	return f
}

func (s *sample) record(f Finding, took time.Duration) {
	s.t.Helper()
	f = proven(f)
	f.Start, f.DurationMillis, f.Attempts = s.clock, took.Milliseconds(), 1
	script, err := s.folder.SaveScript(f.Claim, []byte("#!/bin/sh\n# How to see claim "+string(f.Claim)+" by hand.\nset -x\nkubectl -n app exec deploy/client -- curl -s http://partner.example.com/\n"))
	s.ok(err)
	f.Reproduce = script
	s.clock = s.clock.Add(took)
	s.ok(s.folder.Record(f))
}

func (s *sample) json(v any) string {
	s.t.Helper()
	raw, err := json.MarshalIndent(v, "", "  ")
	s.ok(err)
	return string(raw) + "\n"
}

type object = map[string]any

// probe saves the three logs of one request and what curl said.
func (s *sample) probe(id claim.ID, what, token string, status int, flags, cluster, details string, partner object) (curl, sidecar, gateway, nginx Evidence) {
	s.t.Helper()
	curl = s.save(id, what+"-curl", KindCurl, WitnessClient, "kubectl -n app exec deploy/client -- curl -sS http://partner.example.com/"+token,
		fmt.Sprintf("{\"token\":%q}\n{\"http_code\":%d,\"time_total\":0.012,\"url\":\"http://partner.example.com/%s\",\"exitcode\":0}\n", token, status, token))
	sidecarLog, _ := json.Marshal(object{
		"path": "/" + token, "response_code": status, "response_flags": flags, "upstream_cluster": cluster,
		"response_code_details": details, "authority": "partner.example.com", "protocol": "HTTP/1.1",
	})
	sidecar = s.save(id, what+"-sidecar-log", KindAccessLog, WitnessSidecar, "kubectl -n app logs deploy/client -c istio-proxy | grep "+token, string(sidecarLog)+"\n")
	gatewayLog, _ := json.Marshal(object{
		"path": "/" + token, "response_code": status, "response_flags": flags, "requested_server_name": "partner.example.com",
		"upstream_cluster":        "outbound|443||partner.example.com",
		"downstream_peer_uri_san": "spiffe://cluster.local/ns/app/sa/client", "upstream_host": "10.244.0.9:8443",
	})
	gateway = s.save(id, what+"-gateway-log", KindAccessLog, WitnessGateway, "kubectl -n app logs deploy/gateway | grep "+token, string(gatewayLog)+"\n")
	line := ""
	if partner != nil {
		partner["path"] = "/" + token
		raw, _ := json.Marshal(partner)
		line = string(raw) + "\n"
	}
	nginx = s.save(id, what+"-partner-log", KindPartnerLog, WitnessPartner, "kubectl -n partner logs deploy/partner | grep "+token, line)
	return curl, sidecar, gateway, nginx
}

func shownBy(f Fact, evidence ...Evidence) Fact {
	for _, e := range evidence {
		f.Evidence = append(f.Evidence, e.Path)
	}
	return f
}

const hop1Cluster = "outbound|8443|partner|gateway.app.svc.cluster.local"

func (s *sample) g1() {
	clusters := s.save("S1", "sidecar-clusters.json", KindClusters, WitnessSidecar, "istioctl proxy-config cluster deploy/client -n app -o json", s.json([]object{{
		"name": hop1Cluster,
		"transportSocket": object{"name": "envoy.transport_sockets.tls", "typedConfig": object{
			"sni": "partner.example.com", "commonTlsContext": object{
				"tlsCertificateSdsSecretConfigs": []object{{"name": "default"}},
				"combinedValidationContext":      object{"validationContextSdsSecretConfig": object{"name": "ROOTCA"}},
			}}},
	}}))
	partner := object{"verify": "SUCCESS", "dn": "CN=egress-client", "peer": "10.244.0.7", "sni": "partner.example.com"}
	curl, sidecar, gateway, nginx := s.probe("S1", "check", "t00000000000000a1", 200, "-", hop1Cluster, "via_upstream", partner)
	curl2, sidecar2, gateway2, nginx2 := s.probe("S1", "control", "t00000000000000a2", 503, "UC", hop1Cluster, "upstream_reset_before_response_started{connection_termination}", nil)
	facts := func(status, tls string) []Fact {
		return []Fact{
			shownBy(fact("client, curl: status", "200", status), map[bool]Evidence{true: curl, false: curl2}[status == "200"]),
			shownBy(fact("client sidecar, hop-1 cluster: TLS", "yes", tls), clusters),
			shownBy(fact("client sidecar, hop-1 cluster: SNI", "partner.example.com", map[string]string{"yes": "partner.example.com", "no": "absent"}[tls]), clusters),
		}
	}
	arrived := func(gateway, nginx Evidence, verify string) []Fact {
		return []Fact{
			shownBy(fact("gateway, access log: caller", "spiffe://cluster.local/ns/app/sa/client", "spiffe://cluster.local/ns/app/sa/client"), gateway),
			shownBy(fact("partner, log: verify", "SUCCESS", verify), nginx),
		}
	}
	s.record(Finding{
		Claim: "S1", Check: &Trial{Facts: append(facts("200", "yes"), arrived(gateway, nginx, "SUCCESS")...)},
		Control: &Trial{Change: "drop tls from the hop-1 DestinationRule", Facts: append(facts("503", "no"), arrived(gateway2, nginx2, "absent")...), Cause: []Fact{
			shownBy(fact("client sidecar, access log: flags", "UC", "UC"), sidecar2),
		}},
		Evidence: []Evidence{clusters, curl, sidecar, gateway, nginx, curl2, sidecar2, gateway2, nginx2},
	}, 1400*time.Millisecond)
}

func (s *sample) g2() {
	secrets := s.save("S2", "gateway-secrets.json", KindSecrets, WitnessGateway, "istioctl proxy-config secret deploy/gateway -n app -o json", s.json(object{
		"dynamicActiveSecrets": []object{{"name": "kubernetes://partner-client"}, {"name": "kubernetes://partner-client-cacert"}},
	}))
	istiod := s.save("S2", "istiod.log", KindText, WitnessIstiod, "kubectl -n istio-system logs deploy/istiod",
		"info\tads\tSDS: PUSH for node gateway\n<script>alert('from a log line')</script> \x1b[31mred\x1b[0m\n")
	partner := object{"verify": "SUCCESS", "dn": "CN=egress-client", "serial": "5F3A9C0011", "peer": "10.244.0.7", "sni": "partner.example.com"}
	curl, sidecar, gateway, nginx := s.probe("S2", "check", "t00000000000000a3", 200, "-", hop1Cluster, "via_upstream", partner)
	curl2, sidecar2, gateway2, nginx2 := s.probe("S2", "control", "t00000000000000a4", 400, "-", hop1Cluster, "via_upstream",
		object{"verify": "NONE", "dn": "", "peer": "10.244.0.7", "error": "client sent no required SSL certificate"})
	s.record(Finding{
		Claim: "S2",
		Check: &Trial{Facts: []Fact{
			shownBy(fact("client, curl: status", "200", "200"), curl),
			shownBy(fact("partner, log: serial of the client certificate", "5F3A9C0011", "5F3A9C0011"), nginx),
			shownBy(fact("gateway, secret kubernetes://partner-client", "ACTIVE", "ACTIVE")),
		}},
		Control: &Trial{Change: "hop 2 on SIMPLE with the same CA", Facts: []Fact{
			shownBy(fact("client, curl: status", "200", "400"), curl2),
			shownBy(fact("partner, log: serial of the client certificate", "5F3A9C0011", "absent"), nginx2),
			shownBy(fact("gateway, secret kubernetes://partner-client", "ACTIVE", "ACTIVE")),
		}, Cause: []Fact{
			shownBy(fact("partner, error log", "client sent no required SSL certificate", "client sent no required SSL certificate"), nginx2),
		}},
		Evidence: []Evidence{secrets, istiod, curl, sidecar, gateway, nginx, curl2, sidecar2, gateway2, nginx2},
	}, 1900*time.Millisecond)
}

func (s *sample) g3() {
	pool := func(id, witness, name string, connections int) Evidence {
		return s.save("S3", id, KindClusters, witness, "istioctl proxy-config cluster -o json", s.json([]object{{
			"name":                          name,
			"connectTimeout":                "3s",
			"circuitBreakers":               object{"thresholds": []object{{"maxConnections": connections}}},
			"upstreamConnectionOptions":     object{"tcpKeepalive": object{"keepaliveTime": 300, "keepaliveInterval": 30, "keepaliveProbes": 3}},
			"typedExtensionProtocolOptions": object{"sni": "partner.example.com"},
		}}))
	}
	a := pool("check-sidecar-clusters.json", WitnessSidecar, hop1Cluster, 77)
	b := pool("check-gateway-clusters.json", WitnessGateway, "outbound|443||partner.example.com", 83)
	c := pool("control-sidecar-clusters.json", WitnessSidecar, hop1Cluster, 83)
	d := pool("control-gateway-clusters.json", WitnessGateway, "outbound|443||partner.example.com", 77)
	facts := func(one, two string, a, b Evidence) []Fact {
		return []Fact{
			shownBy(fact("client sidecar, hop-1 cluster: maxConnections", "77", one), a),
			shownBy(fact("gateway, hop-2 cluster: maxConnections", "83", two), b),
			shownBy(fact("client sidecar, hop-1 cluster: keepalive", "300/30/3", "300/30/3")),
			shownBy(fact("gateway, hop-1 cluster", "absent", "absent"), b),
		}
	}
	s.record(Finding{
		Claim: "S3", Check: &Trial{Facts: facts("77", "83", a, b)},
		Control: &Trial{Change: "swap the two pools", Facts: facts("83", "77", c, d), Cause: []Fact{
			shownBy(fact("the proxy that is wrong", "client sidecar and gateway", "client sidecar and gateway")),
		}},
		Evidence: []Evidence{a, b, c, d},
	}, 900*time.Millisecond)
}

func (s *sample) g3yaml() {
	number := s.save("S3-yaml", "number.yaml", KindYAML, "", "kubectl apply --dry-run=server -f number.yaml",
		"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nspec:\n  trafficPolicy:\n    connectionPool:\n      tcp:\n        tcpKeepalive: {time: 300}\n")
	refused := s.save("S3-yaml", "number-answer", KindText, WitnessAPI, "kubectl apply --dry-run=server -f number.yaml",
		"The DestinationRule \"partner\" is invalid: spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.time: Invalid value: \"integer\": must be of type string: \"integer\"\n")
	accepted := s.save("S3-yaml", "string-answer.json", KindJSON, WitnessAPI, "kubectl apply --dry-run=server -o json -f string.yaml",
		s.json(object{"kind": "DestinationRule", "result": "created"}))
	s.record(Finding{
		Claim: "S3-yaml",
		Check: &Trial{
			Facts: []Fact{shownBy(fact("API server, answer", "created", "Invalid"), refused)},
			Cause: []Fact{shownBy(fact("API server, message", "must be of type string", "must be of type string"), refused)},
		},
		Control:  &Trial{Change: "write 300s", Facts: []Fact{shownBy(fact("API server, answer", "created", "created"), accepted)}},
		Evidence: []Evidence{number, refused, accepted},
	}, 120*time.Millisecond)
}

func (s *sample) align() {
	e := s.save("S-align", "rows.json", KindJSON, "", "twohop run --claims S-align", s.json([]string{"200", "503", "NR"}))
	s.record(Finding{
		Claim: "S-align",
		Check: &Trial{Facts: []Fact{shownBy(fact("rows with a symptom", "4", "4"), e)}},
		Control: &Trial{Change: "break no string", Facts: []Fact{shownBy(fact("rows with a symptom", "4", "0"), e)},
			Cause: []Fact{shownBy(fact("status of every row", "200", "200"), e)}},
		Evidence: []Evidence{e},
		Table: &Table{
			Title:  "The alignment map: each string broken in turn",
			Header: []string{"string", "where", "symptom", "flag", "istioctl analyze"},
			Rows: [][]string{
				{"DestinationRule host", "hop 1", "503, the subset's cluster does not exist", "NC cluster_not_found", "silent"},
				{"DestinationRule sni", "hop 1", "503, the gateway has no filter chain for this name and closes the connection", "UC; at the gateway NR filter_chain_not_found", "silent"},
				{"VirtualService host at the gateway", "hop 1", "404", "NR route_not_found", "silent"},
				{"credentialName", "hop 2", "503", "UF, Secret_is_not_supplied_by_SDS", "silent"},
			},
		},
	}, 5200*time.Millisecond)
}

func (s *sample) differs() {
	e := s.save("S-differs", "curl", KindCurl, WitnessClient, "curl", "{\"http_code\":503}\n")
	s.record(Finding{
		Claim: "S-differs", Check: &Trial{Facts: []Fact{shownBy(fact("client, curl: status", "503", "503"), e)}},
		Control: &Trial{Change: "ask for the certificate again", Facts: []Fact{shownBy(fact("client, curl: status", "503", "200"), e)},
			Cause: []Fact{shownBy(fact("partner, log: <b>verify</b>", "SUCCESS", "SUCCESS"))}},
		Evidence: []Evidence{e},
	}, 800*time.Millisecond)
}

func (s *sample) unsure() {
	e := s.save("S-unsure", "curl", KindCurl, WitnessClient, "curl", "curl: (6) Could not resolve host\n")
	s.record(Finding{Claim: "S-unsure", Error: "curl's trailer is missing: the last line is not JSON", Evidence: []Evidence{e}}, 300*time.Millisecond)
}
