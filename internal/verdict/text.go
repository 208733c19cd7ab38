package verdict

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

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

// WriteText writes the verdict as a table for people: the claims, then the
// reasons that need reading, then the claims' own tables.
func WriteText(w io.Writer, v *Verdict, opts TextOptions) error {
	if opts.Width == 0 {
		opts.Width = 100
	}
	opts.Width = max(opts.Width, 80)
	t := &text{opts: opts, idCol: len("CLAIM")}
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
		parts = append(parts, "environment unknown: the run ended before it was seen")
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
	if v.Message != "" {
		t.indent("", "", v.Message)
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
	if n.Inconclusive+n.NotRun == 0 && n.Claims > 0 {
		parts = append(parts, "each as expected")
	}
	return parts
}

// NeedsReading reports whether a result's reason belongs under the table: it
// is refuted, inconclusive or not as expected.
func (r Result) NeedsReading() bool {
	return r.Unexpected() || r.Verdict == claim.Refuted || r.Verdict == claim.Inconclusive
}

func (t *text) reasons(v *Verdict) {
	title := false
	for _, r := range v.Claims {
		if !r.NeedsReading() {
			continue
		}
		if !title {
			t.line("")
			t.line(t.paint(colourBold, "WHY"))
			title = true
		}
		t.line("")
		head := fmt.Sprintf("%s  %s", clean(string(r.ID)), r.Verdict)
		switch {
		case r.Unexpected():
			head += fmt.Sprintf(", expected %s", r.Expected)
		case r.AsExpected():
			head += ", as expected"
		}
		t.line("  " + t.paint(resultColour(r), head))
		t.indent("    ", "    ", r.Reason)
		if r.Lesson != "" {
			t.indent("    ", "    ", "Lesson: "+r.Lesson)
		}
		if r.Reproduce != "" {
			t.indent("    ", "    ", "See it again: "+r.Reproduce)
		}
	}
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

// table writes a claim's own table, its cells wrapped so that it fits.
func (t *text) table(table *Table) {
	cols := len(table.Header)
	for _, row := range table.Rows {
		cols = max(cols, len(row))
	}
	if cols == 0 {
		return
	}
	cell := func(row []string, i int) string {
		if i < len(row) {
			return clean(row[i])
		}
		return ""
	}
	widths := columnWidths(table, cols, t.opts.Width-2-2*(cols-1))
	write := func(row []string, colour string) {
		cells, height := make([][]string, cols), 1
		for i := range cols {
			cells[i] = wrap(cell(row, i), widths[i])
			height = max(height, len(cells[i]))
		}
		for y := range height {
			var b strings.Builder
			b.WriteString("  ")
			for i := range cols {
				piece := ""
				if y < len(cells[i]) {
					piece = cells[i][y]
				}
				b.WriteString(pad(piece, widths[i]) + "  ")
			}
			s := strings.TrimRight(b.String(), " ")
			if colour != "" {
				s = t.paint(colour, s)
			}
			t.line(s)
		}
	}
	write(table.Header, colourDim)
	rules := make([]string, cols)
	for i := range cols {
		rules[i] = strings.Repeat("─", widths[i])
	}
	write(rules, colourDim)
	for _, row := range table.Rows {
		write(row, "")
	}
}

// columnWidths gives each column what it needs, and takes from the widest until
// the table fits into total columns: from those that have room beyond their
// longest word first, so that words are cut only where nothing else is left.
func columnWidths(table *Table, cols, total int) []int {
	widths, words := make([]int, cols), make([]int, cols)
	for _, row := range append([][]string{table.Header}, table.Rows...) {
		for i, c := range row {
			widths[i] = max(widths[i], width(clean(c)))
			for _, word := range strings.Fields(clean(c)) {
				words[i] = max(words[i], width(word))
			}
		}
	}
	const least = 6
	widest := func(room func(i int) bool) int {
		found := -1
		for i, w := range widths {
			if room(i) && (found < 0 || w > widths[found]) {
				found = i
			}
		}
		return found
	}
	for sum := 0; ; sum = 0 {
		for _, w := range widths {
			sum += w
		}
		if sum <= total {
			return widths
		}
		i := widest(func(i int) bool { return widths[i] > max(words[i], least) })
		if i < 0 {
			i = widest(func(i int) bool { return widths[i] > least })
		}
		if i < 0 {
			return widths
		}
		widths[i]--
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
		{"report.html", "the whole report, with the evidence"},
		{"verdict.json", "the same for programs"},
		{EvidenceDir + "/", "what was seen, before it was parsed"},
	} {
		t.line("        " + pad(f[0], 14) + t.paint(colourDim, f[1]))
	}
	t.line("Check   twohop verify-run " + clean(t.opts.Dir))
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

// clean makes a value safe for one line of a terminal: a log line may carry
// escape sequences, and they stay text.
func clean(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// wrap breaks s into lines of at most n columns; a word that is longer is cut.
func wrap(s string, n int) []string {
	n = max(n, 1)
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		for width(word) > n {
			room := n
			if line != "" {
				room = n - width(line) - 1
			}
			// Cutting a long word is right only where the rest of the line is worth filling.
			if line != "" && room < n/2 {
				lines, line = append(lines, line), ""
				continue
			}
			head, tail := cut(word, room)
			if line != "" {
				head = line + " " + head
			}
			lines, line, word = append(lines, head), "", tail
		}
		switch {
		case line == "":
			line = word
		case width(line)+1+width(word) <= n:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}

// joinWrapped joins parts with sep into lines of at most n columns, breaking
// between parts.
func joinWrapped(parts []string, sep string, n int) []string {
	var lines []string
	line := ""
	for _, p := range parts {
		switch {
		case line == "":
			line = p
		case width(line)+width(sep)+width(p) <= n:
			line += sep + p
		default:
			lines, line = append(lines, line), p
		}
	}
	return append(lines, line)
}

func cut(s string, n int) (head, tail string) {
	w := 0
	for i, r := range s {
		if w += runeWidth(r); w > n && i > 0 {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

func pad(s string, n int) string     { return s + strings.Repeat(" ", max(0, n-width(s))) }
func padLeft(s string, n int) string { return strings.Repeat(" ", max(0, n-width(s))) + s }

// width is how many columns a terminal gives s. East Asian wide characters,
// which the guide's quotes may hold, take two.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	switch {
	case unicode.Is(unicode.Mn, r):
		return 0
	case r >= 0x1100 && unicode.In(r, unicode.Hangul, unicode.Han, unicode.Hiragana, unicode.Katakana):
		return 2
	case r >= 0x3000 && r <= 0x303e, r >= 0xff01 && r <= 0xff60, r >= 0x1f300 && r <= 0x1faff:
		return 2
	}
	return 1
}

// duration is a time as people read it: 320 ms, 4.2 s, 1 m 05 s, 1 h 02 m.
func duration(millis int64) string {
	d := time.Duration(millis) * time.Millisecond
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", millis)
	case d < 59950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%d m %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%d h %02d m", int(d.Hours()), int(d.Minutes())%60)
}
