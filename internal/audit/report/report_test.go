package report

import (
	"bytes"
	"encoding/xml"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/ginkgo/v2/reporters"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"twohop/internal/audit"
)

var update = flag.Bool("update", false, "write the golden files")

func render(t *testing.T, format string, r *audit.Report, opts Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, format, r, opts); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for name, sample := range samples {
		for _, format := range Formats() {
			t.Run(name+"/"+format, func(t *testing.T) {
				golden(t, name+"."+format+".golden", render(t, format, sample(), Options{Version: "v0.0.0-test"}))
			})
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./internal/audit/report -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", name, diff)
	}
}

func TestNoFormatIsText(t *testing.T) {
	if render(t, "", rich(), Options{}) != render(t, "text", rich(), Options{}) {
		t.Error("the default is not text")
	}
}

func TestAnUnknownFormatListsThem(t *testing.T) {
	var b bytes.Buffer
	err := Write(&b, "yaml", rich(), Options{})
	if err == nil || b.Len() > 0 {
		t.Fatalf("err = %v, %d bytes written", err, b.Len())
	}
	for _, name := range Formats() {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
}

func TestRenderingLeavesTheReportAlone(t *testing.T) {
	for name, sample := range samples {
		r := sample()
		for _, format := range Formats() {
			render(t, format, r, Options{})
		}
		if diff := cmp.Diff(sample(), r); diff != "" {
			t.Errorf("%s was changed:\n%s", name, diff)
		}
	}
}

// TestTheFirstScreen holds the text to its purpose: what to change, and where, before
// anything else.
func TestTheFirstScreen(t *testing.T) {
	lines := strings.Split(render(t, "text", rich(), Options{}), "\n")
	screen := strings.Join(lines[:24], "\n")
	for _, want := range []string{
		"FAIL: 4 findings at or above high", "CRITICAL  not met: Hop 1 is mutual TLS at both ends", "egress/30-egress.yaml:42",
		"DestinationRule twohop-egress/egressgateway-partner", "spec.subsets[0].trafficPolicy", "DISABLE", "ISTIO_MUTUAL", "sidecar twohop-client/batch",
	} {
		if !strings.Contains(screen, want) {
			t.Errorf("the first screen does not say %q:\n%s", want, screen)
		}
	}
}

func TestTextFitsItsWidth(t *testing.T) {
	r := rich()
	r.Findings[3].Title = "빌드된 게이트웨이가 파트너에게 클라이언트 인증서를 제시한다는 주장은 길어도 폭 안에 들어가야 한다는 것을 보이는 문장이다"
	r.Findings[3].Seen = strings.Repeat("x", 500)
	r.Channels[0].Host = strings.Repeat("sub.", 60) + "example.com"
	for _, tt := range []struct{ asked, width int }{{0, 100}, {40, 80}, {80, 80}, {100, 100}, {120, 120}, {300, 120}} {
		for _, colour := range []bool{false, true} {
			got := render(t, "text", r, Options{Width: tt.asked, Colour: colour})
			if strings.Contains(got, "\x1b[31m") != colour {
				t.Errorf("colours %v, asked %v", !colour, colour)
			}
			got = regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(got, "")
			for _, line := range strings.Split(got, "\n") {
				if columns(line) > tt.width {
					t.Errorf("asked for %d: a line has %d columns: %s", tt.asked, columns(line), line)
				}
			}
		}
	}
}

func TestAPatchIsNotWrapped(t *testing.T) {
	long := "      - " + strings.Repeat("namespace-", 15)
	r := rich()
	r.Findings[3].Patch = "spec:\n" + long
	if !strings.Contains(render(t, "text", r, Options{Width: 80}), long+"\n") {
		t.Error("the patch cannot be copied")
	}
}

// shortForm is what an editor's problem matcher has to look like.
var shortForm = regexp.MustCompile(`^(?:[^:]+:\d+: )?(?:critical|high|medium|low|unknown|excepted): \[\d\d\] .+ \(seen .+, wanted .+\)`)

func TestEveryShortLineCanBeParsed(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(render(t, "short", rich(), Options{})), "\n")
	for _, line := range lines[:len(lines)-1] {
		if !shortForm.MatchString(line) {
			t.Errorf("not parsable: %s", line)
		}
	}
	if n := len(rich().Findings); len(lines) != n+1 {
		t.Errorf("%d lines for %d findings and the totals", len(lines), n)
	}
}

func junit(t *testing.T, r *audit.Report, opts Options) (s reporters.JUnitTestSuites) {
	t.Helper()
	if err := xml.Unmarshal([]byte(render(t, "junit", r, opts)), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestJUnitIsRedWhereTheExitCodeIs: a CI that reads JUnit must come to the result that
// the exit code gives.
func TestJUnitIsRedWhereTheExitCodeIs(t *testing.T) {
	low := rich()
	low.Findings = low.Findings[:3] // one below the limit, one unknown, one excepted
	for _, tt := range []struct {
		name                        string
		report                      *audit.Report
		strict                      bool
		failures, errors, notPassed int
	}{
		{"rich", rich(), false, 2, 0, 6},
		{"rich, strict", rich(), true, 2, 1, 6},
		{"nothing above the limit", low, false, 0, 0, 3},
		{"nothing above the limit, strict", low, true, 0, 1, 3},
		{"passed", passed(), true, 0, 0, 0},
		{"empty", empty(), false, 0, 1, 1},
	} {
		got := junit(t, tt.report, Options{Strict: tt.strict})
		notPassed := 0
		for _, s := range got.TestSuites {
			for _, c := range s.TestCases {
				if c.Failure != nil || c.Error != nil || c.Skipped != nil {
					notPassed++
				}
				if c.Skipped != nil && !regexp.MustCompile(`^(unknown|excepted|below the limit)\b`).MatchString(c.Skipped.Message) {
					t.Errorf("%s: %s is skipped without saying why: %q", tt.name, c.Name, c.Skipped.Message)
				}
			}
		}
		if got.Failures != tt.failures || got.Errors != tt.errors || notPassed != tt.notPassed {
			t.Errorf("%s: %d failures, %d errors, %d not passed; want %d, %d, %d", tt.name, got.Failures, got.Errors, notPassed, tt.failures, tt.errors, tt.notPassed)
		}
	}
}

func TestMetricsCanBeParsed(t *testing.T) {
	for name, sample := range samples {
		parser := expfmt.NewTextParser(model.UTF8Validation)
		if _, err := parser.TextToMetricFamilies(strings.NewReader(render(t, "metrics", sample(), Options{}))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestATimeThatIsNoneIsAnError(t *testing.T) {
	r := rich()
	r.Run.At = "yesterday"
	for _, format := range []string{"metrics", "sarif"} {
		var b bytes.Buffer
		if err := Write(&b, format, r, Options{}); err == nil || b.Len() > 0 {
			t.Errorf("%s: err = %v, %d bytes written", format, err, b.Len())
		}
	}
}

func TestNothingAuditedIsSaidInEveryFormat(t *testing.T) {
	for _, format := range []string{"text", "short", "sarif", "junit", "markdown", "html"} {
		if got := render(t, format, empty(), Options{}); !strings.Contains(got, "No egress channel was found in egress/") {
			t.Errorf("%s:\n%s", format, got)
		}
	}
}
