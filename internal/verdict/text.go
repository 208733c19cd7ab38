package verdict

import (
	"fmt"
	"io"
	"strings"

	"al.essio.dev/pkg/shellescape"

	"twohop/internal/claim"
)

// TextOptions is how result.txt is written.
type TextOptions struct {
	// Dir is the run's folder, as the footer names it; no footer if empty.
	Dir string
	// Colour switches terminal colours on.
	Colour bool
	// Width is the widest line in columns, 100 if zero; at least 80.
	Width int
}

const (
	colourGreen  = "32"
	colourRed    = "31"
	colourYellow = "33"
	colourDim    = "2"
	colourBold   = "1"
)

// chapters groups results by chapter, in the order in which chapters appear.
func chapters(results []Result) [][]Result {
	var groups [][]Result
	at := map[claim.Chapter]int{}
	for _, r := range results {
		i, ok := at[r.Chapter]
		if !ok {
			i = len(groups)
			at[r.Chapter] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], r)
	}
	return groups
}

// text writes lines no wider than width, with colours or without.
type text struct {
	b     strings.Builder
	opts  TextOptions
	idCol int
}

func newText(opts TextOptions) *text {
	if opts.Width == 0 {
		opts.Width = 100
	}
	opts.Width = max(opts.Width, 80)
	return &text{opts: opts, idCol: len("CLAIM")}
}

// WriteText writes the verdict as a table for people: the claims, then the
// reasons that need reading, then the claims' own tables.
func WriteText(w io.Writer, v *Verdict, opts TextOptions) error {
	t := newText(opts)
	for _, r := range v.Claims {
		t.idCol = max(t.idCol, width(string(r.ID)))
	}
	t.header(v)
	t.claims(v)
	t.totals(v)
	t.reasons(v)
	t.tables(v)
	t.footer(v)
	_, err := io.WriteString(w, t.b.String())
	return err
}

func (t *text) line(s string) { t.b.WriteString(strings.TrimRight(s, " ") + "\n") }

