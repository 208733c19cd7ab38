package report

import (
	"twohop/internal/audit"
	"twohop/internal/objects"
)

const (
	host   = "api.partner.example.com"
	other  = "settle.bank.example.com"
	caller = "sidecar twohop-client/client"
	exit   = "gateway twohop-egress/partner-egressgateway"
)

func ref(kind, name string) objects.Ref {
	return objects.Ref{Kind: kind, Namespace: "twohop-egress", Name: name}
}

// rich has a finding of each status and severity, and what makes rendering hard: one
// object seen by several proxies, two fields of one object, no file, no object.
func rich() *audit.Report {
	hop1 := ref("DestinationRule", "egressgateway-partner")
	plaintext := audit.Finding{
		ID: "19", Title: "Hop 1 is mutual TLS at both ends", Severity: audit.Critical, Status: audit.Fail, Hop: 1, Host: host,
		Object: hop1, File: "egress/30-egress.yaml", Line: 42, Field: "spec.subsets[0].trafficPolicy.portLevelSettings[0].tls.mode",
		Proxy: caller, Seen: "DISABLE", Wanted: "ISTIO_MUTUAL",
		Patch: "spec:\n  subsets:\n    - name: partner\n      trafficPolicy:\n        portLevelSettings:\n          - port: {number: 8443}\n            tls: {mode: ISTIO_MUTUAL, sni: " + host + "}\n",
		Why:   "The Gateway's server expects mutual TLS of the mesh; it resets a connection that starts in plaintext, so every call fails.", Claim: "H1-unpaired",
	}
	again := plaintext
	again.Proxy = "sidecar twohop-client/batch"
	noSNI := plaintext
	noSNI.Seen, noSNI.Wanted, noSNI.Line, noSNI.Field = "no sni", host, 41, "spec.subsets[0].trafficPolicy.portLevelSettings[0].tls.sni"
	return &audit.Report{
		APIVersion: audit.Version,
		Run: audit.Run{
			Source: "computed", Istio: "1.31.4", At: "2026-11-23T16:30:00Z", Inputs: []string{"egress/", "mesh.yaml"}, FailOn: audit.High,
			Assumed: []string{"a gateway in namespace twohop-egress whose pods have the labels that Gateway twohop-egress/egress-partner selects", "one caller, in namespace default, with no labels"},
		},
		Channels: []audit.Channel{{
			Host: host, Ports: []string{"80", "443"}, Why: []string{"a VirtualService of the mesh leads to a gateway"},
			Callers: []string{"Deployment twohop-client/client", "Deployment twohop-client/batch"}, Gateways: []string{"Deployment twohop-egress/partner-egressgateway"},
			Objects: []objects.Ref{hop1, ref("VirtualService", "partner-via-egress")}, Result: audit.Failed,
			Hops: []audit.Hop{
				{Number: 1, From: "sidecar twohop-client/client", To: "partner-egressgateway.twohop-egress.svc.cluster.local", TLS: "plaintext", Connections: "77", Rule: hop1.String(),
					Cluster: "outbound|8443|partner|partner-egressgateway.twohop-egress.svc.cluster.local"},
				{Number: 1, From: "sidecar twohop-client/batch", To: "partner-egressgateway.twohop-egress.svc.cluster.local", TLS: "plaintext", Connections: "77", Rule: hop1.String(),
					Cluster: "outbound|8443|partner|partner-egressgateway.twohop-egress.svc.cluster.local"},
				{Number: 2, From: exit, To: host + ":443", TLS: "mutual", ServerName: host,
					Certificate: "partner-client-credential", SANs: host, Connections: "83", Rule: "DestinationRule twohop-egress/partner-originate-mtls"},
			},
		}, {
			Host: other, Ports: []string{"8443"}, Callers: []string{"Deployment bank/settler (assumed)"}, Result: audit.Unclear,
		}},
		Findings: []audit.Finding{
			{
				ID: "20", Title: "The gateway says who may leave", Severity: audit.Medium, Status: audit.Excepted, Hop: 1, Host: host,
				Object: ref("AuthorizationPolicy", "egress-callers"), Seen: "no policy", Wanted: "a policy that names the callers",
				Why:       "Mutual TLS admits every identity of the mesh.",
				Claim:     "H1-identity-2",
				Exception: &audit.Exception{ID: "20", Host: host, Reason: "the namespace has one workload", Owner: "team-payments", Expires: "2027-01-31"},
			},
			{
				ID: "21", Title: "Certificates are valid and match their keys", Severity: audit.High, Status: audit.Unknown, Hop: 2, Host: host,
				Object: objects.Ref{Kind: "Secret", Namespace: "twohop-egress", Name: "partner-client-credential"},
				Proxy:  exit, Seen: "the input has no Secret of this name", Wanted: "dates that include today",
				Patch: "Give the certificate without its key: --certificate partner-client-credential=client.crt",
				Why:   "istiod reads the first PEM block only.",
			},
			{
				ID: "23", Title: "Limits act where they are written", Severity: audit.Medium, Status: audit.Fail, Hop: 2, Host: host,
				Object: ref("DestinationRule", "partner-originate-mtls"), File: "egress/30-egress.yaml", Line: 71,
				Field: "spec.exportTo", Proxy: exit, Seen: "connectionPool on the sidecar", Wanted: "connectionPool on the gateway",
				Why: "A pool limits the proxy that opens the connection.", Claim: "G3",
			},
			plaintext, again, noSNI,
			{
				ID: "13", Title: "Every route to the host leads through the gateway", Severity: audit.High, Status: audit.Fail, Hop: 0, Host: host,
				Object: ref("ServiceEntry", "partner-api"), File: "egress/30-egress.yaml", Line: 15, Field: "spec.ports[1]",
				Proxy: caller, Seen: "port 443 is routed to the partner", Wanted: "a route to the gateway for each port",
				Patch: "Add a tls route for port 443 to VirtualService twohop-egress/partner-via-egress.",
				Why:   "Under ALLOW_ANY a call without a route of the mesh leaves by itself, without the client certificate.", Claim: "G4",
			},
			{
				ID: "15", Title: "The network lets only the gateway out", Severity: audit.Low, Status: audit.Fail, Hop: 0,
				Seen: "no NetworkPolicy", Wanted: "a NetworkPolicy that lets only the gateway out",
				Why: "A sidecar is not a firewall: a container can leave its traffic redirection.",
			},
		},
		Checks: []audit.Check{
			{ID: "04", Title: "The gateway's credential exists", Host: host, Seen: "kubernetes://partner-client-credential"},
			{ID: "18", Title: "Every cluster that a route names exists", Host: host},
		},
		Totals: audit.Totals{Channels: 2, Passed: 2, Failed: map[audit.Severity]int{audit.Critical: 3, audit.High: 1, audit.Medium: 1, audit.Low: 1}, Unknown: 1, Excepted: 1},
		Result: audit.Failed,
	}
}

// passed has nothing to change and nothing to learn.
func passed() *audit.Report {
	r := rich()
	c := r.Channels[0]
	c.Hops[0].TLS, c.Hops[1].TLS = "mutual", "mutual"
	c.Result, c.DoubleTLS = audit.Passed, true
	r.Channels, r.Findings, r.Run.Assumed = []audit.Channel{c}, nil, nil
	r.Totals = audit.Totals{Channels: 1, Passed: 2}
	r.Result = audit.Passed
	return r
}

// empty found no channel.
func empty() *audit.Report {
	return &audit.Report{
		APIVersion: audit.Version, Run: audit.Run{Source: "computed", Istio: "1.31.4", Inputs: []string{"egress/"}, FailOn: audit.High},
		Result: audit.Unclear,
	}
}

var samples = map[string]func() *audit.Report{"rich": rich, "passed": passed, "empty": empty}
