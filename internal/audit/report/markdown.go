package report

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"twohop/internal/audit"
)

// writeMarkdown writes the report for a ticket: a table of what to change, and then each
// change as it would be made.
func writeMarkdown(w io.Writer, r *audit.Report, _ Options) error {
	r, err := readable(r)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "## Twohop audit: %s\n\n%s.\n", md(headline(r)), md(strings.Join(audited(r), ", ")))
	if s := nothing(r); s != "" {
		fmt.Fprintf(&b, "\n%s\n", md(s))
	}
	failed := grouped(r, audit.Fail)
	mdTable(&b, failed)
	for i, g := range failed {
		fmt.Fprintf(&b, "\n### %d. %s: %s\n", i+1, g.Severity, md(stated(g.Finding)))
		mdGroup(&b, g)
	}
	mdChannels(&b, r)
	if unknown := grouped(r, audit.Unknown); len(unknown) > 0 {
		b.WriteString("\n### Not known\n\n")
		for _, g := range unknown {
			for _, v := range g.Variants {
				fmt.Fprintf(&b, "- **%s** (check %s) %s: %s. To learn it: %s\n",
					md(g.Title), md(g.ID), code(target(v.Finding)), md(v.Seen), md(learn(v.Finding)))
			}
		}
	}
	if excepted := grouped(r, audit.Excepted); len(excepted) > 0 {
		b.WriteString("\n### Excepted\n\n")
		for _, g := range excepted {
			for _, v := range g.Variants {
				fmt.Fprintf(&b, "- %s: %s (check %s) %s. %s\n", g.Severity, md(g.Title), md(g.ID), code(target(v.Finding)), md(source(v.Exception)))
			}
		}
	}
	if len(r.Run.Assumed) > 0 {
		b.WriteString("\n### Assumed\n\n")
		for _, a := range r.Run.Assumed {
			fmt.Fprintf(&b, "- %s\n", md(a))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", md(strings.Join(totals(r), " · ")))
	_, err = io.WriteString(w, b.String())
	return err
}

func mdTable(b *strings.Builder, failed []group) {
	if len(failed) == 0 {
		return
	}
	b.WriteString("\n| # | Severity | Where | Object and field | Seen | Wanted |\n|--:|---|---|---|---|---|\n")
	for i, g := range failed {
		for _, v := range g.Variants {
			fmt.Fprintf(b, "| %d | %s | %s | %s | %s | %s |\n",
				i+1, g.Severity, code(position(v.Finding)), code(target(v.Finding)), code(v.Seen), code(v.Wanted))
		}
	}
}

func mdGroup(b *strings.Builder, g group) {
	for _, v := range g.Variants {
		b.WriteString("\n")
		if at := strings.TrimPrefix(code(position(v.Finding))+" "+code(target(v.Finding)), " "); at != "" {
			fmt.Fprintf(b, "- Change: %s\n", at)
		}
		fmt.Fprintf(b, "- Seen: %s\n- Wanted: %s\n", code(v.Seen), code(v.Wanted))
		if len(v.Places) > 0 {
			fmt.Fprintf(b, "- At: %s\n", md(places(v, "; ")))
		}
		if !v.Repeats {
			mdPatch(b, v.Patch)
		}
	}
	if g.Exception != nil {
		fmt.Fprintf(b, "\nThe exception has expired: %s\n", md(source(g.Exception)))
	}
	fmt.Fprintf(b, "\n%s Check %s.\n", md(because(g.Finding)), md(g.ID))
}

var backticks = regexp.MustCompile("`+")

// mdPatch fences YAML with more backticks than it holds, so that it cannot end the fence.
func mdPatch(b *strings.Builder, patch string) {
	switch {
	case patch == "":
		return
	case !strings.Contains(patch, "\n"):
		fmt.Fprintf(b, "- How: %s\n", md(patch))
		return
	}
	fence := "```"
	for _, run := range backticks.FindAllString(patch, -1) {
		if len(run) >= len(fence) {
			fence = run + "`"
		}
	}
	fmt.Fprintf(b, "\n%syaml\n%s\n%s\n", fence, patch, fence)
}

func mdChannels(b *strings.Builder, r *audit.Report) {
	if len(r.Channels) == 0 {
		return
	}
	b.WriteString("\n### Channels\n\n| Host | Result | Hop | From | To | TLS | SNI | Certificate | Limit |\n|---|---|--:|---|---|---|---|---|---|\n")
	for _, c := range r.Channels {
		result := fmt.Sprintf("%s, %s", c.Result, layers(c))
		if len(c.Hops) == 0 {
			fmt.Fprintf(b, "| %s | %s | | | | no hop is known | | | |\n", md(c.Host), result)
		}
		for _, s := range stretches(c.Hops) {
			fmt.Fprintf(b, "| %s | %s | %d | %s | %s | %s | %s | %s | %s |\n", md(c.Host), result, s.Number,
				md(listed(s.Froms, 4)), md(s.To), md(s.TLS), md(s.ServerName), md(s.Certificate), md(s.Connections))
		}
	}
}

var mdEscapes = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "|", `\|`, "#", `\#`, "~", `\~`,
	"<", "&lt;", ">", "&gt;", "&", "&amp;", "@", "@\u200b", "://", ":\u200b//", "www.", "www\u200b.",
)

// md makes a value plain text in Markdown, also in a table's cell: it must neither
// mention a person nor become a link or an image.
func md(s string) string { return mdEscapes.Replace(flat(s)) }

// code shows a value in backticks, where only a backtick and a table's bar mean anything.
func code(s string) string {
	if s = flat(s); s == "" {
		return ""
	}
	return "`" + strings.NewReplacer("`", "'", "|", `\|`).Replace(s) + "`"
}
