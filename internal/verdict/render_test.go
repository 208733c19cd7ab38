package verdict

import (
	"bytes"
	"encoding/xml"
	"regexp"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/reporters"

	"twohop/internal/claim"
)

func sampleVerdict(t *testing.T, all bool) *Verdict {
	t.Helper()
	v, err := makeSample(t, t.TempDir(), all).Verdict()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWriteText(t *testing.T) {
	for _, tt := range []struct {
		golden string
		all    bool
	}{{"green.txt", false}, {"mixed.txt", true}} {
		var b bytes.Buffer
		if err := WriteText(&b, sampleVerdict(t, tt.all), TextOptions{Dir: "out/20261123T163000Z-5a17e0"}); err != nil {
			t.Fatal(err)
		}
		golden(t, tt.golden, b.String())
	}
}

func TestTextFitsItsWidth(t *testing.T) {
	v := sampleVerdict(t, true)
	v.Claims[0].Statement = "빌드된 게이트웨이가 파트너에게 클라이언트 인증서를 제시한다는 주장은 길어도 폭 안에 들어가야 한다는 것을 보이는 문장이다"
	v.Claims[5].Reason = strings.Repeat("x", 500)
	v.Message = "\x1b[2Jcleared\u202e"
	for _, width80 := range []int{80, 100, 120} {
		for _, colour := range []bool{false, true} {
			var b bytes.Buffer
			if err := WriteText(&b, v, TextOptions{Dir: "out/x", Width: width80, Colour: colour}); err != nil {
				t.Fatal(err)
			}
			text := b.String()
			if colour {
				if !strings.Contains(text, "\x1b[32m") {
					t.Error("no colour where colour was asked for")
				}
				text = regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(text, "")
			}
			if strings.ContainsAny(text, "\x1b\u202e") {
				t.Error("a control character of a value reached the terminal")
			}
			for _, line := range strings.Split(text, "\n") {
				if width(line) > width80 {
					t.Errorf("width %d: a line has %d columns: %s", width80, width(line), line)
				}
			}
		}
	}
}

func TestWriteMarkdown(t *testing.T) {
	v := sampleVerdict(t, true)
	v.Claims[5].Reason = "<img src=x onerror=alert(1)> [link](https://evil.example) | `code` @someone"
	var b bytes.Buffer
	if err := WriteMarkdown(&b, v); err != nil {
		t.Fatal(err)
	}
	golden(t, "mixed.md", b.String())
	for _, bad := range []string{"<img", "https://evil", "@someone"} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("a value's %q became Markdown", bad)
		}
	}
}

func TestWriteJUnit(t *testing.T) {
	v := sampleVerdict(t, true)
	v.Claims[5].Reason = "bad \x00 byte & <tag>"
	var b bytes.Buffer
	if err := WriteJUnit(&b, v); err != nil {
		t.Fatal(err)
	}
	golden(t, "mixed.junit.xml", b.String())
	var got reporters.JUnitTestSuites
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 8 || got.Failures != 1 || got.Errors != 1 || len(got.TestSuites) != 3 || got.TestSuites[2].Skipped != 1 {
		t.Errorf("%d tests, %d failures, %d errors, %d suites", got.Tests, got.Failures, got.Errors, len(got.TestSuites))
	}
}

func TestJUnitOfARunThatFailedIsNotEmptyOrGreen(t *testing.T) {
	v := &Verdict{Result: Failed, Message: "Istio did not become ready.", Claims: Fold(two, nil, "")}
	var b bytes.Buffer
	if err := WriteJUnit(&b, v); err != nil {
		t.Fatal(err)
	}
	var got reporters.JUnitTestSuites
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Errors != 1 || got.TestSuites[1].Skipped != 2 || !strings.Contains(b.String(), "Istio did not become ready.") {
		t.Errorf("%d errors:\n%s", got.Errors, b.String())
	}
}

func TestWriteMetrics(t *testing.T) {
	var b bytes.Buffer
	if err := WriteMetrics(&b, sampleVerdict(t, true)); err != nil {
		t.Fatal(err)
	}
	golden(t, "mixed.metrics.txt", b.String())
}

func TestDuration(t *testing.T) {
	for millis, want := range map[int64]string{
		0: "0 ms", 320: "320 ms", 999: "999 ms", 1000: "1.0 s", 59949: "59.9 s", 59950: "1 m 00 s",
		65000: "1 m 05 s", 3600000: "1 h 00 m", 3720000: "1 h 02 m",
	} {
		if got := duration(millis); got != want {
			t.Errorf("duration(%d) = %q, want %q", millis, got, want)
		}
	}
}

func TestNothingIsColouredAsExpectedThatIsNot(t *testing.T) {
	for _, verdict := range []claim.Verdict{claim.Inconclusive, claim.NotRun, "", "nonsense"} {
		r := Result{Expected: verdict, Verdict: verdict}
		if r.AsExpected() || resultColour(r) == colourGreen {
			t.Errorf("%q counts as expected", verdict)
		}
	}
}
