package verdict

import (
	"fmt"
	"io"
	"strings"

	"twohop/internal/claim"
)

// WriteMetrics writes the verdict as OpenMetrics text, for a dashboard. Times
// are in seconds. Each claim has one series for each verdict, of which exactly
// one is 1, so that a turned verdict shows as a step.
func WriteMetrics(w io.Writer, v *Verdict) error {
	var b strings.Builder
	family := func(name, kind, unit, help string) {
		fmt.Fprintf(&b, "# TYPE %s %s\n", name, kind)
		if unit != "" {
			fmt.Fprintf(&b, "# UNIT %s %s\n", name, unit)
		}
		fmt.Fprintf(&b, "# HELP %s %s\n", name, help)
	}
	r := v.Run

	family("twohop_run", "info", "", "What was judged, and by which harness.")
	fmt.Fprintf(&b, "twohop_run_info%s 1\n", labels(
		"id", r.ID, "istio", r.Istio, "kubernetes", r.Kubernetes, "envoy", r.Envoy,
		"lane", r.Lane, "harness", r.HarnessCommit))
	family("twohop_run_outcome", "gauge", "", "The run's outcome: 1 for the one it had.")
	for _, o := range []Outcome{Green, Different, Failed, Inconclusive, Interrupted, Running} {
		fmt.Fprintf(&b, "twohop_run_outcome%s %d\n", labels("outcome", string(o)), one(o == v.Result))
	}
	family("twohop_run_exit_code", "gauge", "", "The run's exit code.")
	fmt.Fprintf(&b, "twohop_run_exit_code %d\n", v.ExitCode)
	family("twohop_run_start_timestamp_seconds", "gauge", "seconds", "When the run started.")
	fmt.Fprintf(&b, "twohop_run_start_timestamp_seconds %.3f\n", float64(r.Start.UnixMilli())/1000)
	family("twohop_run_duration_seconds", "gauge", "seconds", "How long the run took.")
	fmt.Fprintf(&b, "twohop_run_duration_seconds %s\n", seconds(r.DurationMillis))

	family("twohop_phase_duration_seconds", "gauge", "seconds", "How long each phase of the run took.")
	var phases []string
	took := map[string]int64{}
	for _, p := range v.Phases {
		if _, seen := took[p.Name]; !seen {
			phases = append(phases, p.Name)
		}
		took[p.Name] += p.DurationMillis
	}
	for _, name := range phases {
		fmt.Fprintf(&b, "twohop_phase_duration_seconds%s %s\n", labels("phase", name), seconds(took[name]))
	}

	family("twohop_claims", "gauge", "", "How many claims came out each way.")
	t := v.Totals
	for _, c := range []struct {
		verdict claim.Verdict
		n       int
	}{{claim.Supported, t.Supported}, {claim.Refuted, t.Refuted}, {claim.Inconclusive, t.Inconclusive}, {claim.NotRun, t.NotRun}} {
		fmt.Fprintf(&b, "twohop_claims%s %d\n", labels("verdict", string(c.verdict)), c.n)
	}
	family("twohop_claim_verdict", "gauge", "", "A claim's verdict: 1 for the one it had.")
	for _, r := range v.Claims {
		for _, verdict := range []claim.Verdict{claim.Supported, claim.Refuted, claim.Inconclusive, claim.NotRun} {
			fmt.Fprintf(&b, "twohop_claim_verdict%s %d\n",
				labels("claim", string(r.ID), "chapter", string(r.Chapter), "verdict", string(verdict)), one(r.Verdict == verdict))
		}
	}
	family("twohop_claim_as_expected", "gauge", "", "1 where the claim was judged and its verdict is the expected one.")
	for _, r := range v.Claims {
		fmt.Fprintf(&b, "twohop_claim_as_expected%s %d\n",
			labels("claim", string(r.ID), "chapter", string(r.Chapter), "expected", string(r.Expected)), one(r.AsExpected()))
	}
	family("twohop_claim_duration_seconds", "gauge", "seconds", "How long a claim took, with its control; absent where it did not run.")
	for _, r := range v.Claims {
		if r.Claim != "" {
			fmt.Fprintf(&b, "twohop_claim_duration_seconds%s %s\n",
				labels("claim", string(r.ID), "chapter", string(r.Chapter)), seconds(r.DurationMillis))
		}
	}
	b.WriteString("# EOF\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// labels takes names and values in turn and leaves out empty values.
func labels(pairs ...string) string {
	var parts []string
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			parts = append(parts, fmt.Sprintf(`%s="%s"`, pairs[i], labelEscapes.Replace(clean(pairs[i+1]))))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
