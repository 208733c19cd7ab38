package verdict

import (
	"fmt"
	"io"
	"strings"

	"twohop/internal/claim"
)

// WriteMarkdown writes a summary for a CI job's page.
func WriteMarkdown(w io.Writer, v *Verdict) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s Twohop: %s\n\n", mark(v.Result == Green, v.Result == Different || v.Result == Failed), v.Result.Words())
	if m := v.ownMessage(); m != "" {
		fmt.Fprintf(&b, "%s\n\n", md(m))
	}
	fmt.Fprintf(&b, "%s. %s.\n\n", strings.Join(totalParts(v.Totals), ", "), md(strings.Join(environment(v.Run), ", ")))
	fmt.Fprintf(&b, "Run `%s`, %s, %s, exit code %d.\n\n", code(v.Run.ID),
		v.Run.Start.UTC().Format("2006-01-02 15:04 UTC"), duration(v.Run.DurationMillis), v.ExitCode)

	b.WriteString("|  | Claim | Verdict | Statement | Time |\n|---|---|---|---|--:|\n")
	for _, r := range v.Claims {
		verdict := string(r.Verdict)
		if r.Unexpected() {
			verdict = fmt.Sprintf("**%s**, expected %s", r.Verdict, r.Expected)
		}
		took := ""
		if r.DurationMillis > 0 {
			took = duration(r.DurationMillis)
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n",
			mark(r.AsExpected(), r.Unexpected()), code(string(r.ID)), verdict, md(r.Statement), took)
	}

	for _, r := range v.Claims {
		if !r.NeedsReading() {
			continue
		}
		fmt.Fprintf(&b, "\n<details%s><summary><b>%s</b> %s</summary>\n\n%s\n",
			openAttribute(!r.AsExpected()), md(string(r.ID)), r.Verdict, md(r.Reason))
		if r.Lesson != "" {
			fmt.Fprintf(&b, "\nLesson: %s\n", md(r.Lesson))
		}
		b.WriteString("\n</details>\n")
	}
	for _, group := range notRunGroups(v.Claims) {
		fmt.Fprintf(&b, "\n<details open><summary><b>%s</b> %s</summary>\n\n%s\n", md(group.title()), claim.NotRun, md(group.reason))
		if len(group.ids) > 1 {
			fmt.Fprintf(&b, "\n%s\n", md(strings.Join(group.ids, ", ")))
		}
		b.WriteString("\n</details>\n")
	}
	for _, r := range v.Claims {
		if r.Table == nil || len(r.Table.Header) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n<details><summary><b>%s</b> %s</summary>\n\n", md(string(r.ID)), md(r.Table.Title))
		mdRow(&b, r.Table.Header, len(r.Table.Header))
		b.WriteString(strings.Repeat("|---", len(r.Table.Header)) + "|\n")
		for _, row := range r.Table.Rows {
			mdRow(&b, row, len(r.Table.Header))
		}
		b.WriteString("\n</details>\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func openAttribute(yes bool) string {
	if yes {
		return " open"
	}
	return ""
}

func mark(good, bad bool) string {
	switch {
	case good:
		return "✅"
	case bad:
		return "❌"
	}
	return "⚠️"
}

func mdRow(b *strings.Builder, row []string, cols int) {
	for i := range cols {
		cell := ""
		if i < len(row) {
			cell = md(row[i])
		}
		b.WriteString("| " + cell + " ")
	}
	b.WriteString("|\n")
}

var mdEscapes = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "|", `\|`, "#", `\#`, "~", `\~`,
	"<", "&lt;", ">", "&gt;", "&", "&amp;", "@", "@\u200b", "://", ":\u200b//",
)

// md makes a value plain text in Markdown, also in a table's cell. What a log
// line says must neither mention a person nor become a link or an image.
func md(s string) string { return mdEscapes.Replace(clean(s)) }

// code makes a value safe between backticks.
func code(s string) string { return strings.NewReplacer("`", "'", "|", `\|`).Replace(clean(s)) }
