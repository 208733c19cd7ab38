package upgrade

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"twohop/internal/verdict"
)

// WriteJSON writes the answer for programs.
func (a Answer) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(a)
}

// Summary is the answer in one sentence.
func (a Answer) Summary() string {
	fields := 0
	for _, p := range a.Given {
		fields += len(p.Changes)
	}
	return fmt.Sprintf("From Istio %s to %s: of %d claims, %s; %s; the proxies' configuration differs in %s.", a.From.Istio, a.To.Istio, a.Claims,
		counted(len(a.Verdicts.Turned), "changes its verdict", "change their verdicts"), values(len(a.Verdicts.Moved)), places(fields))
}

func values(n int) string {
	switch n {
	case 0:
		return "no value that was seen differs"
	case 1:
		return "1 value that was seen differs"
	}
	return fmt.Sprintf("%d values that were seen differ", n)
}

func places(n int) string {
	switch n {
	case 0:
		return "no place"
	case 1:
		return "1 place"
	}
	return fmt.Sprintf("%d places", n)
}

func counted(n int, one, more string) string {
	switch n {
	case 0:
		return "none " + one
	case 1:
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// WriteMarkdown writes the answer for a ticket.
func (a Answer) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## Istio %s → %s\n\n%s\n\n", a.From.Istio, a.To.Istio, a.Summary())
	b.WriteString("| | from | to |\n|---|---|---|\n")
	for _, row := range [][3]string{
		{"Istio", a.From.Istio + " " + a.From.IstioRevision, a.To.Istio + " " + a.To.IstioRevision},
		{"Kubernetes", a.From.Kubernetes, a.To.Kubernetes}, {"Envoy", a.From.Envoy, a.To.Envoy},
		{"recorded", a.From.Start.Format("2006-01-02"), a.To.Start.Format("2006-01-02")},
	} {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row[0], cell(row[1]), cell(row[2]))
	}
	b.WriteString("\n### Verdicts that change\n\n")
	for _, t := range a.Verdicts.Turned {
		fmt.Fprintf(&b, "- **%s** %s → %s: %s %s\n", t.Claim, t.A, t.B, cell(t.Statement), cell(t.Reason))
	}
	none(&b, len(a.Verdicts.Turned))
	for _, group := range []struct {
		title string
		turns []verdict.Turn
	}{{"Claims that only the second has", a.Verdicts.New}, {"Claims that only the first has", a.Verdicts.Gone}} {
		if len(group.turns) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n", group.title)
		for _, t := range group.turns {
			fmt.Fprintf(&b, "- **%s** %s%s: %s\n", t.Claim, t.A, t.B, cell(t.Statement))
		}
	}
	b.WriteString("\n### Values that differ\n\n")
	if len(a.Verdicts.Moved) > 0 {
		b.WriteString("| claim | where | what | from | to |\n|---|---|---|---|---|\n")
	}
	for _, m := range a.Verdicts.Moved {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", m.Claim, cell(m.Where), cell(m.Name), cell(m.A), cell(m.B))
	}
	none(&b, len(a.Verdicts.Moved))
	for _, p := range a.Given {
		fmt.Fprintf(&b, "\n### The configuration of the %s\n\n", p.Name)
		if len(p.Changes) > 0 {
			b.WriteString("| in | field | from | to | means |\n|---|---|---|---|---|\n")
		}
		for _, c := range p.Changes {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", cell(c.in()), cell(c.field()), cell(orAbsent(c.Was)), cell(orAbsent(c.Is)), cell(c.meaning()))
		}
		none(&b, len(p.Changes))
	}
	for i, n := range a.Notes {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "> %s\n", cell(n))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func none(b *strings.Builder, n int) {
	if n == 0 {
		b.WriteString("None.\n")
	}
}

// WriteText writes the answer for a terminal.
func (a Answer) WriteText(w io.Writer, opts verdict.TextOptions) error {
	var b strings.Builder
	width := max(cmp.Or(opts.Width, 100), 80)
	say := func(indent, text string) {
		for i, line := range wrap(text, width-len(indent)) {
			if i > 0 {
				indent = strings.Repeat(" ", len(indent))
			}
			b.WriteString(indent + line + "\n")
		}
	}
	for _, r := range []struct {
		title string
		run   verdict.Run
	}{{"FROM", a.From}, {"TO  ", a.To}} {
		say(r.title+"  ", fmt.Sprintf("Istio %s · Kubernetes %s · Envoy %s · recorded %s", r.run.Istio, r.run.Kubernetes, r.run.Envoy, r.run.Start.Format("2006-01-02")))
	}
	b.WriteString("\n")
	say("", a.Summary())
	for _, group := range []struct {
		title string
		turns []verdict.Turn
	}{{"VERDICTS THAT CHANGE", a.Verdicts.Turned}, {"CLAIMS THAT ONLY THE SECOND HAS", a.Verdicts.New}, {"CLAIMS THAT ONLY THE FIRST HAS", a.Verdicts.Gone}} {
		for i, t := range group.turns {
			if i == 0 {
				b.WriteString("\n" + group.title + "\n")
			}
			say("  ", fmt.Sprintf("%s  %s → %s: %s", t.Claim, orAbsent(string(t.A)), orAbsent(string(t.B)), t.Statement))
			say("      ", t.Reason)
		}
	}
	for i, m := range a.Verdicts.Moved {
		if i == 0 {
			b.WriteString("\nVALUES THAT DIFFER\n")
		}
		say("  ", fmt.Sprintf("%s, %s: %s", m.Claim, m.Where, m.Name))
		say("      ", short(m.A)+" → "+short(m.B))
	}
	for _, p := range a.Given {
		fmt.Fprintf(&b, "\nTHE CONFIGURATION OF THE %s\n", strings.ToUpper(p.Name))
		for _, c := range p.Changes {
			say("  ", c.in()+": "+c.field())
			say("      ", short(orAbsent(c.Was))+" → "+short(orAbsent(c.Is)))
			say("      ", c.meaning())
		}
		if len(p.Changes) == 0 {
			b.WriteString("  no change\n")
		}
	}
	for i, n := range a.Notes {
		if i == 0 {
			b.WriteString("\n")
		}
		say("note: ", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wrap breaks a text into lines of a width; a word that is longer stays whole.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// in names the resources: all by name if they are few.
func (c Change) in() string {
	const few = 2
	switch n := len(c.Resources); {
	case n == 0:
		return c.Kind
	case n <= few:
		return c.Kind + " " + strings.Join(c.Resources, ", ")
	default:
		// Rather one that a reader of the pattern knows.
		first := c.Resources[max(0, slices.IndexFunc(c.Resources, func(r string) bool { return strings.Contains(r, "partner") }))]
		return fmt.Sprintf("%d %ss, %s among them", n, c.Kind, first)
	}
}

func (c Change) field() string {
	if c.Path == "" {
		return "all of it"
	}
	return c.Path
}

func (c Change) meaning() string {
	if c.Meaning == "" {
		return ""
	}
	text := c.Meaning
	var ids []string
	for _, id := range c.Claims {
		ids = append(ids, string(id))
	}
	if len(ids) > 0 {
		text += " (" + strings.Join(ids, ", ") + ")"
	}
	return text
}

func orAbsent(s string) string {
	if s == "" {
		return "(absent)"
	}
	return s
}

// short cuts what a terminal cannot show.
func short(s string) string {
	const most = 160
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// cell makes a text fit a cell of a Markdown table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`).Replace(s)
}
