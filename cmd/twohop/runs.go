package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"twohop/internal/verdict"
)

func newRunsCmd() *cobra.Command {
	var like string
	var results []string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "List the runs under --out, newest first",
		Long: `Runs lists the runs under --out, newest first.

With --like RUN, it lists only the runs to compare RUN with: earlier ones of the
same claims, on the same lane with the same versions of Istio and Kubernetes, and
with a verdict on every claim.`,
		Example: `  twohop runs
  twohop runs --result as-expected -q
  twohop diff "$(twohop runs --like latest -q | head -n 1)" latest`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := formatOf(cmd)
			if err != nil {
				return err
			}
			for _, r := range results {
				if !slices.Contains(outcomes, verdict.Outcome(r)) {
					return usageError("--result %q is not how a run ends: write one of %s", r, joined(outcomes))
				}
			}
			runs, err := listRuns(cmd)
			if err != nil {
				return err
			}
			if len(results) > 0 {
				runs = slices.DeleteFunc(runs, func(r runLine) bool { return !slices.Contains(results, string(r.Result)) })
			}
			if like != "" {
				v, _, err := readRun(cmd, like)
				if err != nil {
					return err
				}
				runs = slices.DeleteFunc(runs, func(r runLine) bool { return !r.comparable(v) })
			}
			return writeRuns(cmd.OutOrStdout(), runs, format, quiet)
		},
	}
	addFormat(cmd)
	cmd.Flags().StringVar(&like, "like", "", "list only the runs to compare this one with")
	cmd.Flags().StringSliceVar(&results, "result", nil, "list only runs that ended this way: "+joined(outcomes))
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print ids only")
	for flag, complete := range map[string]cobra.CompletionFunc{
		"like": completeRuns, "result": cobra.FixedCompletions(strings.Split(joined(outcomes), ", "), cobra.ShellCompDirectiveNoFileComp),
	} {
		if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic(err) // the flags were added above
		}
	}
	return cmd
}

var outcomes = []verdict.Outcome{verdict.Green, verdict.Different, verdict.Inconclusive, verdict.Failed, verdict.Interrupted, verdict.Running}

func joined(all []verdict.Outcome) string {
	words := make([]string, len(all))
	for i, o := range all {
		words[i] = string(o)
	}
	return strings.Join(words, ", ")
}

// runLine is a run in the list. Unreadable says why there is nothing else to
// say of it.
type runLine struct {
	ID         string          `json:"id"`
	Start      time.Time       `json:"start,omitzero"`
	Lane       string          `json:"lane,omitempty"`
	Istio      string          `json:"istio,omitempty"`
	Kubernetes string          `json:"kubernetes,omitempty"`
	Selection  string          `json:"selection,omitempty"`
	Claims     int             `json:"claims"`
	Result     verdict.Outcome `json:"result,omitempty"`
	Unreadable string          `json:"unreadable,omitempty"`
}

// listRuns reads every folder under --out that holds a verdict.
func listRuns(cmd *cobra.Command) ([]runLine, error) {
	out, err := cmd.Flags().GetString("out")
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(out, "*", verdict.VerdictFile))
	if err != nil {
		return nil, usageError("--out %q is not a folder's name (%v): write one without *, ? and [", out, err)
	}
	var runs []runLine
	for _, file := range files {
		id := filepath.Base(filepath.Dir(file))
		if id == "latest" { // a link to one of the others
			continue
		}
		v, err := verdict.ReadVerdict(file)
		if err != nil {
			runs = append(runs, runLine{ID: id, Unreadable: oneLine(err)})
			continue
		}
		runs = append(runs, runLine{
			ID: id, Start: v.Run.Start, Lane: v.Run.Lane, Istio: v.Run.Istio, Kubernetes: v.Run.Kubernetes,
			Selection: v.Run.Selection, Claims: len(v.Claims), Result: v.Result,
		})
	}
	slices.SortFunc(runs, func(a, b runLine) int {
		if !a.Start.IsZero() && !b.Start.IsZero() && !a.Start.Equal(b.Start) {
			return b.Start.Compare(a.Start)
		}
		return strings.Compare(b.ID, a.ID) // ids begin with the second of the start
	})
	return runs, nil
}

// comparable reports whether the run is an earlier one of the same kind that
// says something about every claim.
func (r runLine) comparable(v *verdict.Verdict) bool {
	judged := r.Result == verdict.Green || r.Result == verdict.Different
	return judged && r.Start.Before(v.Run.Start) && r.Lane == v.Run.Lane && r.Istio == v.Run.Istio &&
		r.Kubernetes == v.Run.Kubernetes && r.Selection == v.Run.Selection
}

func writeRuns(w io.Writer, runs []runLine, format string, quiet bool) error {
	if quiet {
		for _, r := range runs {
			fmt.Fprintln(w, r.ID)
		}
		return nil
	}
	header := []string{"RUN", "START", "LANE", "ISTIO", "KUBERNETES", "CLAIMS", "RESULT"}
	rows := make([][]string, len(runs))
	for i, r := range runs {
		rows[i] = []string{r.ID, r.Start.Format(time.DateTime), r.Lane, r.Istio, r.Kubernetes, fmt.Sprintf("%s (%d)", r.Selection, r.Claims), string(r.Result)}
		if r.Unreadable != "" {
			rows[i] = []string{r.ID, "", "", "", "", "", "unreadable: " + r.Unreadable}
		}
	}
	switch format {
	case formatJSON:
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if runs == nil {
			runs = []runLine{}
		}
		return enc.Encode(runs)
	case formatMarkdown:
		fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(header, " | "), strings.Repeat("---|", len(header)))
		for _, row := range rows {
			for i := range row {
				row[i] = markdown(row[i])
			}
			if _, err := fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | ")); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.Join(header, "\t"))
	for _, row := range rows {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}
