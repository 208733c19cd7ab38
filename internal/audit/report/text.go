package report

import (
	"io"
	"strings"

	"twohop/internal/audit"
)

const (
	green  = "32"
	red    = "31"
	yellow = "33"
	dim    = "2"
	bold   = "1"
)

// labelled is the column in which values start, after their label.
const labelled = len("wanted  ")

// text writes lines no wider than width, with colours or without.
type text struct {
	b      strings.Builder
	colour bool
	width  int
}

// writeText writes the report for people: first what to change, then how each channel is
// made, then what could not be learnt and what was taken for granted.
func writeText(w io.Writer, r *audit.Report, opts Options) error {
	r, err := readable(r)
	if err != nil {
		return err
	}
	t := &text{colour: opts.Colour, width: 100}
	if opts.Width != 0 {
		t.width = min(max(opts.Width, 80), 120)
	}
	t.header(r)
	var below []group
	for _, g := range grouped(r, audit.Fail) {
		if g.Severity.AtLeast(r.Run.FailOn) {
			t.finding(g)
		} else {
			below = append(below, g)
		}
	}
	t.unknowns(grouped(r, audit.Unknown))
	t.below(r, below)
	t.channels(r)
	t.exceptions(grouped(r, audit.Excepted))
	t.assumptions(r)
	t.totals(r)
	_, err = io.WriteString(w, t.b.String())
	return err
}

func (t *text) line(s string) { t.b.WriteString(inert(strings.TrimRight(s, " ")) + "\n") }

func (t *text) paint(colour, s string) string {
	if !t.colour || colour == "" || s == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// ends writes two texts at both ends of a line, or on two lines where they do not fit.
func (t *text) ends(left, right, leftColour, rightColour string) {
	gap := t.width - columns(left) - columns(right)
	lines := wrapKept(left, t.width)
	for i, l := range lines {
		l = t.paint(leftColour, l)
		if i == 0 && gap >= 2 {
			l += strings.Repeat(" ", gap) + t.paint(rightColour, right)
		}
		t.line(l)
	}
	if gap < 2 {
		t.indent("", "", right, rightColour)
	}
}

// indent writes a paragraph, its first line after first and the rest after rest.
func (t *text) indent(first, rest, s, colour string) {
	for i, l := range wrap(s, t.width-columns(rest)) {
		before := rest
		if i == 0 {
			before = first
		}
		t.line(before + t.paint(colour, l))
	}
}

// value writes a labelled value. One with lines of its own is YAML: its lines stay as
// they are, however long, since they are made to be copied.
func (t *text) value(margin, label, s string) {
	if s == "" {
		return
	}
	rest := margin + strings.Repeat(" ", labelled)
	first := margin + t.paint(dim, pad(label, labelled))
	if !strings.Contains(s, "\n") {
		t.indent(first, rest, s, "")
		return
	}
	for i, l := range strings.Split(s, "\n") {
		if i > 0 {
			first = rest
		}
		t.line(first + l)
	}
}

func (t *text) section(title, note string) {
	t.line("")
	t.line(t.paint(bold, title) + "  " + t.paint(dim, note))
}

func (t *text) header(r *audit.Report) {
	t.ends("TWOHOP AUDIT", headline(r), bold, resultColour(r.Result))
	t.line(t.paint(dim, strings.Repeat("═", t.width)))
	t.indent("", "", strings.Join(audited(r), " · "), "")
	if s := nothing(r); s != "" {
		t.indent("", "", s, yellow)
	}
}

// finding says which line of which object to change, then what to write there, then why.
func (t *text) finding(g group) {
	const margin = "  "
	t.line("")
	t.ends(strings.ToUpper(string(g.Severity))+"  "+stated(g.Finding), "["+g.ID+"]", severityColour(g.Severity), dim)
	for i, v := range g.Variants {
		if i > 0 {
			t.line("")
		}
		t.value(margin, "at", position(v.Finding))
		t.value(margin, "object", target(v.Finding))
		t.value(margin, "seen", flat(v.Seen))
		t.value(margin, "wanted", flat(v.Wanted))
		if !v.Repeats {
			t.value(margin, "change", v.Patch)
		}
		t.value(margin, "where", places(v, "; "))
	}
	if e := g.Exception; e != nil {
		t.value(margin, "expired", flat(source(e)))
	}
	t.value(margin, "why", flat(because(g.Finding)))
}

// below lists what does not fail the audit, in a few lines each: it must not push what
// does off the screen.
func (t *text) below(r *audit.Report, groups []group) {
	if len(groups) == 0 {
		return
	}
	t.section("BELOW "+strings.ToUpper(string(r.Run.FailOn)), "does not fail the audit; -o markdown has all of it")
	for _, g := range groups {
		t.ends("- "+string(g.Severity)+": "+g.Title, "["+g.ID+"]", "", dim)
		for _, v := range g.Variants {
			t.value("  ", "object", flat(target(v.Finding)+"  "+position(v.Finding)))
			t.value("  ", "seen", flat(v.Seen))
			t.value("  ", "wanted", flat(v.Wanted))
		}
	}
}

func (t *text) unknowns(groups []group) {
	if len(groups) == 0 {
		return
	}
	t.section("NOT KNOWN", "what could not be checked, and what to supply")
	for _, g := range groups {
		t.ends("? "+g.Title, "["+g.ID+"]", yellow, dim)
		for _, v := range g.Variants {
			t.value("  ", "object", flat(target(v.Finding)+"  "+position(v.Finding)))
			t.value("  ", "because", flat(v.Seen))
			t.value("  ", "give", learn(v.Finding))
			t.value("  ", "where", places(v, "; "))
		}
	}
}

func (t *text) exceptions(groups []group) {
	if len(groups) == 0 {
		return
	}
	t.section("EXCEPTED", "accepted until the date shown")
	for _, g := range groups {
		t.ends("- "+string(g.Severity)+": "+g.Title, "["+g.ID+"]", "", dim)
		for _, v := range g.Variants {
			t.value("  ", "object", flat(target(v.Finding)+"  "+position(v.Finding)))
			t.value("  ", "reason", flat(source(v.Exception)))
			t.value("  ", "where", places(v, "; "))
		}
	}
}

func (t *text) assumptions(r *audit.Report) {
	if len(r.Run.Assumed) == 0 {
		return
	}
	t.section("ASSUMED", "not in the input; add it with -f or --env to check it")
	for _, a := range r.Run.Assumed {
		t.indent("- ", "  ", a, "")
	}
}

func (t *text) totals(r *audit.Report) {
	t.line("")
	t.line(t.paint(dim, strings.Repeat("─", t.width)))
	t.indent("", "", strings.Join(totals(r), " · "), resultColour(r.Result))
}

func resultColour(r audit.Result) string {
	switch r {
	case audit.Passed:
		return green
	case audit.Failed:
		return red
	}
	return yellow
}

func severityColour(s audit.Severity) string {
	if s.AtLeast(audit.High) {
		return red
	}
	return yellow
}
