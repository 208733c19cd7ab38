package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"twohop/internal/verdict"
)

func newReportCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report RUN",
		Short: "Render a run again and print it",
		Long: `Report writes result.txt, report.html, summary.md, junit.xml and metrics.txt again
from a run's verdict.json and evidence, and prints the verdict. It does not judge
again; verify-run does. The exit code is 0 whatever the verdict is.`,
		Example: `  twohop report latest
  twohop report out/20261123T163000Z-5a17e0 -o json | jq .totals
  twohop report latest --print-only -o markdown >> "$GITHUB_STEP_SUMMARY"`,
		Args:              runArgs(1),
		ValidArgsFunction: completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := formatOf(cmd)
			if err != nil {
				return err
			}
			v, dir, err := readRun(cmd, args[0])
			if err != nil {
				return err
			}
			printOnly, err := cmd.Flags().GetBool("print-only")
			if err != nil {
				return err
			}
			if !printOnly {
				if err := verdict.Render(dir, v); err != nil {
					return &exitError{exitEnvironment, err}
				}
			}
			w := cmd.OutOrStdout()
			switch format {
			case formatJSON:
				enc := json.NewEncoder(w)
				enc.SetIndent("", "  ")
				enc.SetEscapeHTML(false)
				return enc.Encode(v)
			case formatMarkdown:
				return verdict.WriteMarkdown(w, v)
			}
			opts := textOptions(w)
			opts.Dir = dir
			return verdict.WriteText(w, v, opts)
		},
	}
	addFormat(cmd)
	cmd.Flags().Bool("print-only", false, "print the verdict and write no files")
	return cmd
}
