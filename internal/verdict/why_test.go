package verdict

import (
	"bytes"
	"strings"
	"testing"

	"twohop/internal/claim"
)

// unsure is an inconclusive result in which one fact came out differently.
func unsure() Result {
	f := good()
	f.Control.Cause = nil
	r := Result{ID: "X1", Chapter: claim.Goals, Statement: "One.", Expected: claim.Supported, Finding: f}
	r.Verdict, r.Reason = Judge(f.Claim, f)
	return r
}

func TestNoFactDecidesAnInconclusiveClaim(t *testing.T) {
	r := unsure()
	if r.Verdict != claim.Inconclusive || len(r.Decisive()) == 0 {
		t.Fatalf("%s, decisive %v: this test proves nothing", r.Verdict, r.Decisive())
	}
	dir := t.TempDir()
	v := &Verdict{Claims: []Result{r}, Totals: Count([]Result{r}), Result: Inconclusive}
	html := renderHTML(t, v, dir)
	if strings.Contains(html, "decides</span>") || strings.Contains(html, ` decides">`) {
		t.Error("a fact of an inconclusive claim is marked as deciding")
	}
	if strings.Contains(html, "not as expected") {
		t.Error("the report counts claims that are not as expected, and there is none")
	}

	r.Control.Cause = good().Control.Cause
	r.Verdict, r.Reason = Judge(r.Claim, r.Finding)
	v = &Verdict{Claims: []Result{r}, Totals: Count([]Result{r}), Result: Green}
	html = renderHTML(t, v, dir)
	if !strings.Contains(html, `<span class="tag">cause</span>`) {
		t.Error("a fact of the cause has no tag")
	}
	if !strings.Contains(html, "decides</span>") {
		t.Error("the deciding fact of a supported claim is not marked")
	}
}

func TestTextShowsTheFactsOfWhatIsNotAsExpected(t *testing.T) {
	r := unsure()
	var b bytes.Buffer
	if err := WriteText(&b, &Verdict{Claims: []Result{r}, Totals: Count([]Result{r}), Result: Inconclusive}, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Check: holds\n", "Control (" + r.Control.Change + "): does not hold\n",
		"✗ " + r.Control.Facts[0].Name + ": expected ",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the text does not say %q:\n%s", want, b.String())
		}
	}
}

func TestWhatDidNotRunHasItsReason(t *testing.T) {
	var results []Result
	for i, reason := range []string{"One reason.", "One reason.", "Another."} {
		results = append(results, Result{ID: claim.ID("X" + string(rune('1'+i))), Chapter: claim.Goals, Verdict: claim.NotRun, Reason: reason})
	}
	v := &Verdict{Claims: results, Totals: Count(results), Result: Inconclusive}
	var text, markdown bytes.Buffer
	if err := WriteText(&text, v, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := WriteMarkdown(&markdown, v); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"  2 claims  not-run\n    One reason.\n    X1, X2\n", "  X3  not-run\n    Another.\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text does not say %q:\n%s", want, text.String())
		}
	}
	for _, want := range []string{"<b>2 claims</b> not-run</summary>\n\nOne reason.\n\nX1, X2\n", "<b>X3</b> not-run</summary>\n\nAnother.\n"} {
		if !strings.Contains(markdown.String(), want) {
			t.Errorf("the summary does not say %q:\n%s", want, markdown.String())
		}
	}
}
