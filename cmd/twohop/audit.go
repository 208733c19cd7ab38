package main

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"twohop/internal/audit"
	"twohop/internal/audit/offline"
	"twohop/internal/audit/report"
	"twohop/internal/computed"
	"twohop/internal/state"
)

// Exit codes of an audit.
const (
	exitFindings = 1
	exitUnknowns = 4 // --strict, and something could not be learnt
)

type auditFlags struct {
	paths, env                  []string
	namespace, domain, line     string
	format, failOn, exceptions  string
	strict                      bool
	hosts                       []string
	writeBaseline, baselineFile string
}

func newAuditCmd() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit -f PATH",
		Short: "Audit your own egress, from YAML and without a cluster",
		Long: `Audit finds each external host that is meant to leave through an egress gateway, and
judges both hops: what the sidecar and the gateway would be configured with, and which
line of which object to change. istiod's own code computes the configuration; nothing
is applied, and no cluster is asked.

PATH is a file, a folder, or "-" for standard input:

  kustomize build . | twohop audit -f -
  helm template my-egress ./chart | twohop audit -f -

What YAML cannot say, such as whether a Secret exists, is unknown, never passed.

Exit codes: 0 no finding at or above --fail-on, 1 findings, 2 usage, 3 it could not be
done, 4 with --strict: nothing failed, but something is unknown.`,
		Example: `  twohop audit -f manifests/
  twohop audit -f manifests/ --istio 1.30 -o sarif > audit.sarif`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAudit(cmd, &f) },
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&f.format, "output", "o", "text", "format: "+strings.Join(report.Formats(), ", "))
	cmd.Flags().StringVar(&f.failOn, "fail-on", string(audit.High), "the least severity that fails: critical, high, medium or low")
	cmd.Flags().BoolVar(&f.strict, "strict", false, "exit with 4 if something is unknown")
	cmd.Flags().StringVar(&f.exceptions, "exceptions", "", "a file of findings that somebody answers for")
	cmd.Flags().StringVar(&f.writeBaseline, "write-baseline", "", "write exceptions for all that is found to a file")
	cmd.Flags().StringSliceVar(&f.hosts, "host", nil, "audit these hosts only")
	return cmd
}

func (f *auditFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringSliceVarP(&f.paths, "filename", "f", nil, "a file or folder of YAML, or - for standard input")
	cmd.Flags().StringSliceVar(&f.env, "env", nil, "files of what the cluster has and the YAML lacks, such as the gateway's Service")
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "", "the namespace of objects that name none")
	cmd.Flags().StringVar(&f.domain, "domain", "", "istiod's --domain, if it is not cluster.local")
	cmd.Flags().StringVar(&f.line, "istio", "", "Istio line whose code computes the configuration, such as 1.30")
}

func (f *auditFlags) options(cmd *cobra.Command) (offline.Options, error) {
	if len(f.paths) == 0 {
		return offline.Options{}, usageError("say what to audit: -f and a file, a folder or - for standard input")
	}
	return offline.Options{Paths: f.paths, Stdin: cmd.InOrStdin(), Env: f.env, Namespace: f.namespace, Domain: f.domain}, nil
}

func runAudit(cmd *cobra.Command, f *auditFlags) error {
	if !slices.Contains(report.Formats(), f.format) {
		return usageError("-o %s is no format: write one of %s", f.format, strings.Join(report.Formats(), ", "))
	}
	if !slices.Contains(audit.Severities(), audit.Severity(f.failOn)) {
		return usageError("--fail-on %s is no severity: write critical, high, medium or low", f.failOn)
	}
	o, err := f.options(cmd)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.Program, err = program(cmd, f.line); err != nil {
		return err
	}
	in, err := offline.Gather(ctx, o)
	if err != nil {
		return err
	}
	if f.exceptions != "" {
		if in.Exceptions, err = audit.ReadExceptions(f.exceptions); err != nil {
			return usageError("%v", err)
		}
	}
	in.Run.At = in.Now.UTC().Format(time.RFC3339)
	in.Run.FailOn, in.Hosts = audit.Severity(f.failOn), f.hosts
	r := audit.Judge(in.Input)
	if f.writeBaseline != "" {
		if err := audit.WriteBaseline(f.writeBaseline, r, time.Now()); err != nil {
			return err
		}
	}
	if err := report.Write(cmd.OutOrStdout(), f.format, r, auditOptions(cmd, f.strict)); err != nil {
		return err
	}
	return auditExit(r, f.strict)
}

func auditOptions(cmd *cobra.Command, strict bool) report.Options {
	text := textOptions(cmd.OutOrStdout())
	return report.Options{Colour: text.Colour, Width: text.Width, Strict: strict}
}

// auditExit is the exit code of a report, the same for every format.
func auditExit(r *audit.Report, strict bool) error {
	switch {
	case r.Result == audit.Failed:
		return &exitError{code: exitFindings}
	case strict && r.Totals.Unknown > 0:
		return &exitError{code: exitUnknowns}
	}
	return nil
}

// program finds the helper of a line; the pinned line if none is named.
func program(cmd *cobra.Command, line string) (string, error) {
	cache, err := state.Dir()
	if err != nil {
		return "", err
	}
	root, err := repository()
	if err != nil {
		root = "" // a release has no source tree
	}
	if line == "" {
		line = computed.DefaultLine
	}
	return computed.Program(cmd.Context(), root, cache, line, func(s string) { fmt.Fprintln(cmd.ErrOrStderr(), "twohop: "+s) })
}

func newChannelsCmd() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "channels -f PATH",
		Short: "List the external hosts that are meant to leave through a gateway",
		Long: `Channels reads YAML and lists each external host that is meant to leave through an
egress gateway: why, who calls it on which ports, and the objects that make its way.
What it does not understand it names.`,
		Example: `  twohop channels -f manifests/`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := f.options(cmd)
			if err != nil {
				return err
			}
			m, channels, _, err := offline.Read(o)
			if err != nil {
				return err
			}
			return writeChannels(cmd.OutOrStdout(), m, channels)
		},
	}
	f.add(cmd)
	return cmd
}
