package verdict

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"twohop/internal/claim"
)

// notable are the times worth a reader's attention: the run and its phases,
// and claims that became at least a second and half again slower or faster.
func (d *Difference) notable() []TimeChange {
	var out []TimeChange
	for _, t := range d.Times {
		long, brief := max(t.AMillis, t.BMillis), min(t.AMillis, t.BMillis)
		if !strings.HasPrefix(t.What, "claim ") || (brief > 0 && long-brief >= 1000 && 2*long >= 3*brief) {
			out = append(out, t)
		}
	}
	return out
}

// Summary is the difference in one sentence.
func (d *Difference) Summary() string {
	if d.Same {
		return "Same: no verdict and no value changed, no claim was added or removed."
	}
	var parts []string
	for _, p := range []struct {
		n        int
		one, few string
	}{
		{len(d.Turned), "verdict changed", "verdicts changed"},
		{len(d.New), "claim added", "claims added"},
		{len(d.Gone), "claim removed", "claims removed"},
		{len(d.Moved), "value changed", "values changed"},
	} {
		switch {
		case p.n == 1:
			parts = append(parts, "1 "+p.one)
		case p.n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.few))
		}
	}
	return "Different: " + strings.Join(parts, ", ") + "."
}

// WriteJSON writes the difference for programs.
func (d *Difference) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(d)
}

// WriteText writes the difference for people.
func (d *Difference) WriteText(w io.Writer, opts TextOptions) error {
	t := newText(opts)
	colour := colourRed
	if d.Same {
		colour = colourGreen
	}
	for _, side := range []struct {
		name string
		r    RunRef
	}{{"A", d.A}, {"B", d.B}} {
		istio := ""
		if side.r.Istio != "" {
			istio = ", Istio " + side.r.Istio
		}
		t.indent(side.name+"  ", "   ", fmt.Sprintf("%s%s, %s (exit %d)", side.r.ID, istio, side.r.Result.Words(), side.r.ExitCode))
	}
	t.rule("─")
	for _, l := range wrap(d.Summary(), t.opts.Width) {
		t.line(t.paint(colour, l))
	}
	section := func(title string, n int) bool {
		if n > 0 {
			t.line("")
			t.line(t.paint(colourBold, title))
		}
		return n > 0
	}
	if section("VERSIONS", len(d.Versions)) {
		for _, c := range d.Versions {
			t.indent("  "+pad(c.What, 12), strings.Repeat(" ", 14), orNone(c.A)+" → "+orNone(c.B))
		}
	}
	for _, group := range []struct {
		title string
		turns []Turn
	}{{"VERDICTS THAT CHANGED", d.Turned}, {"CLAIMS ADDED", d.New}, {"CLAIMS REMOVED", d.Gone}} {
		section(group.title, len(group.turns))
		for _, turn := range group.turns {
			t.line("  " + t.paint(turn.colour(), clean(string(turn.Claim)+"  "+turn.arrow())))
			t.indent("    ", "    ", turn.Statement)
			if turn.B != "" {
				t.indent("    ", "    ", turn.Reason)
			}
		}
	}
	for _, group := range []struct {
		title string
		moves []Move
	}{{"VALUES THAT CHANGED", d.Moved}, {"VALUES THAT CHANGED AS EXPECTED", d.Followed}} {
		section(group.title, len(group.moves))
		for _, m := range group.moves {
			t.indent("  ", "    ", fmt.Sprintf("%s, %s: %s", m.Claim, m.Where, m.Name))
			t.indent("      ", "        ", short(m.A)+" → "+short(m.B))
		}
	}
	if times := d.notable(); section("TIME", len(times)) {
		for _, c := range times {
			t.line("  " + pad(clean(c.What), 24) + padLeft(duration(c.AMillis), 10) + " → " + duration(c.BMillis))
		}
	}
	_, err := io.WriteString(w, t.b.String())
	return err
}

func (t Turn) arrow() string {
	switch {
	case t.A == "":
		return string(t.B) + t.against(t.B)
	case t.B == "":
		return "was " + string(t.A)
	}
	return fmt.Sprintf("%s → %s", t.A, t.B) + t.against(t.B)
}

func (t Turn) against(v claim.Verdict) string {
	if v != t.Expected {
		return fmt.Sprintf(" (expected %s)", t.Expected)
	}
	return ""
}

func (t Turn) colour() string {
	if t.B == t.Expected {
		return colourGreen
	}
	return colourRed
}

func orNone(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// WriteMarkdown writes the difference for a CI job's page.
func (d *Difference) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s %s\n\n", mark(d.Same, false), md(d.Summary()))
	fmt.Fprintf(&b, "`%s` (%s) → `%s` (%s)\n", code(d.A.ID), d.A.Result.Words(), code(d.B.ID), d.B.Result.Words())
	table := func(title string, header ...string) func(cells ...string) {
		started := false
		return func(cells ...string) {
			if !started {
				fmt.Fprintf(&b, "\n### %s\n\n", title)
				mdRow(&b, header, len(header))
				b.WriteString(strings.Repeat("|---", len(header)) + "|\n")
				started = true
			}
			mdRow(&b, cells, len(header))
		}
	}
	row := table("Versions", "", "A", "B")
	for _, c := range d.Versions {
		row(c.What, orNone(c.A), orNone(c.B))
	}
	for _, group := range []struct {
		title string
		turns []Turn
	}{{"Verdicts that changed", d.Turned}, {"Claims added", d.New}, {"Claims removed", d.Gone}} {
		row := table(group.title, "Claim", "Verdict", "Statement", "Reason")
		for _, t := range group.turns {
			row(string(t.Claim), t.arrow(), t.Statement, t.Reason)
		}
	}
	for _, group := range []struct {
		title string
		moves []Move
	}{{"Values that changed", d.Moved}, {"Values that changed as expected", d.Followed}} {
		row := table(group.title, "Claim", "Where", "What", "A", "B")
		for _, m := range group.moves {
			row(string(m.Claim), m.Where, m.Name, short(m.A), short(m.B))
		}
	}
	row = table("Time", "", "A", "B")
	for _, c := range d.notable() {
		row(c.What, duration(c.AMillis), duration(c.BMillis))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
