package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"twohop/internal/claim"
)

// claimsFlag adds --claims. CLAIMS is its default, also if it is set but empty:
// selectClaims refuses that, where "goals" would be a guess.
func claimsFlag(cmd *cobra.Command, into *string, usage string) {
	byDefault := string(claim.Goals)
	if v, set := os.LookupEnv("CLAIMS"); set {
		byDefault = v
	}
	cmd.Flags().StringVar(into, "claims", byDefault, usage)
	completeClaimsFlag(cmd)
}

func completeClaimsFlag(cmd *cobra.Command) {
	if err := cmd.RegisterFlagCompletionFunc("claims", completeClaims); err != nil {
		panic(err) // the caller has just added the flag
	}
}

// selectClaims chooses the claims that --claims or CLAIMS lists.
func selectClaims(cmd *cobra.Command, list string) ([]claim.Claim, error) {
	flag := cmd.Flags().Lookup("claims")
	source := "--claims"
	if value, set := os.LookupEnv("CLAIMS"); set && !flag.Changed && value == list {
		source = "CLAIMS"
	}
	if strings.TrimSpace(list) == "" {
		return nil, usageError("%s is empty: write %[1]s=goals, %[1]s=all, a chapter or ids such as %[1]s=G1,H2-rotation, or leave it out", source)
	}
	selection, err := claim.Select(list)
	if err != nil {
		return nil, usageError("%s: %v", source, err)
	}
	return selection, nil
}

// noArgs refuses arguments. Claims are what people pass most: where the command
// has --claims, the error says so.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.Flags().Lookup("claims") != nil {
		return usageError("%s takes no arguments: to choose claims, write --claims %s", cmd.Name(), strings.Join(args, ","))
	}
	return usageError("%s takes no arguments: leave out %q", cmd.Name(), strings.Join(args, " "))
}

// runArgs wants the RUN arguments that the command's usage line names.
func runArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		wanted := "one run"
		if n == 2 {
			wanted = "two runs"
		}
		return usageError("%s takes %s, not %d: write %s", cmd.Name(), wanted, len(args),
			strings.TrimSuffix(cmd.UseLine(), " [flags]"))
	}
}

// knownCommand refuses what is no command, and offers the nearest ones.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usageError("unknown command %q: did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return usageError("unknown command %q: \"%s --help\" lists the commands", args[0], cmd.CommandPath())
}
