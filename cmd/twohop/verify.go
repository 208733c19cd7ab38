package main

import (
	"encoding/json"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"twohop/internal/verdict"
)

func newVerifyRunCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify-run RUN",
		Short: "Check a run that somebody else made, without a cluster",
		Long: `Verify-run checks that a run's verdict follows from its evidence. verdict.json
must match its schema and the findings. Every evidence file must have the hash
that the verdict gives and parse as its kind; none may be missing or left over.
Every verdict, reason, count, result and exit code is judged again from the
facts, and the values seen must occur in the evidence.

It cannot tell whether the evidence is genuine. If somebody rewrites the
evidence, the hashes, the facts and the verdict so that they agree, only a
signature by whoever made the run would show it. The rendered files (report.html,
result.txt and so on) are not checked: "twohop report" writes them again.

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
			v, err := verdict.Verify(filepath.Dir(path), buildCommit())
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

// buildCommit is the commit that this program was built from, empty if unknown.
func buildCommit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
