// Package matrix renders what the catalogue came to on several combinations of Istio,
// Kubernetes and Envoy: docs/versions.md and matrix.html. It only reads verdicts, and
// must not import a room that runs anything.
package matrix

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"twohop/internal/claim"
	"twohop/internal/verdict"
)

// Combination is what a run was asked to be made with.
type Combination struct{ Istio, Kubernetes, Envoy string }

func (c Combination) String() string {
	return fmt.Sprintf("Istio %s · Kubernetes %s · Envoy %s", c.Istio, c.Kubernetes, c.Envoy)
}

// Row is a combination and what became of it.
type Row struct {
	Combination
	// Verdict is that of the run; nil if there is none yet.
	Verdict *verdict.Verdict
	// Earlier are what earlier runs at the same commit came to, if it was not the same.
	Earlier []string
	// Failure says why the combination did not come up, or was not judged.
	Failure string
}

// Judged reports whether the run got to judge.
func (r Row) Judged() bool {
	return r.Verdict != nil && slices.Contains([]verdict.Outcome{verdict.Green, verdict.Different, verdict.Inconclusive}, r.Verdict.Result)
}

// Outcome is the row's result in a few words.
func (r Row) Outcome() string {
	if !r.Judged() {
		return "not judged: " + strings.TrimSpace(r.Failure)
	}
	t := r.Verdict.Totals
	words := fmt.Sprintf("%d of %d as expected", t.Supported+t.Refuted-t.Unexpected, t.Claims)
	for _, rest := range []struct {
		n    int
		what string
	}{{t.Unexpected, "not as expected"}, {t.Inconclusive, "inconclusive"}, {t.NotRun, "not run"}} {
		if rest.n > 0 {
			words += fmt.Sprintf(", %d %s", rest.n, rest.what)
		}
	}
	return words
}

// Support is what of the combination Istio does not support.
func (r Row) Support() string {
	if r.Verdict == nil {
		return ""
	}
	var notes []string
	for _, n := range r.Verdict.Run.Notes {
		if strings.Contains(n, ", and this is ") {
			notes = append(notes, n)
		}
	}
	return strings.Join(notes, "; ")
}

func (r Row) took() string {
	if !r.Judged() {
		return ""
	}
	return (time.Duration(r.Verdict.Run.DurationMillis) * time.Millisecond).Round(time.Second).String()
}

// Cell is a claim's verdict in a row.
type Cell struct {
	Verdict    claim.Verdict
	AsExpected bool
	Reason     string
}

// Line is a claim over all rows that were judged.
type Line struct {
	ID        claim.ID
	Statement string
	Cells     []Cell
}

// Differs reports whether not all rows say the same, or one is not as expected.
func (l Line) Differs() bool {
	return slices.ContainsFunc(l.Cells, func(c Cell) bool { return !c.AsExpected || c.Verdict != l.Cells[0].Verdict })
}

// lines are the claims of the rows that were judged, in the catalogue's order.
func lines(rows []Row) (all []Line) {
	at := map[claim.ID]int{}
	for column, r := range rows {
		for _, c := range r.Verdict.Claims {
			i, ok := at[c.ID]
			if !ok {
				i = len(all)
				at[c.ID] = i
				all = append(all, Line{ID: c.ID, Statement: c.Statement, Cells: make([]Cell, len(rows))})
			}
			all[i].Cells[column] = Cell{c.Verdict, c.Verdict == c.Expected, c.Reason}
		}
	}
	return all
}

func judgedOnly(rows []Row) (judged []Row) {
	for _, r := range rows {
		if r.Judged() {
			judged = append(judged, r)
		}
	}
	return judged
}

// Markdown writes docs/versions.md. The first row is what the others are compared with.
func Markdown(w io.Writer, rows []Row, machine string) error {
	var b strings.Builder
	b.WriteString(`# Versions

<!-- Written by ` + "`make matrix`" + `; do not edit. -->

The whole catalogue on each combination, source lane: Istio and Kubernetes built from their modules, upstream Envoy.
` + machine + `

| Istio | Kubernetes | Envoy | verdicts | differs from the first judged row | took | run |
|---|---|---|---|---|---|---|
`)
	judged := judgedOnly(rows)
	for _, r := range rows {
		differs, run := "", ""
		if r.Judged() {
			d := verdict.Diff(judged[0].Verdict, r.Verdict)
			differs = counted(len(d.Turned), "verdict") + ", " + counted(len(d.Moved), "value")
			if r.Verdict == judged[0].Verdict {
				differs = "–"
			}
			run = fmt.Sprintf("%s, harness %s", r.Verdict.Run.Start.Format(time.DateOnly), r.Verdict.Run.HarnessCommit)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", r.Istio, r.Kubernetes, r.Envoy, escape(r.Outcome()), differs, r.took(), run)
	}
	for _, r := range rows {
		if s := r.Support(); s != "" {
			fmt.Fprintf(&b, "\n%s: %s.\n", r.Combination, escape(s))
		}
	}
	for _, r := range rows {
		for _, e := range r.Earlier {
			fmt.Fprintf(&b, "\n%s: an earlier run at the same commit came to another end: %s.\n", r.Combination, escape(e))
		}
	}
	b.WriteString("\n## Claims that differ\n\n")
	any := false
	for _, l := range lines(judged) {
		if !l.Differs() {
			continue
		}
		any = true
		fmt.Fprintf(&b, "- **%s** %s\n", l.ID, escape(l.Statement))
		for i, c := range l.Cells {
			fmt.Fprintf(&b, "  - %s: %s\n", judged[i].Combination, c.words())
		}
	}
	if !any {
		b.WriteString("None: each claim came out the same on every combination that was judged, and as expected.\n")
	}
	b.WriteString("\n## Values that differ\n\nWhat the checks saw, compared with the first row that was judged. Addresses, times, names made at random and numbers of\nconnections are left out; counts of requests under load may differ between any two runs.\n")
	for _, r := range judged[min(1, len(judged)):] {
		d := verdict.Diff(judged[0].Verdict, r.Verdict)
		fmt.Fprintf(&b, "\n### %s\n\n", r.Combination)
		if n := len(d.Followed); n > 0 {
			fmt.Fprintf(&b, "%s moved within what was expected and %s not listed.\n\n", counted(n, "value"), map[bool]string{true: "is", false: "are"}[n == 1])
		}
		if len(d.Moved) == 0 {
			b.WriteString("None.\n")
			continue
		}
		b.WriteString("| claim | where | what | first row | here |\n|---|---|---|---|---|\n")
		for _, m := range d.Moved {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", m.Claim, escape(m.Where), escape(m.Name), escape(m.A), escape(m.B))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func (c Cell) words() string {
	switch {
	case c.Verdict == "":
		return "not in this run"
	case c.AsExpected:
		return string(c.Verdict) + ", as expected"
	}
	return string(c.Verdict) + ", not as expected: " + escape(c.Reason)
}

func escape(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`).Replace(s)
}

//go:embed matrix.html.tmpl
var page string

var pageTemplate = template.Must(template.New("matrix").Parse(page))

// HTML writes matrix.html: claims × combinations.
func HTML(w io.Writer, rows []Row) error {
	judged := judgedOnly(rows)
	return pageTemplate.Execute(w, map[string]any{"Rows": rows, "Judged": judged, "Lines": lines(judged)})
}
