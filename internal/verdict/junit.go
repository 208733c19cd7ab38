package verdict

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"twohop/internal/claim"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string           `xml:"name,attr"`
	Tests      int              `xml:"tests,attr"`
	Failures   int              `xml:"failures,attr"`
	Errors     int              `xml:"errors,attr"`
	Skipped    int              `xml:"skipped,attr"`
	Time       string           `xml:"time,attr"`
	Timestamp  string           `xml:"timestamp,attr"`
	Properties *junitProperties `xml:"properties"`
	Cases      []junitCase      `xml:"testcase"`
}

type junitProperties struct {
	Property []junitProperty `xml:"property"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Name       string           `xml:"name,attr"`
	ClassName  string           `xml:"classname,attr"`
	Time       string           `xml:"time,attr"`
	Properties *junitProperties `xml:"properties"`
	Failure    *junitProblem    `xml:"failure"`
	Error      *junitProblem    `xml:"error"`
	Skipped    *junitProblem    `xml:"skipped"`
	SystemOut  string           `xml:"system-out,omitempty"`
}

type junitProblem struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes junit.xml: a suite for each chapter and a case for each
// claim. A verdict that is not the expected one is a failure, an inconclusive
// one an error, and a claim that did not run is skipped. A claim that is
// refuted as expected passes. A run whose environment failed has a suite of its
// own with an error, so that no CI shows it as passed or empty.
func WriteJUnit(w io.Writer, v *Verdict) error {
	all := junitSuites{Name: "twohop " + xmlText(v.Run.ID), Time: seconds(v.Run.DurationMillis)}
	if v.Result == Failed || v.Result == Interrupted || v.Result == Running {
		all.Suites = append(all.Suites, junitSuite{
			Name: "twohop.run", Tests: 1, Errors: 1, Time: seconds(v.Run.DurationMillis), Timestamp: stamp(v.Run.Start),
			Cases: []junitCase{{
				Name: "the run ends by itself", ClassName: "twohop.run", Time: seconds(v.Run.DurationMillis),
				Error: &junitProblem{Message: xmlText(v.Result.Words()), Type: string(v.Result), Text: xmlText(v.Message)},
			}},
		})
	}
	for _, group := range chapters(v.Claims) {
		all.Suites = append(all.Suites, junitChapter(v, group))
	}
	for _, s := range all.Suites {
		all.Tests += s.Tests
		all.Failures += s.Failures
		all.Errors += s.Errors
		all.Skipped += s.Skipped
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

func junitChapter(v *Verdict, group []Result) junitSuite {
	s := junitSuite{
		Name: "twohop." + string(group[0].Chapter), Tests: len(group), Timestamp: stamp(v.Run.Start),
		Properties: properties(
			"istio", v.Run.Istio, "kubernetes", v.Run.Kubernetes, "envoy", v.Run.Envoy,
			"lane", v.Run.Lane, "harness", v.Run.HarnessCommit),
	}
	var total int64
	for _, r := range group {
		total += r.DurationMillis
		c := junitCase{
			Name:      xmlText(fmt.Sprintf("%s: %s", r.ID, r.Statement)),
			ClassName: s.Name, Time: seconds(r.DurationMillis),
			SystemOut: xmlText(r.Reason),
		}
		pairs := []string{"claim", string(r.ID), "section", r.Section, "verdict", string(r.Verdict), "expected", string(r.Expected)}
		for _, e := range r.Evidence {
			pairs = append(pairs, "evidence", e.Path)
		}
		c.Properties = properties(append(pairs, "reproduce", r.Reproduce)...)
		switch {
		case r.Unexpected():
			s.Failures++
			c.Failure = &junitProblem{
				Message: fmt.Sprintf("%s, expected %s", r.Verdict, r.Expected), Type: string(r.Verdict), Text: junitText(r),
			}
		case r.Verdict == claim.NotRun:
			s.Skipped++
			c.Skipped = &junitProblem{Message: xmlText(r.Reason)}
		case !r.AsExpected():
			s.Errors++
			c.Error = &junitProblem{
				Message: fmt.Sprintf("%s, expected %s", r.Verdict, r.Expected), Type: string(r.Verdict), Text: junitText(r),
			}
		}
		s.Cases = append(s.Cases, c)
	}
	s.Time = seconds(total)
	return s
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
		lines = append(lines, "see it again: "+r.Reproduce)
	}
	for i := range lines {
		lines[i] = xmlText(lines[i])
	}
	return strings.Join(lines, "\n")
}

// properties takes names and values in turn and leaves out empty values.
func properties(pairs ...string) *junitProperties {
	var p junitProperties
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			p.Property = append(p.Property, junitProperty{Name: pairs[i], Value: xmlText(pairs[i+1])})
		}
	}
	if len(p.Property) == 0 {
		return nil
	}
	return &p
}

// xmlText keeps control characters readable, since XML has no way to hold them.
func xmlText(s string) string { return clean(s) }

func seconds(millis int64) string { return fmt.Sprintf("%.3f", float64(millis)/1000) }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05") }
