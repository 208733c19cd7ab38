// Command twohop runs the verification and works with its verdicts: it renders
// a run again, compares two runs and checks a run that somebody else made.
// internal/verdict renders and judges; this package knows only flags, terminals
// and exit codes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes that are the command line's own. A run's are its outcome's.
const (
	exitOK          = 0
	exitDifferent   = 1 // a verdict differs, two runs differ, a run does not verify
	exitUsage       = 2
	exitEnvironment = 3
)

func main() {
	os.Exit(execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// exitError ends the command with its own exit code. Without an err nothing is
// printed: the command has said it all.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageError is for a command line that the caller has to change; it says how.
func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// execute runs one command line and returns its exit code. An error without a
// code is a usage error while the line is parsed, and the environment's later.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.err == nil {
			return exit.code
		}
	} else {
		exit = &exitError{exitEnvironment, err}
		if !started {
			exit.code = exitUsage
		}
	}
	hint := ""
	if plain := (*exitError)(nil); exit.code == exitUsage && !errors.As(err, &plain) {
		hint = fmt.Sprintf("; \"%s --help\" shows how", cmd.CommandPath()) // cobra's own words say only what is wrong
	}
	fmt.Fprintf(stderr, "twohop: %s%s\n", strings.Join(strings.Fields(err.Error()), " "), hint)
	return exit.code
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "twohop",
		Short: "Verify double mTLS egress on Istio, on a live cluster",
		Long: `Twohop verifies double mTLS egress on a live Istio cluster: sidecar to egress
gateway over ISTIO_MUTUAL, gateway to partner over MUTUAL with credentialName.
Every run writes a folder with its verdict and the evidence behind it.

RUN is a run's folder, its verdict.json, the id of a run under --out, or "latest".

Exit codes: 0 as expected, 1 different, 2 usage, 3 the environment failed,
4 inconclusive, 130 interrupted.`,
		Example: `  twohop run --claims G1,G2
  twohop report latest
  twohop diff out/20261122T020000Z-1f2e3d latest
  twohop verify-run latest`,
		Args:                  knownCommand,
		RunE:                  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		DisableFlagsInUseLine: true,
		SilenceErrors:         true,
		SilenceUsage:          true,
	}
	root.PersistentFlags().String("out", "out", "the folder that holds the runs")
	root.AddCommand(
		newReportCmd(),
		newDiffCmd(),
		newVerifyRunCmd(),
		newSchemaCmd(),
		newClaimsCmd(),
		newRunsCmd(),
		newAuditCmd(),
		newChannelsCmd(),
		newRehearseCmd(),
	)
	addLiveCommands(root)
	return root
}
