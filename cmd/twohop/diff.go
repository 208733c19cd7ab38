package main

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"twohop"
	"twohop/internal/upgrade"
	"twohop/internal/verdict"
	"twohop/versions"
)

func newDiffCmd() *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show what changed from run A to run B",
		Long: `Diff compares two runs, of the same or of different versions: which verdicts
changed, which claims were added or removed, which values changed, and how the
times compare. It shows what moving from one Istio version to another means for you.

Values that differ between any two runs, such as addresses, hashes, serials and
pod names, do not count as changed. Versions and times are shown, but do not make
runs different.

With --from and --to it compares two Istio lines instead, by the recordings that come
with Twohop: the verdicts, the values, and every difference in both proxies'
configuration. A run of the whole catalogue can stand for a line.

Exit codes: 0 same, 1 different, 2 usage.`,
		Example: `  twohop diff --from 1.30 --to 1.31 -o markdown
  twohop diff out/istio-1.30 out/istio-1.31
  twohop diff 20261122T020000Z-1f2e3d latest -o markdown`,
		Args: func(cmd *cobra.Command, args []string) error {
			if from == "" && to == "" {
				return runArgs(2)(cmd, args)
			}
			if from == "" || to == "" || len(args) > 0 {
				return usageError("write two runs, or --from and --to")
			}
			return nil
		},
		ValidArgsFunction: completeRuns,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := formatOf(cmd)
			if err != nil {
				return err
			}
			if from != "" {
				return diffLines(cmd, format, from, to)
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
			err = writeAs(format, cmd.OutOrStdout(), &d)
			if err == nil && !d.Same {
				err = &exitError{code: exitDifferent}
			}
			return err
		},
	}
	addFormat(cmd)
	cmd.Flags().StringVar(&from, "from", "", "Istio line to come from, such as 1.30, or a run of every claim")
	cmd.Flags().StringVar(&to, "to", "", "Istio line to go to, or a run of every claim")
	return cmd
}

// writeAs writes a comparison in a format of -o.
func writeAs(format string, w io.Writer, what interface {
	WriteJSON(w io.Writer) error
	WriteMarkdown(w io.Writer) error
	WriteText(w io.Writer, opts verdict.TextOptions) error
}) error {
	switch format {
	case formatJSON:
		return what.WriteJSON(w)
	case formatMarkdown:
		return what.WriteMarkdown(w)
	}
	return what.WriteText(w, textOptions(w))
}

// diffLines compares two lines, or runs that stand for them.
func diffLines(cmd *cobra.Command, format, from, to string) error {
	a, err := recordingOf(cmd, from)
	if err != nil {
		return err
	}
	b, err := recordingOf(cmd, to)
	if err != nil {
		return err
	}
	answer := upgrade.Compare(a, b, twohop.Rules())
	err = writeAs(format, cmd.OutOrStdout(), answer)
	if err == nil && !answer.Same() {
		err = &exitError{code: exitDifferent}
	}
	return err
}

// recordingOf is a line's recording, or that of a run.
func recordingOf(cmd *cobra.Command, name string) (*upgrade.Recording, error) {
	if packed, err := versions.Recordings.ReadFile(name + ".json.gz"); err == nil {
		return upgrade.Unpack(packed)
	}
	path, err := runPath(cmd, name)
	if err != nil {
		lines, readErr := fs.Glob(versions.Recordings, "*.json.gz")
		var known []string
		for _, l := range lines {
			known = append(known, strings.TrimSuffix(l, ".json.gz"))
		}
		return nil, usageError("%s is neither a line that is recorded (%s) nor a run: %v", name, strings.Join(known, ", "), errors.Join(readErr, err))
	}
	files, err := verdict.OpenRun(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer files.Close()
	r, err := upgrade.Record(files)
	if err != nil {
		return nil, usageError("%v: a line is compared by a run of the whole catalogue", err)
	}
	return r, nil
}
