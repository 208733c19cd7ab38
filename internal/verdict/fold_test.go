package verdict

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/claim"
)

func fact(name, expected, seen string) Fact {
	return Fact{Name: name, Expected: expected, Seen: seen, OK: expected == seen}
}

const kept = "evidence/X1/check-001-curl.txt"

// good is a finding whose check holds and whose control does not: a fact flips, a
// failure is stated and its reason too, another fact holds both times.
func good() Finding {
	flips := func(f Fact) Fact { f.Flips = true; return f }
	negative := func(f Fact) Fact { f.Negative = true; return f }
	because := func(f Fact) Fact { f.Because = true; return f }
	f := Finding{
		Claim: "X1",
		Check: &Trial{Facts: []Fact{flips(fact("status", "200", "200")), flips(fact("gateway log", "1 line", "1 line")), fact("secret", "ACTIVE", "ACTIVE")}},
		Control: &Trial{Change: "drop the tls",
			Facts: []Fact{flips(fact("status", "200", "503")), flips(fact("gateway log", "1 line", "0 lines")), fact("secret", "ACTIVE", "ACTIVE")},
			Cause: []Fact{negative(fact("status", "503", "503")), because(fact("flags", "UF", "UF"))}},
		Evidence: []Evidence{{Path: kept, SHA256: strings.Repeat("0", 64), Kind: KindCurl, Stage: "check", Ordinal: 1, Chain: strings.Repeat("0", 64)}},
	}
	for _, facts := range [][]Fact{f.Check.Facts, f.Control.Facts, f.Control.Cause} {
		for i := range facts {
			facts[i].Evidence = []string{kept}
		}
	}
	return f
}

