package main

import (
	"encoding/json"
	"path/filepath"

	"github.com/spf13/cobra"

	"twohop/internal/replay"
	"twohop/internal/verdict"
)

func newVerifyRunCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify-run RUN",
		Short: "Check a run that somebody else made, without a cluster",
		Long: `Verify-run makes the run's checks again, over the observations that the run has
kept, and holds the verdict against what comes out: every fact, cause, table and
reason, the versions and the totals are worked out anew from the bytes. The logs
are read whole. What no one can work out again, such as how long a claim took, is
marked "measured" in the schema.

It needs the rules that the run was judged by, which are part of the program. With
other rules it says how to build the right program, and fails.

It cannot tell whether the evidence is genuine. Somebody who rewrites observations,
hashes and verdict so that they agree is caught only by a signature (--key). The
rendered files (report.html, result.txt and so on) are not checked: "twohop report"
writes them again.

Exit codes: 0 verified, 1 not verified, 2 usage.`,
		Example: `  twohop verify-run latest
  twohop verify-run ./downloaded-run -o json | jq -r '.problems[]'`,
		Args:              runArgs(1),
		ValidArgsFunction: completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := formatOf(cmd)
			if err != nil {
				return err
			}
			path, err := runPath(cmd, args[0])
			if err != nil {
				return err
			}
			if filepath.Base(path) != verdict.VerdictFile {
				return usageError("verify-run needs a run's whole folder, and %s is one file: name its folder", path)
			}
			v, err := replay.Verify(filepath.Dir(path))
			if err != nil {
				return &exitError{exitUsage, err}
			}
			w := cmd.OutOrStdout()
			switch format {
			case formatJSON:
				enc := json.NewEncoder(w)
				enc.SetIndent("", "  ")
				enc.SetEscapeHTML(false)
				err = enc.Encode(v)
			case formatMarkdown:
				err = v.WriteMarkdown(w)
			default:
				err = v.WriteText(w, textOptions(w))
			}
			if err == nil && len(v.Problems) > 0 {
				err = &exitError{code: exitDifferent}
			}
			return err
		},
	}
	addFormat(cmd)
	return cmd
}
