package verdict

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/claim"
)

func TestDiffOfARunWithItselfIsSame(t *testing.T) {
	v := sampleVerdict(t, true)
	d := Diff(v, v)
	if !d.Same || len(d.Versions)+len(d.Turned)+len(d.New)+len(d.Gone)+len(d.Moved)+len(d.Followed) > 0 {
		t.Errorf("%+v", d)
	}
	if !strings.HasPrefix(d.Summary(), "Same") {
		t.Error(d.Summary())
	}
}

func TestDiffIgnoresWhatDiffersAnyway(t *testing.T) {
	base := Result{ID: "X1", Finding: Finding{Claim: "X1", Check: &Trial{}}}
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"peer 10.244.0.7:41234", "peer 10.244.0.19:50122", true},
		{"5F3A9C0011AB", "0D22FE91CC34", true},
		{"serial 1A2B3C4D5E6F708192A3B4C5D6E7F8091A2B3C4D", "serial 0000000000AAAAAAAAAABBBBBBBBBBCCCCCCCCCC", true},
		{"gateway-6f7c9d8b5c-x2x4z holds it", "gateway-5b6c7d8f9d-b4b6w holds it", true},
		{"/probe/tf9a1bd22ef520937", "/probe/t7061a9c90a6e1563", true},
		{"kubernetes://elsewhere-6502271251bf", "kubernetes://elsewhere-c4ae95cfce07", true},
		{"SNI xapi.partner-2.example.com", "SNI xapi.partner.example.com", true},
		{`"host":"api.partner-…`, `"host":"api.partner.e…`, true},
		{"/probe/t0a1b2c3d4e5f", "/probe/tffffffffffff", true},
		{"at 2026-11-23T16:30:00Z", "at 2026-11-24T02:00:00.123Z", true},
		{"uid 0f8fad5b-d9cb-469f-a165-70867728950e", "uid 7c9e6679-7425-40de-944b-e07fc1f90ae7", true},
		{"AA:BB:CC:DD:EE:FF:00:11:22", "AB:BB:CC:DD:EE:FF:00:11:22", true},
		{`{"connection":"61","connection_requests":"3","msec":"1795453165.543"}`, `{"connection":"7","connection_requests":"1","msec":"1795453308.011"}`, true},
		{`"peer":"10.244.0.254","ho…`, `"peer":"10.244.0.94","hos…`, true},
		{"twohop-egress/partner-api", "twohop-egress-3/partner-api", true},
		{"GET api.partner-2.example.com", "GET api.partner.example.com", true},
		{"istiod.istio-system-2.svc", "istiod.istio-system.svc", true},
		{"partner-egressgateway-2", "partner-egressgateway", false},
		{"no such cluster…", "no such route…", false},
		{"4294967295", "1024", false},
		{"UF", "UC", false},
		{"TLSv1.2", "TLSv1.3", false},
		{"ECDHE-RSA-AES256-GCM-SHA384", "TLS_AES_256_GCM_SHA384", false},
		{"3s", "10s", false},
		{"12345678", "87654321", false},
		{"deadbeef", "feedface", false}, // words, for all one can tell
	} {
		with := func(seen string) *Verdict {
			r := base
			r.Check = &Trial{Facts: []Fact{{Name: "n", Expected: "e", Seen: seen}}}
			return &Verdict{Claims: []Result{r}}
		}
		d := Diff(with(tt.a), with(tt.b))
		if d.Same != tt.same {
			t.Errorf("%q and %q: same = %v", tt.a, tt.b, d.Same)
		}
	}
}

func TestDiffIgnoresConnectionNumbers(t *testing.T) {
	with := func(name, seen string) *Verdict {
		return &Verdict{Claims: []Result{{ID: "X1", Finding: Finding{Claim: "X1", Check: &Trial{Facts: []Fact{{Name: name, Expected: "e", Seen: seen}}}}}}}
	}
	for name, same := range map[string]bool{"before: the gateway's connection": true, "second call: gateway's connection, that of the first": true, "the partner's number of connections": false} {
		if d := Diff(with(name, "66"), with(name, "63")); d.Same != same {
			t.Errorf("%s: same = %v", name, d.Same)
		}
	}
	if d := Diff(with("the gateway's connection", "66"), with("the gateway's connection", "none")); d.Same {
		t.Error("no connection is the same as one")
	}
}

func TestDiffLetsValuesMoveWithinABound(t *testing.T) {
	with := func(expected, seen string, ok bool) *Verdict {
		return &Verdict{Claims: []Result{{ID: "X1", Finding: Finding{Check: &Trial{Facts: []Fact{{Name: "n", Expected: expected, Seen: seen, OK: ok}}}}}}}
	}
	if d := Diff(with("> 0", "2", true), with("> 0", "8", true)); !d.Same {
		t.Errorf("a count within its bound moved: %+v", d.Moved)
	}
	if d := Diff(with("> 0", "2", true), with("> 0", "0", false)); d.Same {
		t.Error("a count that left its bound did not move")
	}
	if d := Diff(with("not 77", "1024", true), with("not 77", "4294967295", true)); d.Same {
		t.Error("a limit that changed did not move")
	}
}

