package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"twohop/internal/claim"
	"twohop/internal/experiment"
	"twohop/suites"
)

func newRenderCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "render ID",
		Short: "Print the manifests of a claim's check and of its control",
		Long: `Render prints what a claim's experiment changes: first on the baseline (fixtures/,
or manifest.yaml in a run's folder) for the check, then on top of that for the
control. It needs no cluster. Changed objects are printed whole, as YAML
documents; deletions are comments.

Names at random and certificates are made for the occasion, and private keys are
left out, so a Secret is to be read and not to be applied. What a check changes
while it is under way, such as a certificate that it rotates, is not printed: a
run writes it into reproduce/ID.sh.`,
		Example: `  twohop claims render G4
  twohop claims render A-align-target | less`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("render takes one claim, not %d: write %s", len(args), cmd.UseLine())
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) (ids []string, _ cobra.ShellCompDirective) {
			if len(args) == 0 {
				for _, id := range suites.IDs() {
					ids = append(ids, string(id))
				}
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := claim.ByID(claim.ID(args[0]))
			if err != nil {
				return usageError("%v", err)
			}
			definition, err := suites.ByID(c.ID)
			if err != nil {
				return err
			}
			stages, err := definition.Render()
			if err != nil {
				return fmt.Errorf("render claim %s: %w", c.ID, err)
			}
			return render(cmd.OutOrStdout(), c, stages)
		},
	}
}

// render writes stages as one stream of YAML documents. What is no manifest is a
// comment.
func render(w io.Writer, c claim.Claim, stages []experiment.Stage) error {
	var b bytes.Buffer
	comment := func(format string, args ...any) {
		b.WriteString("# " + strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ") + "\n")
	}
	comment("Claim %s: %s", c.ID, c.Statement)
	for _, stage := range stages {
		b.WriteString("\n")
		comment("The %s", stage.Name)
		if len(stage.Changes) == 0 {
			comment("The baseline, unchanged.")
		}
		for _, change := range stage.Changes {
			comment("Change: %s", change.Words)
			if len(change.Applied) == 0 {
				comment("No object changes: the check sends or looks at something else.")
			}
			for _, a := range change.Applied {
				if len(a.YAML) == 0 {
					comment("%s", a.Command)
					continue
				}
				b.WriteString("---\n")
				b.Write(a.YAML)
			}
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}
