package verdict

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/reporters"

	"twohop/internal/claim"
)

// WriteJUnit writes junit.xml: a suite for each chapter and a case for each
// claim. A verdict that is not the expected one is a failure, an inconclusive
// one an error, and a claim that did not run is skipped. A claim that is
// refuted as expected passes. A run whose environment failed has a suite of its
// own with an error, so that no CI shows it as passed or empty.
func WriteJUnit(w io.Writer, v *Verdict) error {
	all := reporters.JUnitTestSuites{Time: seconds(v.Run.DurationMillis)}
	if v.Result == Failed || v.Result == Interrupted || v.Result == Running {
		all.TestSuites = append(all.TestSuites, junitRun(v))
	}
	for _, group := range chapters(v.Claims) {
		all.TestSuites = append(all.TestSuites, junitChapter(v, group))
	}
	for _, s := range all.TestSuites {
		all.Tests += s.Tests
		all.Failures += s.Failures
		all.Errors += s.Errors
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// junitRun is the suite of a run that did not come to its end.
func junitRun(v *Verdict) reporters.JUnitTestSuite {
	const name = "twohop.run"
	return reporters.JUnitTestSuite{
		Name: name, Package: name, Tests: 1, Errors: 1, Time: seconds(v.Run.DurationMillis), Timestamp: stamp(v.Run.Start),
		Properties: runProperties(v.Run),
		TestCases: []reporters.JUnitTestCase{{
			Name: "the run finishes", Classname: name, Status: string(v.Result), Time: seconds(v.Run.DurationMillis),
			Error: &reporters.JUnitError{Message: xmlText(v.Result.Words()), Type: string(v.Result), Description: xmlText(v.Message)},
		}},
	}
}

func junitChapter(v *Verdict, group []Result) reporters.JUnitTestSuite {
	name := "twohop." + string(group[0].Chapter)
	s := reporters.JUnitTestSuite{
		Name: name, Package: name, Tests: len(group), Timestamp: stamp(v.Run.Start), Properties: runProperties(v.Run),
	}
	var total int64
	for _, r := range group {
		total += r.DurationMillis
		c := junitCase(name, r)
		switch {
		case c.Failure != nil:
			s.Failures++
		case c.Skipped != nil:
			s.Skipped++
		case c.Error != nil:
			s.Errors++
		}
		s.TestCases = append(s.TestCases, c)
	}
	s.Time = seconds(total)
	return s
}

func junitCase(suite string, r Result) reporters.JUnitTestCase {
	pairs := []string{"claim", string(r.ID), "section", r.Section, "verdict", string(r.Verdict), "expected", string(r.Expected)}
	for _, e := range r.Evidence {
		pairs = append(pairs, "evidence", e.Path)
	}
	properties := junitProperties(append(pairs, "reproduce", r.Reproduce)...)
	c := reporters.JUnitTestCase{
		Name: xmlText(fmt.Sprintf("%s: %s", r.ID, r.Statement)), Classname: suite,
		Status: string(r.Verdict), Time: seconds(r.DurationMillis), SystemOut: xmlText(r.Reason), Properties: &properties,
	}
	differs := fmt.Sprintf("%s, expected %s", r.Verdict, r.Expected)
	switch {
	case r.Unexpected():
		c.Failure = &reporters.JUnitFailure{Message: differs, Type: string(r.Verdict), Description: junitText(r)}
	case r.Verdict == claim.NotRun:
		c.Skipped = &reporters.JUnitSkipped{Message: xmlText(r.Reason)}
	case !r.AsExpected():
		c.Error = &reporters.JUnitError{Message: differs, Type: string(r.Verdict), Description: junitText(r)}
	}
	return c
}

func junitText(r Result) string {
	lines := []string{r.Reason}
	if r.Lesson != "" {
		lines = append(lines, r.Lesson)
	}
	for _, e := range r.Evidence {
		lines = append(lines, "evidence: "+e.Path)
	}
	if r.Reproduce != "" {
		lines = append(lines, "reproduce: "+r.Reproduce)
	}
	for i := range lines {
		lines[i] = xmlText(lines[i])
	}
	return strings.Join(lines, "\n")
}

func runProperties(r Run) reporters.JUnitProperties {
	return junitProperties("run", r.ID, "istio", r.Istio, "kubernetes", r.Kubernetes, "envoy", r.Envoy,
		"lane", r.Lane, "harness", r.HarnessCommit)
}

// junitProperties takes names and values in turn and leaves out empty values.
func junitProperties(pairs ...string) (p reporters.JUnitProperties) {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			p.Properties = append(p.Properties, reporters.JUnitProperty{Name: pairs[i], Value: xmlText(pairs[i+1])})
		}
	}
	return p
}

// xmlText keeps control characters readable, since XML has no way to hold them.
func xmlText(s string) string { return clean(s) }

func seconds(millis int64) float64 { return float64(millis) / 1000 }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05") }
