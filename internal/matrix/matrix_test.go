package matrix

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"twohop/internal/claim"
	"twohop/internal/verdict"
)

func judged(istio string, g1 claim.Verdict, seen string) Row {
	v := &verdict.Verdict{Result: verdict.Green}
	v.Run.ID, v.Run.Istio, v.Run.HarnessCommit, v.Run.Start = "run-"+istio, istio, "abc", time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	v.Run.DurationMillis = 61_400
	v.Claims = []verdict.Result{
		{ID: "G1", Statement: "One | two", Expected: claim.Supported, Verdict: g1, Reason: "because", Finding: verdict.Finding{Claim: "G1",
			Check: &verdict.Trial{Facts: []verdict.Fact{{Name: "a value", Seen: seen, OK: true}}}}},
		{ID: "G2", Statement: "Same", Expected: claim.Refuted, Verdict: claim.Refuted},
	}
	v.Totals = verdict.Totals{Claims: 2, Supported: 1, Refuted: 1}
	if g1 != claim.Supported {
		v.Result, v.Totals.Unexpected, v.Totals.Supported, v.Totals.Refuted = verdict.Different, 1, 0, 2
	}
	if g1 == claim.Inconclusive {
		v.Result, v.Totals = verdict.Inconclusive, verdict.Totals{Claims: 2, Refuted: 1, Inconclusive: 1}
	}
	return Row{Combination: Combination{istio, "v1.36.1", "1.39.3"}, Verdict: v}
}

func TestMarkdownAndHTML(t *testing.T) {
	moved := judged("1.29", claim.Refuted, "6")
	moved.Verdict.Run.Notes = []string{"reused", "Istio 1.29 supports Kubernetes 1.31 to 1.35, and this is v1.36.1"}
	again := judged("1.31", claim.Supported, "5")
	again.Earlier = []string{"inconclusive (G1 inconclusive)"}
	rows := []Row{again, judged("1.30", claim.Supported, "5"), moved,
		judged("1.28", claim.Inconclusive, "5"),
		{Combination: Combination{"1.31", "v1.99.0", "1.39.3"}, Failure: "the node did not boot"}}
	var md, page bytes.Buffer
	if err := Markdown(&md, rows, "Machine: x."); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| 1.31 | v1.36.1 | 1.39.3 | 2 of 2 as expected | – | 1m1s | 2026-11-28, harness abc |",
		"| 1.30 | v1.36.1 | 1.39.3 | 2 of 2 as expected | 0 verdicts, 0 values |",
		"| 1.29 | v1.36.1 | 1.39.3 | 1 of 2 as expected, 1 not as expected | 1 verdict, 1 value |",
		"| 1.28 | v1.36.1 | 1.39.3 | 1 of 2 as expected, 1 inconclusive | 1 verdict, 0 values |",
		"| 1.31 | v1.99.0 | 1.39.3 | not judged: the node did not boot |  |",
		"Istio 1.29 · Kubernetes v1.36.1 · Envoy 1.39.3: Istio 1.29 supports Kubernetes 1.31 to 1.35, and this is v1.36.1.",
		"an earlier run at the same commit came to another end: inconclusive (G1 inconclusive).",
		`- **G1** One \| two`, "refuted, not as expected: because",
		"### Istio 1.30 · Kubernetes v1.36.1 · Envoy 1.39.3\n\nNone.", "| G1 | check | a value | 5 | 6 |",
	} {
		if !strings.Contains(md.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, md.String())
		}
	}
	if strings.Contains(md.String(), "**G2**") {
		t.Error("a claim that is the same everywhere is listed as differing")
	}
	if err := HTML(&page, rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`<td class="refuted not" title="because">refuted</td>`, `<tr class="differs"><th class="id">G1</th>`, "not judged: the node did not boot"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestNothingJudged(t *testing.T) {
	var md, page bytes.Buffer
	rows := []Row{{Combination: Combination{"1.31", "v1.36.1", "1.39.3"}, Failure: "no engine"}}
	if err := Markdown(&md, rows, ""); err != nil || !strings.Contains(md.String(), "not judged: no engine") {
		t.Errorf("%v\n%s", err, md.String())
	}
	if err := HTML(&page, rows); err != nil {
		t.Error(err)
	}
}
