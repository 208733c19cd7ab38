package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"twohop/internal/claim"
)

func newClaimsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "claims [CLAIM | CHAPTER | all]...",
		Short: "List the claims and the verdicts expected of them",
		Long: `Claims lists the registry: each statement that a run can judge, its place in the
guide, the expected verdict and, where the statement needs more words, the
lesson. It judges nothing. "make docs" uses it to write docs/claims.md.`,
		Example: `  twohop claims
  twohop claims hop1 G3
  twohop claims --istio 1.30.0 -o json | jq -r '.[] | select(.expected == "refuted") | .id'
  twohop claims -o markdown > docs/claims.md
  twohop claims render G4`,
		ValidArgsFunction: completeClaims,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := formatOf(cmd)
			if err != nil {
				return err
			}
			istio, err := cmd.Flags().GetString("istio")
			if err != nil {
				return err
			}
			if len(args) == 0 {
				args = []string{"all"}
			}
			selection, err := claim.Select(strings.Join(args, ","))
			if err != nil {
				return usageError("%v", err)
			}
			w := cmd.OutOrStdout()
			switch format {
			case formatJSON:
				return claimsJSON(w, selection, istio)
			case formatMarkdown:
				if istio != "" {
					return usageError("--istio is for text and json: leave it out, since the Markdown names every Istio line that differs")
				}
				return claimsMarkdown(w, selection)
			}
			return claimsText(w, selection, istio)
		},
	}
	addFormat(cmd)
	cmd.Flags().String("istio", "", "show the verdicts expected on this Istio version, such as 1.30.0 (default: the pinned line)")
	cmd.AddCommand(newRenderCmd())
	return cmd
}

func completeClaims(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return claim.Names(), cobra.ShellCompDirectiveNoFileComp
}

// claimJSON is a claim for programs. ExpectedOn has the Istio lines that are
// expected to differ.
type claimJSON struct {
	ID         claim.ID                 `json:"id"`
	Chapter    claim.Chapter            `json:"chapter"`
	Section    string                   `json:"section,omitempty"`
	Statement  string                   `json:"statement"`
	Expected   claim.Verdict            `json:"expected"`
	ExpectedOn map[string]claim.Verdict `json:"expectedOn,omitempty"`
	Lesson     string                   `json:"lesson,omitempty"`
	Takes      float64                  `json:"takesSeconds,omitempty"`
}

func claimsJSON(w io.Writer, claims []claim.Claim, istio string) error {
	list := make([]claimJSON, len(claims))
	for i, c := range claims {
		list[i] = claimJSON{c.ID, c.Chapter, c.Section, c.Statement, c.Expect(istio), c.ExpectedOn, c.Lesson, c.Takes.Seconds()}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(list)
}

func claimsText(w io.Writer, claims []claim.Claim, istio string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CLAIM\tCHAPTER\tEXPECTED\tGUIDE\tSTATEMENT")
	for _, c := range claims {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", c.ID, c.Chapter, c.Expect(istio), c.Section, c.Statement)
	}
	return table.Flush()
}

// claimsMarkdown writes docs/claims.md.
func claimsMarkdown(w io.Writer, claims []claim.Claim) error {
	var b strings.Builder
	b.WriteString(`<!-- Generated from internal/claim by ` + "`make docs`" + `: edit it there. -->

# The claims

These are the statements that Twohop judges on a live cluster. "Expected" is the
verdict measured on the Istio lines of versions/ (docs/versions.md), unless one line is
named; a run is green when every verdict is the expected one. A refuted claim
sounds right, but the cluster contradicts it: its lesson says what is true instead.

`)
	groups := map[claim.Chapter][]claim.Claim{}
	for _, c := range claims {
		groups[c.Chapter] = append(groups[c.Chapter], c)
	}
	b.WriteString("| Chapter | Claims | Supported | Refuted |\n|---|--:|--:|--:|\n")
	row := func(title string, list []claim.Claim) {
		n := map[claim.Verdict]int{}
		for _, c := range list {
			n[c.Expected]++
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", title, len(list), n[claim.Supported], n[claim.Refuted])
	}
	for _, chapter := range claim.Chapters() {
		if list := groups[chapter]; len(list) > 0 {
			row(link(chapter.Title()), list)
		}
	}
	row("All", claims)

	b.WriteString("\n## Contents\n")
	for _, chapter := range claim.Chapters() {
		list := groups[chapter]
		if len(list) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n- %s\n", link(chapter.Title()))
		for _, c := range list {
			fmt.Fprintf(&b, "  - %s: %s *%s*\n", link(string(c.ID)), markdown(c.Statement), expected(c))
		}
	}
	for _, chapter := range claim.Chapters() {
		list := groups[chapter]
		if len(list) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n", markdown(chapter.Title()))
		for _, c := range list {
			fmt.Fprintf(&b, "\n### %s\n\n%s\n\n", markdown(string(c.ID)), markdown(c.Statement))
			guide := "not in the guide"
			if c.Section != "" {
				guide = "guide, " + markdown(c.Section)
			}
			fmt.Fprintf(&b, "- Where: %s\n- Expected: %s\n", guide, expected(c))
			if c.Lesson != "" {
				fmt.Fprintf(&b, "- Lesson: %s\n", markdown(c.Lesson))
			}
			fmt.Fprintf(&b, "- Proven by: `Claim(\"%[1]s\", …)` in [suites](../suites), `make e2e CLAIMS=%[1]s`", c.ID)
			if c.Takes > 0 {
				fmt.Fprintf(&b, " (about %v)", c.Takes)
			}
			b.WriteString("\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// expected names the expected verdict, and the Istio lines that differ.
func expected(c claim.Claim) string {
	text := string(c.Expected)
	for _, line := range slices.Sorted(maps.Keys(c.ExpectedOn)) {
		text += fmt.Sprintf("; on Istio %s: %s", line, c.ExpectedOn[line])
	}
	return text
}

// link points at the heading of the same words.
func link(heading string) string {
	return fmt.Sprintf("[%s](#%s)", markdown(heading), anchor(heading))
}

// anchor is the fragment that GitHub gives a heading.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 0x7f:
			return r
		}
		return -1
	}, strings.ToLower(heading))
}

// markdown writes text so that Markdown shows it as it is.
func markdown(s string) string {
	return markdownEscapes.Replace(strings.Join(strings.Fields(s), " "))
}

var markdownEscapes = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "<", `&lt;`, ">", `&gt;`, "[", `\[`, "]", `\]`, "|", `\|`)
