package verdict

import (
	"io"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"twohop/internal/claim"
)

// WriteMetrics writes the verdict as OpenMetrics text, for a dashboard. Times
// are in seconds. Each claim has one series for each verdict, of which exactly
// one is 1, so that a turned verdict shows as a step.
func WriteMetrics(w io.Writer, v *Verdict) error {
	for _, f := range append(runMetrics(v), claimMetrics(v)...) {
		if _, err := expfmt.MetricFamilyToOpenMetrics(w, f.MetricFamily, expfmt.WithUnit()); err != nil {
			return err
		}
	}
	_, err := expfmt.FinalizeOpenMetrics(w)
	return err
}

func runMetrics(v *Verdict) []family {
	r := v.Run
	info := gauges("twohop_run_info", "", "The versions under test and the harness's commit.")
	info.add(1, "id", r.ID, "istio", r.Istio, "kubernetes", r.Kubernetes, "envoy", r.Envoy, "lane", r.Lane, "harness", r.HarnessCommit)
	outcome := gauges("twohop_run_outcome", "", "1 for the run's outcome, 0 for the others.")
	for _, o := range []Outcome{Green, Different, Failed, Inconclusive, Interrupted, Running} {
		outcome.add(one(o == v.Result), "outcome", string(o))
	}
	code := gauges("twohop_run_exit_code", "", "The run's exit code.")
	code.add(float64(v.ExitCode))
	start := gauges("twohop_run_start_timestamp_seconds", "seconds", "Start of the run, in Unix time.")
	start.add(seconds(r.Start.UnixMilli()))
	took := gauges("twohop_run_duration_seconds", "seconds", "Duration of the run.")
	took.add(seconds(r.DurationMillis))
	phase := gauges("twohop_phase_duration_seconds", "seconds", "Duration of each phase of the run.")
	names, millis := phaseTimes(v)
	for _, name := range names {
		phase.add(seconds(millis[name]), "phase", name)
	}
	return []family{info, outcome, code, start, took, phase}
}

func claimMetrics(v *Verdict) []family {
	t := v.Totals
	count := gauges("twohop_claims", "", "Claims by verdict.")
	count.add(float64(t.Supported), "verdict", string(claim.Supported))
	count.add(float64(t.Refuted), "verdict", string(claim.Refuted))
	count.add(float64(t.Inconclusive), "verdict", string(claim.Inconclusive))
	count.add(float64(t.NotRun), "verdict", string(claim.NotRun))
	verdicts := gauges("twohop_claim_verdict", "", "1 for the claim's verdict, 0 for the others.")
	expected := gauges("twohop_claim_as_expected", "", "1 if the claim's verdict is the expected one.")
	took := gauges("twohop_claim_duration_seconds", "seconds", "Duration of a claim and its control; absent if it did not run.")
	for _, r := range v.Claims {
		id, chapter := string(r.ID), string(r.Chapter)
		for _, verdict := range []claim.Verdict{claim.Supported, claim.Refuted, claim.Inconclusive, claim.NotRun} {
			verdicts.add(one(r.Verdict == verdict), "claim", id, "chapter", chapter, "verdict", string(verdict))
		}
		expected.add(one(r.AsExpected()), "claim", id, "chapter", chapter, "expected", string(r.Expected))
		if r.Claim != "" {
			took.add(seconds(r.DurationMillis), "claim", id, "chapter", chapter)
		}
	}
	return []family{count, verdicts, expected, took}
}

// family is a metric family of gauges.
type family struct{ *dto.MetricFamily }

func gauges(name, unit, help string) family {
	f := family{&dto.MetricFamily{Name: &name, Help: &help, Type: dto.MetricType_GAUGE.Enum()}}
	if unit != "" {
		f.Unit = &unit
	}
	return f
}

// add takes a label's name and value in turn and leaves out empty values.
func (f family) add(value float64, labels ...string) {
	m := &dto.Metric{Gauge: &dto.Gauge{Value: &value}}
	for i := 0; i+1 < len(labels); i += 2 {
		if text := clean(labels[i+1]); text != "" {
			m.Label = append(m.Label, &dto.LabelPair{Name: &labels[i], Value: &text})
		}
	}
	f.Metric = append(f.Metric, m)
}

// phaseTimes adds up the phases of each name, in the order in which they began.
func phaseTimes(v *Verdict) (names []string, millis map[string]int64) {
	millis = map[string]int64{}
	for _, p := range v.Phases {
		if _, seen := millis[p.Name]; !seen {
			names = append(names, p.Name)
		}
		millis[p.Name] += p.DurationMillis
	}
	return names, millis
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
