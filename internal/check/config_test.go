package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/onsi/gomega"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/observe/recorded"
	"twohop/internal/subject"
)

const hop1 = "outbound|8443|partner|egress-gateway.egress.svc.cluster.local"

func TestCluster(t *testing.T) {
	tp := newTape(t)
	dump := capture(t, "client-config-dump.json")
	check, facts := tp.begin(says(dump), says(dump))
	c := check.Cluster(check.Sidecar, hop1)
	if !c.Present || c.Pool.MaxConnections == nil || c.TLSOrZero().SNI == "" {
		t.Errorf("%+v", c)
	}
	if q := tp.asked[0].(observe.Admin); q.Role != subject.Sidecar || !strings.Contains(q.Path, "BlackHoleCluster") || !strings.Contains(q.Path, "name_regex") {
		t.Errorf("%+v", q)
	}
	c.Is(gomega.BeTrue())
	if f := lastFact(t, facts); !f.OK || f.Name != "client sidecar, "+hop1+": present" || f.Evidence[0] != "02-sidecar-cluster.json" {
		t.Errorf("%+v", f)
	}

	// A cluster that is absent is a finding, and nothing of it is read.
	c = check.Cluster(check.Sidecar, "outbound|1||nobody")
	c.Is(gomega.BeFalse())
	if f := lastFact(t, facts); c.Present || !f.OK || c.TLSOrZero().SNI != "" || c.DestinationRule() != "" {
		t.Errorf("%+v", c)
	}
}

// An answer without the cluster that every proxy has is no list of clusters: the
// absence of another one is not to be read from it.
func TestAnswersThatAreNoListOfClusters(t *testing.T) {
	whole := capture(t, "client-config-dump.json")
	for name, tt := range map[string]struct {
		raw  []byte
		says string
	}{
		"the anchor is missing": {bytes.ReplaceAll(whole, []byte("BlackHoleCluster"), []byte("WhiteHoleCluster")), "client sidecar shows no BlackHoleCluster"},
		"another proxy's":       {capture(t, "gateway-active-clusters.json"), "shows no BlackHoleCluster"},
		"nothing":               {[]byte("{}"), "client sidecar"},
		"no JSON":               {[]byte("upstream connect error"), "client sidecar"},
		"cut":                   {whole[:len(whole)/2], "client sidecar"},
	} {
		t.Run(name, func(t *testing.T) {
			check, facts := newTape(t).begin(says(tt.raw))
			abortsWith(t, tt.says, func() { check.Cluster(check.Sidecar, "outbound|1||nobody") })
			if len(*facts) != 0 {
				t.Errorf("%+v", *facts)
			}
		})
	}
}

func TestAgreesWithIstioctl(t *testing.T) {
	theirs, ours := capture(t, "client-istioctl-cluster.json"), capture(t, "client-config-dump.json")
	for name, tt := range map[string]struct {
		theirs []byte
		agree  bool
	}{
		"the same":             {theirs, true},
		"another name":         {bytes.ReplaceAll(theirs, []byte(hop1), []byte("outbound|8443|other|egress-gateway.egress.svc.cluster.local")), false},
		"another setting":      {bytes.Replace(theirs, []byte(`"connectTimeout": "`), []byte(`"connectTimeout": "1`), 1), false},
		"one that it lacks":    {bytes.Replace(theirs, []byte("["), []byte(`[{"name":"outbound|1||other.example.com","type":"EDS"},`), 1), false},
		"bootstrap's clusters": {bytes.Replace(theirs, []byte("["), []byte(`[{"name":"prometheus_stats","type":"STATIC"},`), 1), true},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "the same" && bytes.Equal(tt.theirs, theirs) {
				t.Fatal("this test changes nothing in the capture")
			}
			tp := newTape(t)
			check, facts := tp.begin(says(tt.theirs), says(ours))
			if ok := check.AgreesWithIstioctl(gomega.BeEmpty(), check.Sidecar); ok != tt.agree {
				t.Errorf("%+v", *facts)
			}
			if q := tp.asked[0].(observe.Istioctl); strings.Join(q.Args, " ") != "proxy-config cluster sidecar-1 --namespace ns --output json" {
				t.Error(q.Args)
			}
		})
	}
}