func (t *text) paint(colour, s string) string {
	if !t.opts.Colour {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// indent writes a paragraph, its first line after first and the rest after rest.
func (t *text) indent(first, rest, s string) {
	for i, l := range wrap(clean(s), t.opts.Width-width(rest)) {
		if i == 0 {
			t.line(first + l)
		} else {
			t.line(rest + l)
		}
	}
}

func (t *text) rule(char string) { t.line(t.paint(colourDim, strings.Repeat(char, t.opts.Width))) }

func (t *text) header(v *Verdict) {
	left, right := "TWOHOP  "+clean(v.Run.ID), headline(v)
	gap := max(2, t.opts.Width-width(left)-width(right))
	t.line(t.paint(colourBold, left) + strings.Repeat(" ", gap) + t.paint(outcomeColour(v.Result), right))
	t.rule("═")
	for _, l := range joinWrapped(environment(v.Run), " · ", t.opts.Width) {
		t.line(l)
	}
	for _, l := range joinWrapped(timing(v), " · ", t.opts.Width) {
		t.line(l)
	}
	for _, n := range v.Run.Notes {
		t.indent("note: ", "      ", n)
	}
}

// headline is the outcome in capitals with its exit code.
func headline(v *Verdict) string {
	return fmt.Sprintf("%s (exit %d)", strings.ToUpper(v.Result.Words()), v.ExitCode)
}

func outcomeColour(o Outcome) string {
	switch o {
	case Green:
		return colourGreen
	case Different, Failed:
		return colourRed
	}
	return colourYellow
}

// environment says what was judged: only what is known.
func environment(r Run) []string {
	var parts []string
	add := func(label, value string) {
		if value != "" {
			parts = append(parts, strings.TrimSpace(label+" "+clean(value)))
		}
	}
	add("Istio", r.Istio)
	add("Kubernetes", r.Kubernetes)
	add("Envoy", r.Envoy)
	if r.Lane != "" {
		add("", r.Lane+" lane")
	}
	add("", r.Engine)
	if r.Cluster != "" {
		state := "new"
		if r.ClusterReused {
			state = "reused"
		}
		add("cluster", r.Cluster+" ("+state+")")
	}
	add("domain", r.Domain)
	if len(parts) == 0 {
		parts = append(parts, "environment unknown: the run ended before it was read")
	}
	return parts
}

func timing(v *Verdict) []string {
	parts := []string{
		"started " + v.Run.Start.UTC().Format("2006-01-02 15:04:05 UTC"),
		"took " + duration(v.Run.DurationMillis),
	}
	for _, p := range v.Phases {
		parts = append(parts, clean(p.Name)+" "+duration(p.DurationMillis))
	}
	if v.Run.Selection != "" {
		parts = append(parts, "claims: "+clean(v.Run.Selection))
	}
	if v.Run.HarnessCommit != "" {
		parts = append(parts, "harness "+clean(v.Run.HarnessCommit))
	}
	return append(parts, fmt.Sprintf("seed %d", v.Run.Seed))
}

// Columns of the table.
const (
	verdictCol = len("inconclusive")
	timeCol    = len("  TIME")
)

func (t *text) claims(v *Verdict) {
	expectedCol := len("EXPECTED")
	if v.Totals.Unexpected > 0 {
		expectedCol = len("x supported")
	}
	indent := 2 + verdictCol + 2 + expectedCol + 2 + t.idCol + 2
	wide := t.opts.Width - indent - timeCol - 2
	row := func(verdict, expected, id, statement, took string) string {
		return "  " + pad(verdict, verdictCol) + "  " + pad(expected, expectedCol) + "  " +
			pad(id, t.idCol) + "  " + pad(statement, wide) + "  " + padLeft(took, timeCol)
	}
	t.line("")
	t.line(t.paint(colourDim, row("VERDICT", "EXPECTED", "CLAIM", "STATEMENT", "TIME")))
	for _, group := range chapters(v.Claims) {
		t.line("")
		t.line("  " + t.paint(colourBold, clean(group[0].Chapter.Title())))
		for _, r := range group {
			expected := "✓"
			switch {
			case r.Unexpected():
				expected = "✗ " + string(r.Expected)
			case !r.AsExpected():
				expected = "–"
			}
			took := ""
			if r.DurationMillis > 0 {
				took = duration(r.DurationMillis)
			}
			words := wrap(clean(r.Statement), wide)
			first := row(string(r.Verdict), expected, clean(string(r.ID)), words[0], took)
			// Only the verdict is coloured, after padding, so columns stay.
			painted := "  " + t.paint(resultColour(r), pad(string(r.Verdict), verdictCol))
			t.line(painted + strings.TrimPrefix(first, "  "+pad(string(r.Verdict), verdictCol)))
			for _, w := range words[1:] {
				t.line(strings.Repeat(" ", indent) + w)
			}
		}
	}
}

func resultColour(r Result) string {
	switch {
	case r.Unexpected():
		return colourRed
	case r.AsExpected():
		return colourGreen
	}
	return colourYellow
}

func (t *text) totals(v *Verdict) {
	t.line("")
	t.rule("─")
	for _, l := range joinWrapped(totalParts(v.Totals), " · ", t.opts.Width) {
		t.line(t.paint(outcomeColour(v.Result), l))
	}
	if m := v.ownMessage(); m != "" {
		t.indent("", "", m)
	}
}

// totalParts names the counts that are not zero, and always how many claims.
func totalParts(n Totals) []string {
	parts := []string{plural(n.Claims, "claim")}
	for _, p := range []struct {
		n    int
		what string
	}{
		{n.Supported, "supported"}, {n.Refuted, "refuted"}, {n.Inconclusive, "inconclusive"}, {n.NotRun, "not run"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if n.Unexpected > 0 {
		return append(parts, fmt.Sprintf("%d not as expected", n.Unexpected))
	}
	if n.allExpected() {
		parts = append(parts, "all as expected")
	}
	return parts
}

func (t *text) tables(v *Verdict) {
	for _, r := range v.Claims {
		if r.Table == nil {
			continue
		}
		t.line("")
		t.line(t.paint(colourBold, clean(string(r.ID)+"  "+r.Table.Title)))
		t.line("")
		t.table(r.Table)
	}
}

func (t *text) footer(v *Verdict) {
	if t.opts.Dir == "" {
		return
	}
	t.line("")
	t.rule("─")
	t.line("Files   " + clean(t.opts.Dir))
	for _, f := range [][2]string{
		{"report.html", "the full report, with the evidence"},
		{VerdictFile, "the same, for programs"},
		{EvidenceDir + "/", "the raw evidence, saved before it was parsed"},
	} {
		t.line("        " + pad(f[0], 14) + t.paint(colourDim, f[1]))
	}
	t.line("Check   twohop verify-run " + shellescape.Quote(clean(t.opts.Dir)))
}