// laws are what a verdict needs: each edit takes one thing from a good finding. Where
// inSchema, the schema of verdict.json refuses the finding as well.
var laws = []struct {
	name     string
	edit     func(*Finding)
	want     claim.Verdict
	inSchema bool
	reason   []string // all must occur
}{
	{"supported", func(*Finding) {}, claim.Supported, false,
		[]string{"The check holds in all 3 facts", "drop the tls", "status: expected 200, saw 200 before and 503 after", "flags: UF"}},
	{"refuted", swap, claim.Refuted, false,
		[]string{"status: expected 200, saw 503", "flags: UF", "put the tls back", "it holds in all 3 facts"}},
	{"error beats facts", func(f *Finding) { f.Error = "exec: connection refused" }, claim.Inconclusive, true,
		[]string{"could not be obtained: exec: connection refused"}},
	{"error without facts", func(f *Finding) { *f = Finding{Claim: "X1", Error: "boom"} }, claim.Inconclusive, true,
		[]string{"could not be obtained: boom"}},
	{"nothing at all", func(f *Finding) { *f = Finding{Claim: "X1"} }, claim.Inconclusive, true,
		[]string{"no facts", "no control"}},
	{"finding of another claim", func(f *Finding) { f.Claim = "X2" }, claim.Inconclusive, false, []string{`of claim "X2"`}},
	{"no check", func(f *Finding) { f.Check = nil }, claim.Inconclusive, true, []string{"it has no facts"}},
	{"no facts", func(f *Finding) { f.Check.Facts = nil }, claim.Inconclusive, true, []string{"it has no facts"}},
	{"no control", func(f *Finding) { f.Control = nil }, claim.Inconclusive, true, []string{"there is no control"}},
	{"control without facts", func(f *Finding) { f.Control.Facts = nil }, claim.Inconclusive, true, []string{"there is no control"}},
	{"control changed nothing", func(f *Finding) { f.Control.Change = "" }, claim.Inconclusive, true, []string{"does not say what it changed"}},
	{"both hold", func(f *Finding) { f.Control.Facts = f.Check.Facts }, claim.Inconclusive, false, []string{"holds as well", "drop the tls"}},
	{"neither holds", func(f *Finding) { f.Check.Facts = f.Control.Facts }, claim.Inconclusive, true,
		[]string{"does not either", "status: expected 200, saw 503"}},
	{"named and not flipping", func(f *Finding) { f.Check.Facts[2].Flips, f.Control.Facts[2].Flips = true, true }, claim.Inconclusive, false,
		[]string{`"secret" has to flip and does not (ACTIVE before, ACTIVE after)`}},
	{"named in one trial only", func(f *Finding) { f.Control.Facts[0].Flips = false }, claim.Inconclusive, false,
		[]string{`"status" has to flip in one of the trials only`}},
	{"not named and failing in the control", func(f *Finding) { f.Control.Facts[2].OK, f.Control.Facts[2].Seen = false, "WARMING" }, claim.Inconclusive, false,
		[]string{`"secret" is not said to flip and does not hold in the control (expected ACTIVE, saw WARMING)`}},
	{"not named and failing in the check", func(f *Finding) { swap(f); f.Check.Facts[2].OK, f.Check.Facts[2].Seen = false, "WARMING" }, claim.Inconclusive, false,
		[]string{`"secret" is not said to flip and does not hold in the check (expected ACTIVE, saw WARMING)`}},
	{"a fact of the check only", func(f *Finding) { f.Control.Facts = f.Control.Facts[:2] }, claim.Inconclusive, false,
		[]string{`"secret" was looked at in the check and not in the control`}},
	{"a fact of the control only", func(f *Finding) { f.Check.Facts = f.Check.Facts[:2] }, claim.Inconclusive, false,
		[]string{`"secret" was looked at in the control and not in the check`}},
	{"nothing has to flip", func(f *Finding) {
		for _, trial := range []*Trial{f.Check, f.Control} {
			for i := range trial.Facts {
				trial.Facts[i].Flips = false
			}
		}
	}, claim.Inconclusive, true, []string{"no fact is named that has to flip"}},
	{"no evidence at all", func(f *Finding) { f.Evidence = nil }, claim.Inconclusive, true, []string{`"status" in the check has no evidence that was kept`}},
	{"a fact of the check without evidence", func(f *Finding) { f.Check.Facts[2].Evidence = nil }, claim.Inconclusive, true,
		[]string{`"secret" in the check has no evidence that was kept`}},
	{"a fact of the control without evidence", func(f *Finding) { f.Control.Facts[2].Evidence = nil }, claim.Inconclusive, true,
		[]string{`"secret" in the control has no evidence that was kept`}},
	{"a cause without evidence", func(f *Finding) { f.Control.Cause[1].Evidence = nil }, claim.Inconclusive, true,
		[]string{`"flags" in the control has no evidence that was kept`}},
	{"a fact with evidence that was not kept", func(f *Finding) { f.Check.Facts[2].Evidence = []string{kept, "evidence/X1/other"} }, claim.Inconclusive, false,
		[]string{`"secret" in the check has no evidence that was kept`}},
	{"a fact with evidence of no bytes", func(f *Finding) { f.Check.Facts[2].Evidence = []string{""} }, claim.Inconclusive, true,
		[]string{`"secret" in the check has no evidence that was kept`}},
	{"a negative without a reason in the control", func(f *Finding) { f.Control.Cause[1].Because = false }, claim.Inconclusive, true,
		[]string{`the control states a failure ("status") and no reason for it`}},
	{"a negative without a reason in the check", func(f *Finding) { f.Check.Facts[0].Negative = true }, claim.Inconclusive, true,
		[]string{`the check states a failure ("status") and no reason for it`}},
	{"a reason that is not so", func(f *Finding) { f.Control.Cause[1].OK = false }, claim.Inconclusive, true,
		[]string{`the control states a failure ("status") and no reason for it`, "its cause is not the stated one"}},
	{"control unexplained", func(f *Finding) { f.Control.Cause = nil }, claim.Inconclusive, true,
		[]string{"the control came out negative", "no cause was looked at"}},
	{"control for another reason", func(f *Finding) { f.Control.Cause[1] = fact("flags", "UF", "NR") }, claim.Inconclusive, true,
		[]string{"its cause is not the stated one", "flags: expected UF, saw NR"}},
	{"check unexplained", func(f *Finding) { swap(f); f.Check.Cause = nil }, claim.Inconclusive, true,
		[]string{"the check came out negative", "no cause was looked at"}},
}

func swap(f *Finding) {
	f.Check, f.Control = f.Control, f.Check
	f.Check.Change, f.Control.Change = "", "put the tls back"
}

func TestJudge(t *testing.T) {
	for _, tt := range laws {
		t.Run(tt.name, func(t *testing.T) {
			f := good()
			tt.edit(&f)
			got, reason := Judge("X1", f)
			if got != tt.want {
				t.Errorf("Judge() = %s (%s), want %s", got, reason, tt.want)
			}
			for _, part := range tt.reason {
				if !strings.Contains(reason, part) {
					t.Errorf("reason %q does not say %q", reason, part)
				}
			}
		})
	}
}