const endpointName = "outbound|8443|partner|egress-gateway.egress.svc.cluster.local"

func stats(values ...string) answer {
	text := ""
	for _, v := range values {
		text += "cluster." + endpointName + ";." + v + "\n"
	}
	return says([]byte(text))
}

func TestCountersGrew(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, after answer
		want          any // what grew by; nil: nothing is seen
		says          string
	}{
		{"it grew", stats("upstream_cx_total: 3"), stats("upstream_cx_total: 5"), uint64(2), ""},
		{"it stayed", stats("upstream_cx_total: 3"), stats("upstream_cx_total: 3"), uint64(0), ""},
		{"absent before", stats("upstream_rq_total: 1"), stats("upstream_cx_total: 5"), nil, ""},
		{"absent now", stats("upstream_cx_total: 3"), stats("upstream_rq_total: 1"), nil, ""},
		{"absent both times", stats("upstream_rq_total: 1"), stats("upstream_rq_total: 1"), nil, ""},
		{"it went back", stats("upstream_cx_total: 5"), stats("upstream_cx_total: 3"), nil, "went back from 5 to 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check, facts := newTape(t).begin(tt.before, tt.after)
			before, after := check.Counters(check.Sidecar, endpointName), check.Counters(check.Sidecar, endpointName)
			if tt.says != "" {
				abortsWith(t, tt.says, func() { after.Grew(before, "upstream_cx_total", gomega.BeNumerically(">", 0)) })
				return
			}
			if ok := after.Grew(before, "upstream_cx_total", gomega.BeNumerically("==", tt.want)); ok != (tt.want != nil) {
				t.Errorf("%+v", *facts)
			}
			f := lastFact(t, facts)
			if len(f.Evidence) != 2 || f.Evidence[0] == f.Evidence[1] || f.Because {
				t.Errorf("%+v", f)
			}
			if after.GrewBecause(before, "upstream_cx_total", gomega.BeNil()); !lastFact(t, facts).Because {
				t.Errorf("%+v", lastFact(t, facts))
			}
		})
	}
	check, _ := newTape(t).begin(says([]byte("")), says([]byte("no statistics")))
	abortsWith(t, "client sidecar prints no statistics about", func() { check.Counters(check.Sidecar, endpointName) })
	abortsWith(t, "client sidecar", func() { check.Counters(check.Sidecar, endpointName) })
}

func TestHosts(t *testing.T) {
	raw := capture(t, "client-cluster-statuses.json")
	check, facts := newTape(t).begin(says(raw), says(raw), says(raw), says(raw), says(raw))
	h := check.Hosts(check.Sidecar, endpointName)
	h.Fact("addresses", h.Addresses, gomega.ConsistOf("127.0.0.1:18443"))
	if f := lastFact(t, facts); !f.OK {
		t.Errorf("%+v", f)
	}
	check.Connections(check.Sidecar, endpointName, gomega.BeNumerically(">", 0))
	if f := lastFact(t, facts); !f.OK {
		t.Errorf("%+v", f)
	}
	abortsWith(t, "client sidecar has no cluster outbound|1||nobody", func() { check.Connections(check.Sidecar, "outbound|1||nobody", gomega.BeNumerically("==", 0)) })
	if e := check.OnlyEndpoint(check.Sidecar, endpointName); e.Address != "127.0.0.1:18443" {
		t.Errorf("%+v", e)
	}
	abortsWith(t, "client sidecar has 0 hosts in cluster outbound|1||nobody, not one", func() { check.OnlyEndpoint(check.Sidecar, "outbound|1||nobody") })
}

func activeRequests(n string) []byte {
	return []byte(`{"cluster_statuses":[{"name":"` + endpointName + `","host_statuses":[{"address":{"socket_address":{"address":"127.0.0.1","port_value":18443}},
		"stats":[{"type":"GAUGE","name":"rq_active","value":"` + n + `"}],"health_status":{"eds_health_status":"HEALTHY"}}]}]}`)
}

