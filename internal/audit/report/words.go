package report

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"twohop/internal/audit"
)

// headline is the result and what it rests on.
func headline(r *audit.Report) string {
	var above, below, unknown int
	for _, f := range r.Findings {
		counts := f.Severity.AtLeast(r.Run.FailOn)
		switch {
		case f.Status == audit.Fail && counts:
			above++
		case f.Status == audit.Fail:
			below++
		case f.Status == audit.Unknown && counts:
			unknown++
		}
	}
	what := plural(r.Totals.Passed, "check") + " passed"
	switch {
	case above > 0:
		what = fmt.Sprintf("%s at or above %s", plural(above, "finding"), r.Run.FailOn)
	case unknown > 0:
		what = plural(unknown, "check") + " could not be made"
	case len(r.Channels) == 0:
		what = "no egress found"
	case below > 0:
		what += fmt.Sprintf(", %s below %s", plural(below, "finding"), r.Run.FailOn)
	}
	if r.Totals.Unknown > 0 && unknown == 0 {
		what += fmt.Sprintf(", %d unknown", r.Totals.Unknown)
	}
	return strings.ToUpper(string(r.Result)) + ": " + what
}

// stated is a finding's title as a sentence of its own. Titles say what has to hold, as
// names of tests do: without these words a failure would read as its opposite.
func stated(f audit.Finding) string {
	if f.Status == audit.Fail {
		return "not met: " + f.Title
	}
	return f.Title
}

// totals are the counts and the result, in the order in which a line gives them.
func totals(r *audit.Report) []string {
	var failed []string
	for _, s := range audit.Severities() {
		if n := r.Totals.Failed[s]; n > 0 {
			failed = append(failed, fmt.Sprintf("%d %s", n, s))
		}
	}
	if failed == nil {
		failed = []string{"0 failed"}
	}
	return []string{
		strings.ToUpper(string(r.Result)), plural(r.Totals.Channels, "channel"), fmt.Sprintf("%d passed", r.Totals.Passed),
		strings.Join(failed, ", "), fmt.Sprintf("%d unknown", r.Totals.Unknown), fmt.Sprintf("%d excepted", r.Totals.Excepted),
	}
}

// nothing is what an audit that found no channel has to say: it proves nothing, and
// must not look like one that passed.
func nothing(r *audit.Report) string {
	if len(r.Channels) > 0 {
		return ""
	}
	return fmt.Sprintf("No egress channel was found in %s: no connection was audited.", inputs(r.Run))
}

func inputs(run audit.Run) string {
	if len(run.Inputs) == 0 {
		return "the input"
	}
	return listed(run.Inputs, 4)
}

// listed joins a list and counts what is too much to read.
func listed(items []string, most int) string {
	if len(items) <= most {
		return strings.Join(items, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(items[:most], ", "), len(items)-most)
}

// audited says what was audited, and how: only what is known.
func audited(r *audit.Report) []string {
	parts := []string{fmt.Sprintf("%s configuration of %s", cmp.Or(capital(r.Run.Source), "Unknown"), inputs(r.Run))}
	if r.Run.Istio != "" {
		parts = append(parts, "Istio "+r.Run.Istio)
	}
	if r.Run.At != "" {
		parts = append(parts, r.Run.At)
	}
	return parts
}

// learn is what would settle an unknown: the patch says how, or the value wanted does.
func learn(f audit.Finding) string {
	if f.Patch != "" {
		return f.Patch
	}
	return f.Wanted
}

func capital(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// at is the audit's time; zero where the report gives none.
func at(r *audit.Report) (time.Time, error) {
	if r.Run.At == "" {
		return time.Time{}, nil
	}
	when, err := time.Parse(time.RFC3339, r.Run.At)
	return when.UTC(), err
}

// titles are the checks' own, by id: a finding may have a narrower one, and what a CI
// follows from run to run should keep its name.
func titles() map[string]string {
	names := map[string]string{}
	for _, k := range audit.Kinds() {
		names[k.ID] = k.Title
	}
	return names
}
