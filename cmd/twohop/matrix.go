package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"twohop/internal/claim"
	"twohop/internal/images"
	"twohop/internal/matrix"
	"twohop/internal/upgrade"
	"twohop/internal/verdict"
)

// matrixRunner judges the catalogue on one combination after the other.
type matrixRunner struct {
	live  live
	out   string
	table string // docs/versions.md
	// record is where recordings of the lines go.
	record string
	p      *printer
	rows   []matrix.Row
}

func newMatrixCmd() *cobra.Command {
	var m matrixRunner
	var lines, kubernetes, envoy []string
	cmd := &cobra.Command{
		Use:   "matrix",
		Short: "Judge the catalogue on several versions of Istio, Kubernetes and Envoy",
		Long: `Matrix judges every claim on each Istio line with its own Kubernetes and Envoy, and on
the default line with each further Kubernetes and each further Envoy (source lane). It
keeps each run in the folder matrix under --out, and writes matrix.html there. A combination
that has been judged at this commit is not judged again, so matrix can be interrupted;
one that does not come up is a row that says why. It brings up and removes a cluster of
its own.

Exit codes: 0 all as expected, 1 a verdict differs, 2 usage, 3 a combination did not
come up, 4 inconclusive, 130 interrupted.`,
		Example: `  twohop matrix
  twohop matrix --lines 1.30,1.31 --kubernetes v1.34.4 --envoy 1.40.0 --table docs/versions.md`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m.live.lane, m.live.keep, m.live.noKeep = images.Source, false, true
			if err := m.live.check(); err != nil {
				return err
			}
			root, err := repository()
			if err != nil {
				return err
			}
			combinations, err := images.Matrix(root, lines, kubernetes, envoy)
			if err != nil {
				return plainError(cmd.Context(), err)
			}
			out, err := cmd.Flags().GetString("out")
			if err != nil {
				return err
			}
			m.out = filepath.Join(out, "matrix")
			for flag, folder := range map[string]string{"table": filepath.Dir(m.table), "record": m.record} {
				if info, err := os.Stat(folder); folder != "" && (err != nil || !info.IsDir()) {
					return usageError("--%s: there is no folder %s", flag, folder)
				}
			}
			for _, c := range combinations {
				m.rows = append(m.rows, matrix.Row{Combination: matrix.Combination(c), Failure: "not run yet"})
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			m.p = newPrinter(cmd.OutOrStdout())
			return m.run(ctx)
		},
	}
	m.live.ground(cmd, "twohop-matrix")
	f := cmd.Flags()
	f.StringSliceVar(&lines, "lines", nil, "Istio lines; empty: all that versions/ has")
	f.StringSliceVar(&kubernetes, "kubernetes", nil, "further Kubernetes versions for the default line; empty: all that images/ has")
	f.StringSliceVar(&envoy, "envoy", nil, "further Envoy versions for the default line; empty: all of versions/envoy.txt")
	f.StringVar(&m.table, "table", "", "write the table into this file")
	f.StringVar(&m.record, "record", "", "write a recording of each line into this folder, for \"twohop diff --from\"")
	return cmd
}

func (m *matrixRunner) run(ctx context.Context) error {
	code := exitOK
	for i := range m.rows {
		r := &m.rows[i]
		if kept := m.kept(r.Combination); m.stands(kept) {
			m.p.printf("%s: judged already (%s)", r.Combination, kept.Run.ID)
			r.Verdict, r.Failure = kept, ""
		}
	}
	for i := range m.rows {
		r := &m.rows[i]
		if r.Verdict == nil {
			m.p.printf("%s …", r.Combination)
			m.judge(ctx, r)
			if err := m.writePage(); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return &exitError{exitInterrupted, errors.New("interrupted; run the same command again to go on")}
			}
		}
		code = worse(code, r)
	}
	for i := range m.rows {
		m.rows[i].Earlier = m.earlier(m.rows[i].Combination, m.rows[i].Verdict)
	}
	// The table and the recordings may be tracked files: not before the last run, whose
	// commit would be a dirty one.
	if err := errors.Join(m.writePage(), m.writeTable()); err != nil {
		return err
	}
	if err := m.recordLines(); err != nil {
		return err
	}
	for _, r := range m.rows {
		m.p.printf("%s: %s", r.Combination, r.Outcome())
	}
	if code != exitOK {
		return &exitError{code: code}
	}
	return nil
}

// worse is the exit code after another row: what did not come up counts most, then
// what differs.
func worse(code int, r *matrix.Row) int {
	is := exitEnvironment
	if r.Verdict != nil {
		is = r.Verdict.ExitCode
	}
	for _, c := range []int{exitEnvironment, exitDifferent, 4} {
		if is == c || code == c {
			return c
		}
	}
	return code
}