func TestInFlightRequest(t *testing.T) {
	tp := newTape(t)
	none := func(*tape, observe.Question) recorded.Entry { return recorded.Entry{} }
	check, facts := tp.begin(none, says(activeRequests("1")), says(activeRequests("1")), says(activeRequests("0")), none)
	r := check.InFlight(check.Sidecar, endpointName, "x-hold: yes")
	q := tp.asked[0].(observe.Requests)
	if !q.Held || strings.Join(q.Request.Args, " ") != "-H x-hold: yes" {
		t.Errorf("%+v", q)
	}
	done := tp.asked[1].(observe.Until).Done
	for raw, want := range map[string]bool{"0": false, "1": true, "2": false} {
		if got, _, err := done(activeRequests(raw)); got != want || err != nil {
			t.Errorf("%s active: %v, %v", raw, got, err)
		}
	}
	if !r.Active("before", gomega.BeNumerically("==", 1)) || r.Active("after", gomega.BeNumerically("==", 1)) {
		t.Errorf("%+v", *facts)
	}
	if f := (*facts)[0]; f.Name != "client sidecar, "+endpointName+": active requests before" || len(f.Evidence) != 1 {
		t.Errorf("%+v", f)
	}
	r.Release()
	if stop, ok := tp.asked[4].(observe.Stop); !ok || stop.Token != q.Request.Token {
		t.Errorf("%+v", tp.asked[4])
	}
}

