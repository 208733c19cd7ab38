package verdict

import (
	"fmt"
	"io"
	"strings"
)

// Verification is what checking a run's folder found, without a cluster.
type Verification struct {
	Run    string `json:"run"`
	Claims int    `json:"claims"`
	Facts  int    `json:"facts"`
	Files  int    `json:"files"`
	Bytes  int64  `json:"bytes"`
	// Problems are contradictions, one sentence each. Without any, the verdict
	// follows from the evidence that is there.
	Problems []string `json:"problems"`
	// Notes are what a reader should know and what could not be checked.
	Notes []string `json:"notes"`
}

// Problem adds a contradiction.
func (v *Verification) Problem(format string, args ...any) {
	v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
}

// Note adds what a reader should know.
func (v *Verification) Note(format string, args ...any) {
	v.Notes = append(v.Notes, fmt.Sprintf(format, args...))
}

// Summary is the verification in one sentence.
func (v *Verification) Summary() string {
	what := fmt.Sprintf("%s, %s and %s (%s)", plural(v.Claims, "claim"), plural(v.Facts, "fact"),
		plural(v.Files, "evidence file"), size(v.Bytes))
	if len(v.Problems) == 0 {
		return "Verified: " + what + " agree with each other and with the verdict."
	}
	return fmt.Sprintf("Not verified: %s in %s.", plural(len(v.Problems), "problem"), what)
}

func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// WriteText writes the verification for people.
func (v *Verification) WriteText(w io.Writer, opts TextOptions) error {
	if opts.Width == 0 {
		opts.Width = 100
	}
	opts.Width = max(opts.Width, 80)
	t := &text{opts: opts}
	colour := colourGreen
	if len(v.Problems) > 0 {
		colour = colourRed
	}
	t.line("Run " + clean(v.Run))
	for _, p := range v.Problems {
		t.indent("  ✗ ", "    ", p)
	}
	for _, n := range v.Notes {
		t.indent("  – ", "    ", n)
	}
	for _, l := range wrap(v.Summary(), opts.Width) {
		t.line(t.paint(colour, l))
	}
	_, err := io.WriteString(w, t.b.String())
	return err
}

// WriteMarkdown writes the verification for a CI job's page.
func (v *Verification) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s %s\n\nRun `%s`.\n", mark(len(v.Problems) == 0, len(v.Problems) > 0), md(v.Summary()), code(v.Run))
	for _, part := range []struct {
		title string
		lines []string
	}{{"Problems", v.Problems}, {"Notes", v.Notes}} {
		if len(part.lines) > 0 {
			fmt.Fprintf(&b, "\n### %s\n\n", part.title)
			for _, l := range part.lines {
				fmt.Fprintf(&b, "- %s\n", md(l))
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
