package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"twohop/internal/claim"
	"twohop/internal/mutant"
	"twohop/internal/runconfig"
	"twohop/internal/verdict"
)

func newMutantsCmd() *cobra.Command {
	var l live
	var table, only, also, labs string
	var readKeep func()
	cmd := &cobra.Command{
		Use:   "mutants",
		Short: "Plant faults and check that the right claims turn",
		Long: `Mutants plants faults, one at a time, in what the claims rest on (fixtures, the
partner, certificates, RBAC, mesh policy, the collectors' input, the claims' own
changes) and judges the claims again. A fault under which a claim should turn and
does not is a survivor: the claim has a defect. Harmless changes are planted too;
under them no claim may turn.

Exit codes: 0 no survivor, 1 a survivor, 2 usage, 3 the environment failed,
130 interrupted.`,
		Example: `  KEEP=1 twohop mutants --table docs/mutants.md
  KEEP=1 twohop mutants --only "hop 1's keepalive" --claims hop1,pool`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmp.Or(l.check(), l.checkVersions()); err != nil {
				return err
			}
			if err := l.chooseLabs(labs, len(claim.All())); err != nil {
				return err
			}
			readKeep()
			selection := claim.All()
			l.mutants = &runconfig.Mutants{Only: only}
			if cmd.Flags().Changed("claims") {
				var err error
				if selection, err = selectClaims(cmd, also); err != nil {
					return err
				}
				for _, c := range selection {
					l.mutants.Also = append(l.mutants.Also, c.ID)
				}
			}
			if table != "" && (only != "" || len(l.mutants.Also) > 0) {
				return usageError("--table is for all mutants: leave out --only and --claims, or --table")
			}
			out, err := cmd.Flags().GetString("out")
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			r := &runner{live: &l, selection: selection, claims: "mutants", p: newPrinter(cmd.OutOrStdout())}
			r.folder, err = verdict.Create(filepath.Join(out, "mutants"), verdict.Run{Header: verdict.Header{Selection: "mutants", HarnessCommit: sourceCommit()}}, selection)
			if err != nil {
				return &exitError{exitEnvironment, err}
			}
			if err := r.prove(ctx); err != nil || ctx.Err() != nil {
				return plainError(ctx, err)
			}
			return r.fates(table)
		},
	}
	l.flags(cmd)
	readKeep = l.keepFlag(cmd)
	cmd.Flags().IntVar(&l.lab, "lab", 1, "number of the lab; from 2 on, the run is a guest in a cluster that is up")
	labsFlag(cmd, &labs)
	cmd.Flags().StringVar(&only, "only", "", "plant only the mutants whose name contains this")
	cmd.Flags().StringVar(&also, "claims", "", "judge only these of the claims that must turn")
	completeClaimsFlag(cmd)
	cmd.Flags().StringVar(&table, "table", "", "write the table of results to this Markdown file")
	return cmd
}

// fates reads what became of the mutants, and judges it.
func (r *runner) fates(table string) error {
	raw, err := os.ReadFile(filepath.Join(r.folder.Dir, runconfig.MutantsFile))
	if err != nil {
		return &exitError{exitEnvironment, fmt.Errorf("no mutant was planted (%w): read ginkgo.log in %s", err, r.folder.Dir)}
	}
	var report mutant.Report
	if err := json.Unmarshal(raw, &report); err != nil {
		return &exitError{exitEnvironment, err}
	}
	survivors := report.Survivors()
	r.p.printf("%d judgements planned, %d made, %d survivors", report.Planned, len(report.Fates), len(survivors))
	for _, f := range survivors {
		r.p.println(fmt.Sprintf("  %s, %s: %s", f.Mutant, f.Claim, f.Words()))
	}
	if err := report.Whole(); err != nil {
		return &exitError{exitEnvironment, fmt.Errorf("the mutation run did not come to its end: %w; see ginkgo.log in %s", err, r.folder.Dir)}
	}
	if len(survivors) > 0 {
		return &exitError{code: exitDifferent}
	}
	if table == "" {
		return nil
	}
	// Last, so that no table speaks of less than a whole run.
	v, err := r.folder.Verdict()
	if err != nil {
		return &exitError{exitEnvironment, err}
	}
	var b bytes.Buffer
	run := fmt.Sprintf("%s, Istio %s, Envoy %s, Kubernetes %s, harness %s", v.Run.Start.Format("2006-01-02"), v.Run.Istio, v.Run.Envoy, v.Run.Kubernetes, v.Run.HarnessCommit)
	if err := mutant.WriteMarkdown(&b, report, run); err != nil {
		return &exitError{exitEnvironment, err}
	}
	if err := os.WriteFile(table, b.Bytes(), 0o644); err != nil {
		return &exitError{exitEnvironment, err}
	}
	return nil
}