// A verdict.json that claims a verdict which its finding does not carry is refused
// by the schema already, as far as a schema can tell.
func TestSchemaMirrorsTheLaws(t *testing.T) {
	for _, tt := range laws {
		t.Run(tt.name, func(t *testing.T) {
			f := good()
			tt.edit(&f)
			v := &Verdict{APIVersion: APIVersion, Phases: []Phase{}, Result: Green,
				Run: Run{Header: Header{ID: "x", Start: sampleStart, Selection: "X1"}},
				Claims: []Result{{ID: "X1", Chapter: claim.Goals, Statement: "One.", Expected: claim.Supported,
					Verdict: claim.Supported, Reason: "Because.", Finding: f}}}
			v.Totals = Count(v.Claims)
			raw, err := Encode(v)
			if err != nil {
				t.Fatal(err)
			}
			problems, err := SchemaProblems(raw)
			if err != nil {
				t.Fatal(err)
			}
			if tt.inSchema != (len(problems) > 0) {
				t.Errorf("problems: %q", problems)
			}
		})
	}
}

func TestFoldWalksTheRegistry(t *testing.T) {
	selection := []claim.Claim{
		{ID: "X1", Expected: claim.Supported, ExpectedOn: map[string]claim.Verdict{"1.30": claim.Refuted}},
		{ID: "X2", Expected: claim.Supported},
	}
	findings := map[claim.ID]Finding{"X1": good(), "stranger": good()}

	got := map[claim.ID][2]claim.Verdict{}
	var order []claim.ID
	for _, r := range Fold(selection, findings, "1.30.2") {
		got[r.ID] = [2]claim.Verdict{r.Expected, r.Verdict}
		order = append(order, r.ID)
	}
	want := map[claim.ID][2]claim.Verdict{
		"X1": {claim.Refuted, claim.Supported},
		"X2": {claim.Supported, claim.NotRun},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]claim.ID{"X1", "X2"}, order); diff != "" {
		t.Error(diff)
	}
}

func TestConclude(t *testing.T) {
	is := func(expected, verdict claim.Verdict) Result { return Result{Expected: expected, Verdict: verdict} }
	ok := is(claim.Supported, claim.Supported)
	okRefuted := is(claim.Refuted, claim.Refuted)
	differs := is(claim.Supported, claim.Refuted)
	unsure := is(claim.Supported, claim.Inconclusive)
	notRun := is(claim.Supported, claim.NotRun)
	unknown := is(claim.Supported, "")
	tests := []struct {
		name    string
		results []Result
		ending  Outcome
		want    Outcome
		exit    int
	}{
		{"all as expected", []Result{ok, okRefuted}, "", Green, 0},
		{"nobody can claim green", []Result{ok, unsure}, Green, Inconclusive, 4},
		{"zero claims", nil, "", Inconclusive, 4},
		{"zero claims said to be green", nil, Green, Inconclusive, 4},
		{"one differs", []Result{ok, differs}, "", Different, 1},
		{"differs beats inconclusive", []Result{unsure, differs, notRun}, "", Different, 1},
		{"inconclusive", []Result{ok, unsure}, "", Inconclusive, 4},
		{"not run", []Result{ok, notRun}, "", Inconclusive, 4},
		{"a verdict nobody knows", []Result{ok, unknown}, "", Inconclusive, 4},
		{"failed beats differs", []Result{differs}, Failed, Failed, 3},
		{"failed beats green", []Result{ok}, Failed, Failed, 3},
		{"failed with nothing run", []Result{notRun}, Failed, Failed, 3},
		{"interrupted", []Result{ok, notRun, differs}, Interrupted, Interrupted, 130},
		{"running", []Result{ok}, Running, Running, 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Conclude(tt.results, tt.ending)
			if got != tt.want || got.ExitCode() != tt.exit {
				t.Errorf("Conclude() = %s (exit %d), want %s (exit %d)", got, got.ExitCode(), tt.want, tt.exit)
			}
		})
	}
}

func TestCount(t *testing.T) {
	results := []Result{
		{Expected: claim.Supported, Verdict: claim.Supported},
		{Expected: claim.Refuted, Verdict: claim.Supported},
		{Expected: claim.Refuted, Verdict: claim.Refuted},
		{Expected: claim.Refuted, Verdict: claim.Inconclusive},
		{Expected: claim.Refuted, Verdict: claim.NotRun},
	}
	want := Totals{Claims: 5, Supported: 2, Refuted: 1, Inconclusive: 1, NotRun: 1, Unexpected: 1}
	if diff := cmp.Diff(want, Count(results)); diff != "" {
		t.Error(diff)
	}
}

func TestReasonsNameTheFewestWords(t *testing.T) {
	var facts []Fact
	for _, name := range []string{"a proxy, its cluster of a long name: field", "curl: status", "a proxy, another cluster: field", "gateway: flags", "gateway: SNI"} {
		facts = append(facts, Fact{Name: name, Expected: "x", Seen: "y"})
	}
	want := "curl: status: expected x, saw y; gateway: flags: expected x, saw y; gateway: SNI: expected x, saw y; and 2 more"
	if got := failing(facts); got != want {
		t.Errorf("failing() = %q", got)
	}
}