// What a run measures and what it names by itself is another in every run.
func TestDiffFollowsWhatTheRunMakes(t *testing.T) {
	with := func(expected, seen string, ok bool) *Verdict {
		return &Verdict{Claims: []Result{{ID: "X1", Finding: Finding{Control: &Trial{Facts: []Fact{{Name: "n", Expected: expected, Seen: seen, OK: ok}}}}}}}
	}
	for _, tt := range []struct {
		name           string
		a, b           *Verdict
		same, followed bool
	}{
		{"a time that misses its bound in both runs", with(">= 2.9s", "1.002s", false), with(">= 2.9s", "0.998s", false), true, false},
		{"a connection that is not the first one", with("60", "64", false), with("155", "159", false), true, true},
		{"another text around what was expected", with(`contains "UF"`, "UF 503", true), with(`contains "UF"`, "UF,URX 503", true), true, true},
		{"another text where it was not found", with(`contains "UF"`, "UH 503", false), with(`contains "UF"`, "NC 503", false), false, false},
		{"one that came to be as expected", with("60", "64", false), with("155", "155", true), false, false},
		{"another status", with("200", "503", false), with("200", "504", false), false, false},
	} {
		d := Diff(tt.a, tt.b)
		if d.Same != tt.same || (len(d.Followed) > 0) != tt.followed {
			t.Errorf("%s: same %v, followed %+v", tt.name, d.Same, d.Followed)
		}
	}
}

// nextVersion is the sample as another version might leave it.
func nextVersion(t *testing.T, from *Verdict) *Verdict {
	t.Helper()
	raw, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	var v Verdict
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	v.Run.ID, v.Run.Istio, v.Run.Envoy = "20270101T020000Z-0badc0", "1.32", "1.40.1"
	v.Run.DurationMillis += 20000
	v.Phases[2].DurationMillis += 19000
	s1 := result(&v, "S1")
	s1.Check.Facts[2].Seen, s1.Check.Facts[2].OK = "outbound_.8443_.partner", false
	s1.Verdict, s1.Reason = claim.Inconclusive, "Not proven: something."
	s1.DurationMillis = 15000
	s3 := result(&v, "S3")
	for _, trial := range []*Trial{s3.Check, s3.Control} {
		for i := range trial.Facts {
			f := &trial.Facts[i]
			if f.Name == "client sidecar, hop-1 cluster: keepalive" {
				f.Expected, f.Seen = "600/30/3", "600/30/3"
			}
		}
	}
	s2 := result(&v, "S2")
	s2.Check.Facts = append(s2.Check.Facts[:1:1], Fact{Name: "partner, log: cipher", Seen: "TLS_AES_256_GCM_SHA384"})
	table := result(&v, "S-align").Table
	table.Rows = slices.Clone(table.Rows[1:])
	table.Rows[0][4] = "IST0199"
	table.Rows = append(table.Rows, []string{"workloadSelector", "hop 2", "503", "UF", "silent"})
	v.Claims = slices.DeleteFunc(v.Claims, func(r Result) bool { return r.ID == "S-absent" })
	v.Claims = append(v.Claims, Result{ID: "S-new", Chapter: claim.Field, Statement: "Something new.", Expected: claim.Supported,
		Verdict: claim.Supported, Reason: "The check holds."})
	v.Totals = Count(v.Claims)
	v.Result = Conclude(v.Claims, "")
	return &v
}

func TestDiffRenders(t *testing.T) {
	a := sampleVerdict(t, true)
	d := Diff(a, nextVersion(t, a))
	if d.Same {
		t.Error("two different runs are the same")
	}
	var text, markdown, js strings.Builder
	for _, err := range []error{d.WriteText(&text, TextOptions{}), d.WriteMarkdown(&markdown), d.WriteJSON(&js)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "diff.txt", text.String())
	golden(t, "diff.md", markdown.String())
	golden(t, "diff.json", js.String())
	var back Difference
	if err := decodeStrict([]byte(js.String()), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, back); diff != "" {
		t.Error(diff)
	}
	for _, line := range strings.Split(text.String(), "\n") {
		if width(line) > 100 {
			t.Errorf("a line of %d columns: %s", width(line), line)
		}
	}
}

// A row of a table moves as expected where a fact about it does, and not otherwise.
func TestDiffLetsARowFollowItsFact(t *testing.T) {
	with := func(says, cell string) *Verdict {
		return &Verdict{Claims: []Result{{ID: "X1", Finding: Finding{
			Check: &Trial{Facts: []Fact{{Name: "port broken: sidecar says why", Expected: `contains "NC" or contains "UH"`, Seen: says, OK: true}}},
			Table: &Table{Title: "map", Header: []string{"string", "sidecar"}, Rows: [][]string{{"port", cell}}},
		}}}}
	}
	if d := Diff(with("NC 503", "NC 503"), with("UH 503", "UH 503")); !d.Same || len(d.Followed) != 2 {
		t.Errorf("moved %+v, followed %+v", d.Moved, d.Followed)
	}
	if d := Diff(with("NC 503", "NC 503"), with("NC 503", "UH 503")); d.Same {
		t.Error("a row that moved by itself did not move")
	}
}
