package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"twohop/internal/attest"
	"twohop/internal/replay"
	"twohop/internal/verdict"
)

func newVerifyRunCmd() *cobra.Command {
	var keyFile string
	cmd := &cobra.Command{
		Use:   "verify-run RUN",
		Short: "Check a run that somebody else made, without a cluster",
		Long: `Verify-run makes the run's checks again, over the observations that the run has
kept, and holds the verdict against what comes out: every fact, cause, table and
reason, the versions and the totals are worked out anew from the bytes. The logs
are read whole. What no one can work out again is marked in the schema: x-measured,
such as how long a claim took, and x-stated, the harness's own word, such as notes.

It needs the rules that the run was judged by, which are part of the program. With
other rules it says how to build the right program, and fails.

Every file of the folder has to be the one that statement.json lists, an in-toto
Statement that the run wrote last. With --key the statement has to be signed by that
key (statement.dsse.json); without it, somebody who rewrote observations, hashes and
verdict so that they agree is not ruled out.

Exit codes: 0 verified, 1 not verified, 2 usage.`,
		Example: `  twohop verify-run latest
  twohop verify-run ./downloaded-run --key nightly.pub.pem
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
			key, err := readKey(keyFile, attest.ParsePublicKey)
			if err != nil {
				return usageError("--key %s: %v", keyFile, err)
			}
			v, err := verifyRun(cmd.Context(), filepath.Dir(path), key)
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
	cmd.Flags().StringVar(&keyFile, "key", "", "demand that the run is signed by this public key, a PEM file (ed25519 or ECDSA)")
	return cmd
}

// verifyRun makes a run's checks again and holds its files against its statement.
func verifyRun(ctx context.Context, dir string, key *attest.Key) (*verdict.Verification, error) {
	v, err := replay.Verify(dir)
	if err != nil {
		return nil, err
	}
	run, err := verdict.OpenRun(dir)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	attest.Check(ctx, run, key, v)
	return v, nil
}

// readKey reads a key from a file; there is none where no file is named.
func readKey(file string, parse func([]byte) (*attest.Key, error)) (*attest.Key, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parse(pem)
}
