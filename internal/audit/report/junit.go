package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2/reporters"

	"twohop/internal/audit"
)

// writeJUnit writes a suite for each channel and a case for each check. A CI turns red
// where the exit code does, and nothing that has not passed is a plain pass:
//
//   - a finding at or above the limit is a failure, one below it is skipped, naming it;
//   - what is unknown is an error, JUnit's word for a test that came to no result, where
//     the audit is strict and the limit reached; otherwise it is skipped, starting with
//     "unknown: ";
//   - an excepted finding is skipped, with the reason.
func writeJUnit(w io.Writer, r *audit.Report, opts Options) error {
	r, err := readable(r)
	if err != nil {
		return err
	}
	all := reporters.JUnitTestSuites{TestSuites: junitSuites(r, opts)}
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
	_, err = io.WriteString(w, "\n")
	return err
}

func junitSuites(r *audit.Report, opts Options) []reporters.JUnitTestSuite {
	when, err := at(r)
	timestamp := ""
	if err == nil && !when.IsZero() {
		timestamp = when.Format("2006-01-02T15:04:05")
	}
	var suites []reporters.JUnitTestSuite
	index := map[string]int{}
	add := func(host string, c reporters.JUnitTestCase) {
		i, known := index[host]
		if !known {
			i = len(suites)
			index[host] = i
			name := "twohop.audit." + host
			if host == "" {
				name = "twohop.audit"
			}
			suites = append(suites, reporters.JUnitTestSuite{
				Name: name, Package: name, Timestamp: timestamp, Properties: junitProperties(r),
			})
		}
		s := &suites[i]
		c.Classname = s.Name
		s.TestCases = append(s.TestCases, c)
		s.Tests++
		switch {
		case c.Failure != nil:
			s.Failures++
		case c.Error != nil:
			s.Errors++
		case c.Skipped != nil:
			s.Skipped++
		}
	}
	// The channels first, in the report's order; then what belongs to none: the mesh.
	cases := allChecks(r)
	order := make([]string, 0, len(r.Channels))
	for _, c := range r.Channels {
		order = append(order, c.Host)
	}
	for _, k := range cases {
		if !slices.Contains(order, k.host) {
			order = append(order, k.host)
		}
	}
	for _, host := range order {
		for _, k := range cases {
			if k.host == host {
				add(host, junitCase(k, r.Run.FailOn, opts))
			}
		}
	}
	if len(suites) == 0 {
		add("", reporters.JUnitTestCase{
			Name: "an egress is audited", Status: string(r.Result),
			Error: &reporters.JUnitError{Message: "nothing was audited", Type: "unknown", Description: nothing(r)},
		})
	}
	return suites
}

// checkCase is what one check came to at one host: no finding is a pass.
type checkCase struct {
	id, title, host, seen string
	findings              []audit.Finding // the worst first
}

// allChecks gives each check and host once, in the order of findings and then checks.
func allChecks(r *audit.Report) []*checkCase {
	type key struct{ id, host string }
	at := map[key]*checkCase{}
	var cases []*checkCase
	names := titles()
	get := func(id, title, host string) *checkCase {
		c, known := at[key{id, host}]
		if !known {
			c = &checkCase{id: id, title: cmp.Or(names[id], title), host: host}
			at[key{id, host}] = c
			cases = append(cases, c)
		}
		return c
	}
	for _, f := range sorted(r.Findings) {
		c := get(f.ID, f.Title, f.Host)
		c.findings = append(c.findings, f)
	}
	for _, k := range r.Checks {
		get(k.ID, k.Title, k.Host).seen = k.Seen
	}
	return cases
}

func junitCase(k *checkCase, limit audit.Severity, opts Options) reporters.JUnitTestCase {
	c := reporters.JUnitTestCase{Name: k.id + " " + flat(k.title), Status: "pass", SystemOut: k.seen}
	if len(k.findings) == 0 {
		return c
	}
	lines := make([]string, 0, len(k.findings))
	for _, f := range k.findings {
		lines = append(lines, junitText(f))
	}
	description := strings.Join(lines, "\n\n")
	worst := k.findings[0]
	c.Status, c.SystemOut = string(worst.Status), description
	message := shortLine(worst)
	switch {
	case worst.Status == audit.Fail && worst.Severity.AtLeast(limit):
		c.Failure = &reporters.JUnitFailure{Message: message, Type: string(worst.Severity), Description: description}
		c.SystemOut = ""
	case worst.Status == audit.Unknown && opts.Strict && worst.Severity.AtLeast(limit):
		c.Error = &reporters.JUnitError{Message: message, Type: string(worst.Status), Description: description}
		c.SystemOut = ""
	case worst.Status == audit.Unknown:
		c.Skipped = &reporters.JUnitSkipped{Message: "unknown: " + flat(worst.Title+": "+worst.Seen)}
	case worst.Status == audit.Excepted:
		c.Skipped = &reporters.JUnitSkipped{Message: "excepted: " + flat(source(worst.Exception))}
	default:
		c.Skipped = &reporters.JUnitSkipped{Message: fmt.Sprintf("below the limit, %s: %s", limit, message)}
	}
	return c
}

func junitText(f audit.Finding) string {
	lines := []string{shortLine(f)}
	if f.Patch != "" {
		label := "change: "
		if f.Status == audit.Unknown {
			label = "give: "
		}
		lines = append(lines, label+f.Patch)
	}
	return strings.Join(append(lines, "why: "+because(f)), "\n")
}

func junitProperties(r *audit.Report) (p reporters.JUnitProperties) {
	for _, kv := range [][2]string{{"source", r.Run.Source}, {"istio", r.Run.Istio}, {"inputs", inputs(r.Run)}, {"fail-on", string(r.Run.FailOn)}} {
		if kv[1] != "" {
			p.Properties = append(p.Properties, reporters.JUnitProperty{Name: kv[0], Value: kv[1]})
		}
	}
	return p
}
