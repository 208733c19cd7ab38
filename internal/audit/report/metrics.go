package report

import (
	"io"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"twohop/internal/audit"
)

// writeMetrics writes the report as OpenMetrics text, for a nightly audit's dashboard.
// The time is a series of its own, so that an audit which no longer runs shows.
func writeMetrics(w io.Writer, r *audit.Report, _ Options) error {
	r, err := readable(r)
	if err != nil {
		return err
	}
	when, err := at(r)
	if err != nil {
		return err
	}
	families := []family{findingMetrics(r), channelMetrics(r)}
	passed := gauges("twohop_audit_checks_passed", "", "Checks that found nothing.")
	passed.add(float64(r.Totals.Passed))
	result := gauges("twohop_audit_result", "", "1 for the audit's result, 0 for the others.")
	for _, each := range []audit.Result{audit.Passed, audit.Failed, audit.Unclear} {
		result.add(one(each == r.Result), "result", string(each))
	}
	families = append(families, passed, result)
	if !when.IsZero() {
		time := gauges("twohop_audit_timestamp_seconds", "seconds", "When the audit was made, in Unix time.")
		time.add(float64(when.Unix()))
		families = append(families, time)
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToOpenMetrics(w, f.MetricFamily, expfmt.WithUnit()); err != nil {
			return err
		}
	}
	_, err = expfmt.FinalizeOpenMetrics(w)
	return err
}

// findingMetrics counts by what a dashboard groups by. Objects and proxies are left out:
// their names come and go, and each would be a series that ends.
func findingMetrics(r *audit.Report) family {
	type key struct {
		id       string
		severity audit.Severity
		status   audit.Status
		host     string
		hop      int
	}
	counts := map[key]int{}
	var order []key
	for _, f := range sorted(r.Findings) {
		k := key{f.ID, f.Severity, f.Status, f.Host, f.Hop}
		if counts[k] == 0 {
			order = append(order, k)
		}
		counts[k]++
	}
	family := gauges("twohop_audit_findings", "", "Findings by check, severity, status, host and hop; hop 0 is a way around the gateway.")
	for _, k := range order {
		family.add(float64(counts[k]), "id", k.id, "severity", string(k.severity), "status", string(k.status),
			"host", k.host, "hop", strconv.Itoa(k.hop))
	}
	return family
}

func channelMetrics(r *audit.Report) family {
	family := gauges("twohop_audit_channel_double_tls", "", "1 if both hops of the channel use mutual TLS, 0 if not; absent where that is not known.")
	for _, c := range r.Channels {
		if c.DoubleTLS || seenWhole(c) {
			family.add(one(c.DoubleTLS), "host", c.Host)
		}
	}
	return family
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
		if labels[i+1] != "" {
			m.Label = append(m.Label, &dto.LabelPair{Name: &labels[i], Value: &labels[i+1]})
		}
	}
	f.Metric = append(f.Metric, m)
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