// warmingSecrets is the capture that was cut down to one secret, with the mesh's
// CA, which a proxy lists as well.
func warmingSecrets(t *testing.T) []byte {
	t.Helper()
	var list, full struct {
		Configs []json.RawMessage `json:"configs"`
	}
	if err := errors.Join(json.Unmarshal(capture(t, "gateway-warming-secrets.json"), &list), json.Unmarshal(capture(t, "gateway-active-secrets.json"), &full)); err != nil {
		t.Fatal(err)
	}
	for _, s := range full.Configs {
		if bytes.Contains(s, []byte(`"ROOTCA"`)) {
			list.Configs = append(list.Configs, s)
		}
	}
	raw, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestSecrets(t *testing.T) {
	alone, warming, active := capture(t, "gateway-warming-secrets.json"), warmingSecrets(t), capture(t, "gateway-active-secrets.json")
	check, facts := newTape(t).begin(says(warming), says(warming), says(active), says([]byte("no JSON")), says(alone))
	s := check.Secret(check.Gateway, "kubernetes://missing")
	if !s.Present || s.State != envoy.SecretWarming {
		t.Errorf("%+v", s)
	}
	s.Because("state", s.State, gomega.Equal(envoy.SecretWarming))
	if f := lastFact(t, facts); !f.OK || !f.Because || f.Name != "gateway, secret kubernetes://missing: state" {
		t.Errorf("%+v", f)
	}
	if s := check.Secret(check.Gateway, "kubernetes://nobody"); s.Present || s.State == envoy.SecretWarming || s.Name != "kubernetes://nobody" {
		t.Errorf("%+v", s)
	}
	all, err := envoy.ParseSecrets(active)
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range all {
		if found.State != envoy.SecretActive || found.Name == "ROOTCA" {
			continue
		}
		if s := check.Secret(check.Gateway, found.Name); s.State != envoy.SecretActive {
			t.Errorf("%+v", s)
		}
		break
	}
	abortsWith(t, "gateway", func() { check.Secret(check.Gateway, "x") })
	abortsWith(t, "shows no secret ROOTCA", func() { check.Secret(check.Gateway, "kubernetes://nobody") })
}

// A decision is awaited in istiod's log from where the claim began: an old
// refusal decides nothing.
func TestAwaitDecision(t *testing.T) {
	tp := newTape(t)
	tp.marks[subject.Istiod] = 7
	warming := warmingSecrets(t)
	check, _ := tp.begin(func(_ *tape, q observe.Question) recorded.Entry {
		until := q.(observe.Until)
		if or := until.Or; or == nil || or.Role != subject.Istiod || or.Since != 7 || strings.Join(or.Holds, "|") != "partner-egressgateway/twohop-egress|is not authorized to read secrets" {
			t.Errorf("%+v", until.Or)
		}
		if done, last, err := until.Done(warming); done || err != nil || last == "" {
			t.Errorf("a secret on its way settles it: %v, %q, %v", done, last, err)
		}
		return recorded.Entry{Raw: warming}
	})
	if s := check.AwaitDecision(check.Gateway, "kubernetes://missing"); s.State != envoy.SecretWarming {
		t.Errorf("%+v", s)
	}
}

func TestIstiodLog(t *testing.T) {
	tp := newTape(t)
	const refusal = "gateway/ns is not authorized to read secrets"
	tp.print(subject.Istiod, "old "+refusal)
	tp.marks[subject.Istiod] = 1
	flush := func(lines ...string) answer {
		return func(tp *tape, q observe.Question) recorded.Entry {
			f := q.(observe.Flush)
			if f.Role != subject.Istiod || f.Since != 1 {
				t.Errorf("%+v", f)
			}
			tp.print(subject.Istiod, append(lines, "PUSH for node:gateway-1")...)
			return recorded.Entry{Windows: []observe.Window{tp.window(subject.Istiod, f.Since, "PUSH for node:gateway-1")}}
		}
	}
	check, _ := tp.begin(flush(), flush("other", "new "+refusal))
	if line, path := check.IstiodLog("gateway/ns", "not authorized"); line != "" || path != "istiod.log" {
		t.Errorf("an old line is taken: %q", line)
	}
	if line, _ := check.IstiodLog("gateway/ns", "not authorized"); line != "new "+refusal {
		t.Errorf("%q", line)
	}
	if tp.derived["istiod.log"] != "new "+refusal+"\n" {
		t.Errorf("%q", tp.derived["istiod.log"])
	}
}

func TestDryRunCreate(t *testing.T) {
	const object = `{"kind":"DestinationRule","apiVersion":"networking.istio.io/v1","metadata":{"name":"r"}}`
	const refusal = `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"tcpKeepalive.time must be of type string","reason":"Invalid","code":422}`
	check, facts := newTape(t).begin(says([]byte(object)), says([]byte(refusal)), says([]byte("upstream connect error")))
	if a := check.DryRunCreate("doc"); !a.Accepted || a.Message != "" {
		t.Errorf("%+v", a)
	}
	a := check.DryRunCreate("doc")
	if a.Accepted || a.Message != "tcpKeepalive.time must be of type string" {
		t.Errorf("%+v", a)
	}
	a.Fact("accepted", a.Accepted, gomega.BeTrue())
	if f := lastFact(t, facts); f.OK || f.Name != "API server: accepted" || len(f.Evidence) != 2 {
		t.Errorf("%+v", f)
	}
	abortsWith(t, "the API server's answer to a dry run", func() { check.DryRunCreate("doc") })
}

// The ordinal is taken where the check asks, and each stage begins anew.
func TestSlots(t *testing.T) {
	s := &Session{Claim: "G1", Key: observe.Key("k")}
	s.Enter("check")
	first, second := s.Next(), s.Next()
	s.Enter("control")
	if third := s.Next(); first.String() != "G1/check/01" || second.Ordinal != 2 || third.String() != "G1/control/01" {
		t.Errorf("%v, %v, %v", first, second, third)
	}
	if a, b := s.Unique("x"), s.Unique("x"); a == b || len(a) != len("x-")+12 {
		t.Errorf("%s, %s", a, b)
	}
}

func TestNobodyPlaysARole(t *testing.T) {
	tp := newTape(t)
	tp.cast.Pods = tp.cast.Pods[:1]
	session := &Session{Source: tp, Claim: "G1"}
	if _, err := New(t.Context(), session, subject.Default()); err == nil || err.Error() != "nobody plays the client's sidecar or the gateway" {
		t.Error(err)
	}
}

// A log of a pod that came after the claim began is looked at from its beginning.
func TestSince(t *testing.T) {
	tp := newTape(t)
	tp.marks[subject.Partner] = 5
	check, _ := tp.begin()
	if got := check.since(subject.Partner); got != 5 {
		t.Error(got)
	}
	tp.marks[subject.Partner] = 9
	check.Meet() // the mark is where the claim began
	if got := check.since(subject.Partner); got != 5 {
		t.Error(got)
	}
	tp.cast.Pods[2].Log = "logs/partner-2.log"
	check.Meet()
	if got := check.since(subject.Partner); got != 0 {
		t.Error(got)
	}
}

func TestOtherPanicsGoOn(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("the panic is lost")
		}
	}()
	_ = aborted(func() { panic("a mistake") })
}
