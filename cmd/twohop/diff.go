package main

import (
	"github.com/spf13/cobra"

	"twohop/internal/verdict"
)

func newDiffCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show what changed from run A to run B",
		Long: `Diff compares two runs, of the same or of different versions: which verdicts
changed, which claims were added or removed, which values changed, and how the
times compare. It shows what moving from one Istio version to another means for you.

Values that differ between any two runs, such as addresses, hashes, serials and
pod names, do not count as changed. Versions and times are shown, but do not make
runs different.

Exit codes: 0 same, 1 different, 2 usage.`,
		Example: `  twohop diff out/istio-1.30 out/istio-1.31
  twohop diff 20261122T020000Z-1f2e3d latest -o markdown`,
		Args:              runArgs(2),
		ValidArgsFunction: completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := formatOf(cmd)
			if err != nil {
				return err
			}
			a, _, err := readRun(cmd, args[0])
			if err != nil {
				return err
			}
			b, _, err := readRun(cmd, args[1])
			if err != nil {
				return err
			}
			d := verdict.Diff(a, b)
			w := cmd.OutOrStdout()
			switch format {
			case formatJSON:
				err = d.WriteJSON(w)
			case formatMarkdown:
				err = d.WriteMarkdown(w)
			default:
				err = d.WriteText(w, textOptions(w))
			}
			if err == nil && !d.Same {
				err = &exitError{code: exitDifferent}
			}
			return err
		},
	}
	addFormat(cmd)
	return cmd
}
