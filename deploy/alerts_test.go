package deploy

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"twohop/internal/audit"
	"twohop/internal/audit/report"
)

// rules is a Prometheus rules file.
type rules struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []struct {
			Alert       string            `json:"alert"`
			Expr        string            `json:"expr"`
			For         model.Duration    `json:"for"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"rules"`
	} `json:"groups"`
}

func alerts(t *testing.T) (r rules) {
	t.Helper()
	raw, err := os.ReadFile("alerts.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(raw, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPrometheusOperator(t *testing.T) {
	all := built(t, "prometheus-operator")
	want := append(slices.Clone(base), "PrometheusRule twohop-audit/twohop-audit", "ServiceMonitor twohop-audit/twohop-audit-metrics")
	slices.Sort(want)
	if diff := cmp.Diff(want, names(all)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, m := range all {
		if m.kind == "PrometheusRule" {
			var rule struct {
				metav1.TypeMeta   `json:",inline"`
				metav1.ObjectMeta `json:"metadata"`
				Spec              rules `json:"spec"`
			}
			m.read(t, &rule)
			if diff := cmp.Diff(alerts(t), rule.Spec); diff != "" {
				t.Errorf("the two files of rules differ:\n%s", diff)
			}
		}
	}
}

// values are a metric's labels with what they may say; nil is anything.
type values map[string][]string

// printed are the metrics that an audit prints.
func printed(t *testing.T) map[string]values {
	t.Helper()
	r := &audit.Report{
		APIVersion: audit.Version, Run: audit.Run{Source: "live", At: "2026-11-23T16:30:00Z", FailOn: audit.High}, Result: audit.Failed,
		Channels: []audit.Channel{{Host: "api.partner.example.com", DoubleTLS: true}},
		Findings: []audit.Finding{{ID: "21", Severity: audit.Critical, Status: audit.Fail, Hop: 2, Host: "api.partner.example.com"}},
	}
	var b bytes.Buffer
	if err := report.Write(&b, "metrics", r, report.Options{}); err != nil {
		t.Fatal(err)
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(&b)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, k := range audit.Kinds() {
		ids = append(ids, k.ID)
	}
	var severities []string
	for _, s := range audit.Severities() {
		severities = append(severities, string(s))
	}
	known := values{
		"id": ids, "severity": severities, "hop": {"0", "1", "2"},
		"status": {string(audit.Fail), string(audit.Unknown), string(audit.Excepted)},
		"result": {string(audit.Passed), string(audit.Failed), string(audit.Unclear)},
	}
	found := map[string]values{}
	for name, family := range families {
		found[name] = values{}
		for _, m := range family.Metric {
			for _, l := range m.Label {
				found[name][l.GetName()] = known[l.GetName()]
			}
		}
	}
	return found
}

// Each metric, label and value that an alert asks for is one that an audit prints. An
// alert that asks for another one would never fire.
func TestAlerts(t *testing.T) {
	metrics := printed(t)
	covered := map[string]bool{}
	for _, group := range alerts(t).Groups {
		for _, rule := range group.Rules {
			if rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%s lacks a severity, a summary or a description", rule.Alert)
			}
			covered[rule.Alert] = true
			for _, problem := range unknown(rule.Expr, rule.Annotations["summary"]+rule.Labels["severity"], metrics) {
				t.Errorf("%s: %s", rule.Alert, problem)
			}
		}
	}
	for _, alert := range []string{"TwohopCertificateExpiry", "TwohopBypassOpen", "TwohopPartnerNameNotVerified", "TwohopAuditMissing"} {
		if !covered[alert] {
			t.Errorf("there is no alert %s", alert)
		}
	}
}

var (
	selector = regexp.MustCompile(`\b(twohop_\w+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`^\s*(\w+)\s*(=~|=|!=|!~)\s*"([^"]*)"\s*$`)
	grouping = regexp.MustCompile(`\bby\s*\(([^)]*)\)`)
	label    = regexp.MustCompile(`\$labels\.(\w+)`)
)

// unknown lists what of an expression, and of the text about it, no audit prints.
func unknown(expr, text string, metrics map[string]values) (problems []string) {
	selected := selector.FindAllStringSubmatch(expr, -1)
	if len(selected) == 0 {
		return []string{"it asks for no metric of an audit: " + expr}
	}
	labels := values{}
	for _, s := range selected {
		have, ok := metrics[s[1]]
		if !ok {
			problems = append(problems, "no audit prints "+s[1])
			continue
		}
		for name, known := range have {
			labels[name] = known
		}
		if s[2] == "" {
			continue
		}
		for _, part := range strings.Split(s[2], ",") {
			m := matcher.FindStringSubmatch(part)
			if m == nil {
				problems = append(problems, "this test cannot read "+part)
				continue
			}
			known, ok := have[m[1]]
			if !ok {
				problems = append(problems, s[1]+" has no label "+m[1])
			}
			for _, value := range strings.Split(m[3], "|") {
				if ok && !slices.Contains(known, value) {
					problems = append(problems, "label "+m[1]+" is never "+value)
				}
			}
		}
	}
	asked := map[string]bool{}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for _, name := range strings.Split(g[1], ",") {
			asked[strings.TrimSpace(name)] = true
		}
	}
	for name := range asked {
		if _, ok := labels[name]; !ok {
			problems = append(problems, "it groups by "+name+", which nothing has")
		}
	}
	for _, l := range label.FindAllStringSubmatch(text, -1) {
		if !asked[l[1]] {
			problems = append(problems, "its text names the label "+l[1]+", which the expression does not keep")
		}
	}
	return problems
}

// The check of alerts finds what it is for.
func TestUnknownMetrics(t *testing.T) {
	metrics := printed(t)
	for expr, want := range map[string]string{
		`twohop_audit_finding > 0`:                     "no audit prints twohop_audit_finding",
		`twohop_audit_findings{check="21"} > 0`:        "has no label check",
		`twohop_audit_findings{id=~"21|99"} > 0`:       "label id is never 99",
		`twohop_audit_findings{status="failed"} > 0`:   "label status is never failed",
		`sum by (cluster) (twohop_audit_findings) > 0`: "groups by cluster",
		`up == 0`: "no metric of an audit",
		`sum by (host, id) (twohop_audit_findings{id="21"})`:      "",
		`absent(twohop_audit_timestamp_seconds)`:                  "",
		`sum by (id) (twohop_audit_channel_double_tls == 0) == 0`: "groups by id",
	} {
		got := strings.Join(unknown(expr, "", metrics), "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, not %q", expr, got, want)
		}
	}
	if got := unknown(`sum by (id) (twohop_audit_findings)`, "{{ $labels.host }}", metrics); len(got) != 1 {
		t.Errorf("a label that is lost: %v", got)
	}
}
