package main

import (
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
	var table, only, also string
	var readKeep func()
	cmd := &cobra.Command{
		Use:   "mutants",
		Short: "Plant faults, and show that the right claims turn",
		Long: `Mutants plants one fault after the other in what the claims rest on (fixtures, the
partner, certificates, RBAC, mesh policy, the collectors' input, the claims' own
changes) and judges the claims then. A claim that has to turn and does not is a
defect of the claim. Harmless changes are planted too: under them nothing may turn.

Exit codes: 0 no survivor, 1 a survivor, 2 usage, 3 the environment failed,
130 interrupted.`,
		Example: `  KEEP=1 twohop mutants --table docs/mutants.md
  KEEP=1 twohop mutants --only "hop 1's keepalive" --claims hop1,pool`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := l.check(); err != nil {
				return err
			}
			selection, err := claim.Select(also)
			if err != nil {
				return usageError("%v", err)
			}
			if table != "" && only != "" {
				return usageError("--table is for all mutants: leave --only out")
			}
			readKeep()
			l.mutants = &runconfig.Mutants{Only: only}
			for _, c := range selection {
				l.mutants.Also = append(l.mutants.Also, c.ID)
			}
			out, err := cmd.Flags().GetString("out")
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			r := &runner{live: &l, selection: selection, claims: "mutants", p: newPrinter(cmd.OutOrStdout())}
			r.folder, err = verdict.Create(filepath.Join(out, "mutants"), verdict.Run{Selection: "mutants", HarnessCommit: sourceCommit()}, selection)
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
	cmd.Flags().IntVar(&l.lab, "lab", 1, "number of the lab; 2 or more is a guest in the cluster that is up")
	cmd.Flags().StringVar(&only, "only", "", "plant only what has this in its name")
	cmd.Flags().StringVar(&also, "claims", "G1,G2,G3,G4", "claims that are judged besides those that have to turn")
	cmd.Flags().StringVar(&table, "table", "", "write the table as Markdown to this file")
	return cmd
}

// fates reads what became of the mutants, and judges it.
func (r *runner) fates(table string) error {
	raw, err := os.ReadFile(filepath.Join(r.folder.Dir, runconfig.MutantsFile))
	if err != nil {
		return &exitError{exitEnvironment, fmt.Errorf("no mutant was planted; the specs' log is in %s: %w", r.folder.Dir, err)}
	}
	var fates []mutant.Fate
	if err := json.Unmarshal(raw, &fates); err != nil {
		return &exitError{exitEnvironment, err}
	}
	v, err := r.folder.Verdict()
	if err != nil {
		return &exitError{exitEnvironment, err}
	}
	if table != "" {
		f, err := os.Create(table)
		if err != nil {
			return &exitError{exitEnvironment, err}
		}
		defer f.Close()
		run := fmt.Sprintf("%s, Istio %s, Envoy %s, Kubernetes %s, harness %s", v.Run.Start.Format("2006-01-02"), v.Run.Istio, v.Run.Envoy, v.Run.Kubernetes, v.Run.HarnessCommit)
		if err := mutant.WriteMarkdown(f, fates, run); err != nil {
			return &exitError{exitEnvironment, err}
		}
	}
	survivors := mutant.Survivors(fates)
	r.p.printf("%d changes planted, %d survivors", len(fates), len(survivors))
	for _, s := range survivors {
		r.p.println("  " + s)
	}
	if len(survivors) > 0 {
		return &exitError{code: exitDifferent}
	}
	return nil
}
