package audit

import (
	"strings"
	"testing"

	"twohop/internal/channel"
	"twohop/internal/objects"
	"twohop/internal/walk"
)

// asked has a gateway's policies decide on the requests of one caller.
func asked(t *testing.T, policies ...string) *egress {
	t.Helper()
	set := &objects.Set{}
	for _, p := range policies {
		doc := "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: p, namespace: egress }\nspec: " + p
		if err := set.Parse("policy", []byte(doc)); err != nil {
			t.Fatal(err)
		}
	}
	m := channel.Read(set, channel.DefaultSettings())
	if len(m.Unknown) > 0 {
		t.Fatalf("%+v", m.Unknown)
	}
	caller := &channel.Workload{Ref: objects.Ref{Kind: "Deployment", Namespace: "app", Name: "client"}, Account: "client", Proxy: channel.Sidecar}
	gateway := &channel.Workload{Ref: objects.Ref{Kind: "Deployment", Namespace: "egress", Name: "gateway"}, Account: "gateway", Proxy: channel.Router}
	m.Workloads = append(m.Workloads, caller, gateway)
	a := &auditor{Input: Input{Mesh: m}, report: &Report{}, looked: map[[2]string]string{}, rejected: map[objects.Ref]bool{}, explained: map[[2]string]bool{}, seen: map[string]bool{}}
	e := &egress{
		auditor: a, Channel: &channel.Channel{Host: "api.example.com", Routers: []*channel.Workload{gateway}}, reached: []*channel.Workload{gateway},
		allowed: map[*channel.Workload]int{}, denied: map[*channel.Workload][]denial{},
	}
	e.authorize(caller, gateway, walk.Way{Sample: walk.Request{Port: 8443, ServerName: "api.example.com"}})
	e.policies()
	return e
}

func TestAuthorizationPolicies(t *testing.T) {
	const caller = `principals: ["cluster.local/ns/app/sa/client"]`
	for _, x := range []struct {
		name     string
		policies []string
		want     string // status and severity; empty for passed
		says     string
	}{
		{"the caller is named", []string{`{ action: ALLOW, rules: [{ from: [{ source: { ` + caller + ` } }] }] }`}, "", ""},
		{"the caller may do some things", []string{`{ action: ALLOW, rules: [{ from: [{ source: { ` + caller + ` } }], to: [{ operation: { methods: [GET] } }] }] }`}, "", ""},
		{"nobody is allowed", []string{`{ action: ALLOW }`}, "fail critical", "no rule allows"},
		{"all are denied", []string{`{ action: DENY, rules: [{}] }`}, "fail critical", "it denies"},
		{"the caller is denied", []string{`{ action: DENY, rules: [{ from: [{ source: { ` + caller + ` } }] }] }`}, "fail critical", "it denies"},
		{"all but the caller are denied", []string{`{ action: DENY, rules: [{ from: [{ source: { notPrincipals: ["cluster.local/ns/app/sa/client"] } }] }] }`}, "", ""},
		{"another host is denied", []string{`{ action: DENY, rules: [{ to: [{ operation: { hosts: ["other.example.com"] } }] }] }`}, "", ""},
		{"some paths are denied", []string{`{ action: DENY, rules: [{ to: [{ operation: { paths: ["/admin"] } }] }] }`}, "unknown low", "some requests"},
		{"some methods are denied", []string{`{ action: DENY, rules: [{ to: [{ operation: { notMethods: [GET] } }] }] }`}, "unknown low", "some requests"},
		{"some addresses are denied", []string{`{ action: DENY, rules: [{ from: [{ source: { ipBlocks: ["10.0.0.0/8"] } }] }] }`}, "unknown low", "some requests"},
		{"a header is denied", []string{`{ action: DENY, rules: [{ when: [{ key: "request.headers[x]", values: ["y"] }] }] }`}, "unknown low", "some requests"},
		{"another namespace is denied", []string{`{ action: DENY, rules: [{ when: [{ key: source.namespace, values: [other] }] }] }`}, "", ""},
		{"all but the namespace are denied", []string{`{ action: DENY, rules: [{ when: [{ key: source.namespace, notValues: [app] }] }] }`}, "", ""},
		{"an authorizer decides", []string{`{ action: CUSTOM, provider: { name: opa }, rules: [{}] }`}, "unknown medium", "opa"},
		{"an account with its namespace", []string{`{ action: ALLOW, rules: [{ from: [{ source: { serviceAccounts: [app/client] } }] }] }`}, "", ""},
		{"an account of the policy's own namespace", []string{`{ action: ALLOW, rules: [{ from: [{ source: { serviceAccounts: [client] } }] }] }`}, "fail critical", "no rule allows"},
		{"only audited", []string{`{ action: AUDIT, rules: [{}] }`}, "", ""},
	} {
		e := asked(t, x.policies...)
		got, seen := "", ""
		for _, f := range e.report.Findings {
			got, seen = string(f.Status)+" "+string(f.Severity), f.Seen
		}
		if got != x.want || !strings.Contains(seen, x.says) || len(e.report.Findings) > 1 {
			t.Errorf("%s: %q %q, want %q %q", x.name, got, seen, x.want, x.says)
		}
	}
}
