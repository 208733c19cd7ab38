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

// good is a finding whose check holds and whose control does not.
func good() Finding {
	return Finding{
		Claim:    "X1",
		Check:    &Trial{Facts: []Fact{fact("status", "200", "200"), fact("gateway log", "1 line", "1 line")}},
		Control:  &Trial{Change: "drop the tls", Facts: []Fact{fact("status", "200", "503"), fact("gateway log", "1 line", "0 lines")}, Cause: []Fact{fact("flags", "UF", "UF")}},
		Evidence: []Evidence{{Path: "evidence/X1/01-curl", SHA256: "00", Kind: "curl"}},
	}
}

func TestJudge(t *testing.T) {
	swap := func(f *Finding) {
		f.Check, f.Control = f.Control, f.Check
		f.Check.Change, f.Control.Change = "", "put the tls back"
	}
	tests := []struct {
		name   string
		edit   func(*Finding)
		want   claim.Verdict
		reason []string // all must occur
	}{
		{"supported", func(*Finding) {}, claim.Supported,
			[]string{"The check holds in all 2 facts", "drop the tls", "status: expected 200, saw 200 before and 503 after", "flags: UF"}},
		{"refuted", swap, claim.Refuted,
			[]string{"status: expected 200, saw 503", "flags: UF", "put the tls back", "it holds in all 2 facts"}},
		{"error beats facts", func(f *Finding) { f.Error = "exec: connection refused" }, claim.Inconclusive,
			[]string{"could not be obtained: exec: connection refused"}},
		{"error without facts", func(f *Finding) { *f = Finding{Claim: "X1", Error: "boom"} }, claim.Inconclusive,
			[]string{"could not be obtained: boom"}},
		{"nothing at all", func(f *Finding) { *f = Finding{Claim: "X1"} }, claim.Inconclusive,
			[]string{"no evidence file", "no facts", "no control"}},
		{"no evidence", func(f *Finding) { f.Evidence = nil }, claim.Inconclusive, []string{"no evidence file was saved"}},
		{"no check", func(f *Finding) { f.Check = nil }, claim.Inconclusive, []string{"it has no facts"}},
		{"no facts", func(f *Finding) { f.Check.Facts = nil }, claim.Inconclusive, []string{"it has no facts"}},
		{"no control", func(f *Finding) { f.Control = nil }, claim.Inconclusive, []string{"there is no control"}},
		{"control without facts", func(f *Finding) { f.Control.Facts = nil }, claim.Inconclusive, []string{"there is no control"}},
		{"control changed nothing", func(f *Finding) { f.Control.Change = "" }, claim.Inconclusive, []string{"does not say what it changed"}},
		{"both hold", func(f *Finding) { f.Control.Facts = f.Check.Facts }, claim.Inconclusive, []string{"holds as well", "drop the tls"}},
		{"neither holds", func(f *Finding) { f.Check.Facts = f.Control.Facts }, claim.Inconclusive,
			[]string{"does not either", "status: expected 200, saw 503"}},
		{"control unexplained", func(f *Finding) { f.Control.Cause = nil }, claim.Inconclusive,
			[]string{"the control came out negative", "no cause was looked at"}},
		{"control for another reason", func(f *Finding) { f.Control.Cause = []Fact{fact("flags", "UF", "NR")} }, claim.Inconclusive,
			[]string{"its cause is not the stated one", "flags: expected UF, saw NR"}},
		{"check unexplained", func(f *Finding) { swap(f); f.Check.Cause = nil }, claim.Inconclusive,
			[]string{"the check came out negative", "no cause was looked at"}},
		{"other facts in the control", func(f *Finding) {
			f.Control.Facts = []Fact{fact("something else", "a", "b")}
		}, claim.Inconclusive, []string{"the control is another check"}},
		{"finding of another claim", func(f *Finding) { f.Claim = "X2" }, claim.Inconclusive, []string{`of claim "X2"`}},
	}
	for _, tt := range tests {
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