// folder is where a combination's runs are kept.
func (m *matrixRunner) folder(c matrix.Combination) string {
	return filepath.Join(m.out, fmt.Sprintf("istio-%s-kubernetes-%s-envoy-%s", c.Istio, c.Kubernetes, c.Envoy))
}

// kept is the verdict of the combination's last run, if that got to judge every claim.
func (m *matrixRunner) kept(c matrix.Combination) *verdict.Verdict {
	raw, err := os.ReadFile(filepath.Join(m.folder(c), "latest", verdict.VerdictFile))
	if err != nil {
		return nil
	}
	v, err := verdict.Decode(raw)
	if err != nil || len(v.Claims) != len(claim.All()) || v.Totals.NotRun > 0 || !(matrix.Row{Verdict: v}).Judged() {
		return nil
	}
	return v
}

// stands reports whether a verdict need not be made again: it is complete, and of this
// commit, whose pins and rules are the same.
func (m *matrixRunner) stands(v *verdict.Verdict) bool {
	commit := sourceCommit()
	return v != nil && v.Totals.Inconclusive == 0 && v.Run.Domain == m.live.domainOrDefault() &&
		commit != "" && !strings.HasSuffix(commit, "-dirty") && v.Run.HarnessCommit == commit
}

// earlier is what other runs of the combination at a verdict's commit came to, if that
// is not the same: a run that is made again must not hide it.
func (m *matrixRunner) earlier(c matrix.Combination, now *verdict.Verdict) (ends []string) {
	files, err := filepath.Glob(filepath.Join(m.folder(c), "2*", verdict.VerdictFile))
	if err != nil {
		return nil // the pattern is a good one
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			continue // it was removed meanwhile
		}
		v, err := verdict.Decode(raw)
		if err != nil || now == nil || v.Run.ID == now.Run.ID || v.Run.HarnessCommit != now.Run.HarnessCommit || v.Result == now.Result {
			continue
		}
		end := v.Result.Words()
		var ids []string
		for _, r := range v.Claims {
			if r.Verdict != r.Expected && r.Verdict != claim.NotRun {
				ids = append(ids, fmt.Sprintf("%s %s", r.ID, r.Verdict))
			}
		}
		if len(ids) > 0 {
			end += " (" + strings.Join(ids, ", ") + ")"
		}
		ends = append(ends, end)
	}
	return ends
}

// judge makes a run on a cluster of its own.
func (m *matrixRunner) judge(ctx context.Context, r *matrix.Row) {
	l := m.live
	l.istio, l.kubernetes, l.envoy = r.Istio, r.Kubernetes, r.Envoy
	err := l.chooseLabs(autoLabs, len(claim.All()))
	run := &runner{live: &l, selection: claim.All(), claims: "all", p: m.p}
	if err == nil {
		err = run.run(ctx, m.folder(r.Combination))
	}
	r.Failure = "the run did not come to an end"
	if run.folder != nil {
		v, readErr := run.folder.Verdict()
		if readErr == nil && v.Message != "" {
			r.Failure = v.Message
		}
		if last := m.kept(r.Combination); readErr == nil && last != nil && last.Run.ID == v.Run.ID {
			r.Verdict, r.Failure = last, ""
		}
		return
	}
	if err != nil {
		r.Failure = oneLine(err)
	}
}

// recordLines writes a recording of each line's own combination: the first one that
// has the line.
func (m *matrixRunner) recordLines() error {
	if m.record == "" {
		return nil
	}
	done := map[string]bool{}
	for _, r := range m.rows {
		if done[r.Istio] {
			continue
		}
		if done[r.Istio] = true; r.Verdict == nil {
			m.p.printf("no recording of Istio %s: %s", r.Istio, r.Outcome())
			continue
		}
		files, err := verdict.OpenRun(filepath.Join(m.folder(r.Combination), "latest"))
		if err != nil {
			return err
		}
		recording, err := upgrade.Record(files)
		_ = files.Close() // it was only read
		if err != nil {
			return err
		}
		packed, err := recording.Pack()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(m.record, r.Istio+".json.gz"), packed, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writePage writes matrix.html anew.
func (m *matrixRunner) writePage() error {
	var page bytes.Buffer
	if err := matrix.HTML(&page, m.rows); err != nil {
		return err
	}
	if err := os.MkdirAll(m.out, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(m.out, "matrix.html"), page.Bytes(), 0o644)
}

func (m *matrixRunner) writeTable() error {
	if m.table == "" {
		return nil
	}
	var table bytes.Buffer
	if err := matrix.Markdown(&table, m.rows, "Machine: "+machine()+"."); err != nil {
		return err
	}
	return os.WriteFile(m.table, table.Bytes(), 0o644)
}
