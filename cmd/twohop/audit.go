package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"twohop/internal/audit"
	"twohop/internal/audit/livesource"
	"twohop/internal/audit/offline"
	"twohop/internal/audit/online"
	"twohop/internal/audit/report"
	"twohop/internal/channel"
	"twohop/internal/computed"
	"twohop/internal/state"
)

// Exit codes of an audit that a run does not have in this sense.
const (
	exitFindings = 1 // at or above --fail-on
	exitUnknowns = 4 // --strict, and something could not be learnt
)

// yamlFlags say which objects are looked at.
type yamlFlags struct {
	paths, env              []string
	namespaces              []string
	all                     bool
	domain, line            string
	kubeconfig, contextName string
}

func (f *yamlFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringSliceVarP(&f.paths, "filename", "f", nil, "a file or folder of YAML, or - for standard input")
	cmd.Flags().StringSliceVar(&f.env, "env", nil, "files with cluster objects that the YAML lacks, written by --export-env")
	cmd.Flags().StringSliceVarP(&f.namespaces, "namespace", "n", nil, "with -f, the namespace for objects without one (audit on a cluster: the namespaces to read)")
	cmd.Flags().StringVar(&f.domain, "domain", "", "cluster domain, if not cluster.local")
	cmd.Flags().StringVar(&f.line, "istio", "", "Istio version that generates the configuration: 1.30 or 1.31 (default 1.31)")
}

// options are those of YAML.
func (f *yamlFlags) options(cmd *cobra.Command) (offline.Options, error) {
	if len(f.namespaces) > 1 {
		return offline.Options{}, usageError("with -f there is one namespace: leave all but one -n out")
	}
	return offline.Options{Paths: f.paths, Stdin: cmd.InOrStdin(), Env: f.env, Namespace: strings.Join(f.namespaces, ""), Domain: f.domain}, nil
}

type auditFlags struct {
	yamlFlags
	live, readSecrets, plan   bool
	snapshot, fromSnapshot    string
	exportEnv                 string
	from, to                  string
	format, failOn            string
	exceptions, writeBaseline string
	strict                    bool
	hosts                     []string
}

func newAuditCmd() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit [-f PATH | --host HOST | --live | --from-snapshot DIR]",
		Short: "Audit your own egress: from YAML, or on a cluster",
		Long: `Audit finds each external host that is meant to leave through an egress gateway, judges
both hops, and names the object, and the line if it is in the input, to change.

With -f it reads YAML. Istiod's own code generates the configuration of the sidecar and
the gateway. Nothing is applied and no cluster is contacted. PATH is a file, a folder,
or "-" for standard input:

  kustomize build . | twohop audit -f -
  helm template my-egress ./chart | twohop audit -f -

Without -f and --from-snapshot it reads a cluster: objects, proxy configuration and
access reviews. It changes nothing and, without --read-secrets, reads no Secret. --plan
lists the requests and sends none. --snapshot saves what was read, and --from-snapshot
audits it on another machine.

What cannot be checked, such as whether a Secret exists, is unknown, never passed.

Exit codes: 0 no finding at or above --fail-on, 1 at least one, 2 usage error, 3 the
audit could not run, 4 with --strict: nothing failed, but something is unknown or no
egress was found.`,
		Example: `  twohop audit -f manifests/
  twohop audit -f manifests/ --from 1.30 --to 1.31
  twohop audit --host api.partner.example.com --context prod -o markdown`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAudit(cmd, &f) },
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "the kubeconfig of the cluster to read")
	flags.StringVar(&f.contextName, "context", "", "the kubeconfig context to use")
	flags.BoolVarP(&f.all, "all-namespaces", "A", false, "read all namespaces, as without -n")
	flags.BoolVar(&f.live, "live", false, "read a cluster and audit all its egress hosts")
	flags.BoolVar(&f.plan, "plan", false, "list the requests to the cluster and send none")
	flags.BoolVar(&f.readSecrets, "read-secrets", false, "read the Secrets that the channels name; keys are not kept")
	flags.StringVar(&f.snapshot, "snapshot", "", "save what was read to this folder, without private keys")
	flags.StringVar(&f.fromSnapshot, "from-snapshot", "", "audit this folder, written by --snapshot, instead of a cluster")
	flags.StringVar(&f.exportEnv, "export-env", "", "write the cluster objects that a YAML audit needs to this file, and do not audit")
	flags.StringVar(&f.from, "from", "", "with --to: the Istio version to upgrade from")
	flags.StringVar(&f.to, "to", "", "with --from: the Istio version to upgrade to; its findings and the differences are shown")
	flags.StringVarP(&f.format, "output", "o", "text", "format: "+strings.Join(report.Formats(), ", "))
	flags.StringVar(&f.failOn, "fail-on", string(audit.High), "lowest severity that fails the audit: critical, high, medium or low")
	flags.BoolVar(&f.strict, "strict", false, "exit with 4 if something is unknown")
	flags.StringVar(&f.exceptions, "exceptions", "", "a file of accepted findings")
	flags.StringVar(&f.writeBaseline, "write-baseline", "", "write an exception for every finding to this file")
	flags.StringSliceVar(&f.hosts, "host", nil, "audit only these hosts; without -f, on a cluster")
	return cmd
}

// check refuses what no audit can be made of.
func (f *auditFlags) check() error {
	if !slices.Contains(report.Formats(), f.format) {
		return usageError("-o %s is no format: write one of %s", f.format, strings.Join(report.Formats(), ", "))
	}
	if !slices.Contains(audit.Severities(), audit.Severity(f.failOn)) {
		return usageError("--fail-on %s is no severity: write critical, high, medium or low", f.failOn)
	}
	cluster := f.live || f.kubeconfig != "" || f.contextName != "" || f.snapshot != "" || f.exportEnv != "" || f.plan || f.all
	switch {
	case len(f.paths) > 0 && (cluster || f.fromSnapshot != ""):
		return usageError("-f audits YAML, the other flags a cluster: write one or the other")
	case f.fromSnapshot != "" && cluster:
		return usageError("--from-snapshot judges what was read: leave out the flags that name a cluster")
	case len(f.paths) == 0 && f.fromSnapshot == "" && !cluster && len(f.hosts) == 0:
		return usageError("say what to audit: -f and a path, or --host and a host of the cluster that kubectl uses, or --live for all of them")
	case (f.from == "") != (f.to == ""):
		return usageError("write --from and --to, or neither")
	case f.from != "" && len(f.paths) == 0:
		return usageError("--from and --to compare what istiod's code computes of YAML: write -f")
	}
	return nil
}

func runAudit(cmd *cobra.Command, f *auditFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	in, done, err := f.input(ctx, cmd)
	if err != nil || done {
		return err
	}
	if f.exceptions != "" {
		if in.Exceptions, err = audit.ReadExceptions(f.exceptions); err != nil {
			return usageError("%v", err)
		}
	}
	in.Run.At = in.Now.UTC().Format(time.RFC3339)
	in.Run.FailOn, in.Hosts = audit.Severity(f.failOn), f.hosts
	for _, h := range f.hosts {
		if !slices.ContainsFunc(in.Channels, func(c *channel.Channel) bool { return c.Host == h }) {
			return fmt.Errorf("no channel is for %s: %s", h, channelHosts(in.Channels))
		}
	}
	r := audit.Judge(in)
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

// input gathers what is judged. It is done where that was only to be written.
func (f *auditFlags) input(ctx context.Context, cmd *cobra.Command) (in audit.Input, done bool, err error) {
	switch {
	case len(f.paths) > 0:
		in, err = f.fromYAML(ctx, cmd)
		return in, false, err
	case f.fromSnapshot != "":
		s, err := livesource.Load(f.fromSnapshot)
		if err != nil {
			return in, false, usageError("%v", err)
		}
		if f.line != "" {
			in, err = f.recomputed(ctx, cmd, s)
		} else {
			in, err = online.Input(s)
		}
		in.Run.Source = "snapshot"
		return in, false, err
	}
	return f.fromCluster(ctx, cmd)
}

func (f *auditFlags) fromYAML(ctx context.Context, cmd *cobra.Command) (audit.Input, error) {
	o, err := f.options(cmd)
	if err != nil {
		return audit.Input{}, err
	}
	if f.from == "" {
		if o.Program, err = program(cmd, f.line); err != nil {
			return audit.Input{}, err
		}
		g, err := offline.Gather(ctx, o)
		if err != nil {
			return audit.Input{}, err
		}
		return g.Input, nil
	}
	var lines [2]*offline.Gathered
	if slices.Contains(f.paths, "-") {
		return audit.Input{}, usageError("--from and --to read the YAML twice: write it to a file")
	}
	for i, line := range []string{f.from, f.to} {
		if o.Program, err = program(cmd, line); err != nil {
			return audit.Input{}, err
		}
		if lines[i], err = offline.Gather(ctx, o); err != nil {
			return audit.Input{}, err
		}
	}
	in := lines[1].Input
	in.Also, err = offline.Changes(lines[0], lines[1])
	return in, err
}

// recomputed judges a snapshot's objects as another Istio line would have it.
func (f *auditFlags) recomputed(ctx context.Context, cmd *cobra.Command, s *livesource.Snapshot) (audit.Input, error) {
	path, err := program(cmd, f.line)
	if err != nil {
		return audit.Input{}, err
	}
	in, err := online.Input(s)
	if err != nil {
		return in, err
	}
	istiod, err := computed.Start(ctx, path)
	if err != nil {
		return in, err
	}
	defer istiod.Close()
	g, err := offline.Ask(istiod, in.Mesh, in.Channels, s.MeshConfig())
	if err != nil {
		return in, err
	}
	in.Views, in.Pods, in.Refused, in.Also = g.Views, g.Pods, g.Refused, nil
	in.Run.Istio = g.Run.Istio
	return in, nil
}

func (f *auditFlags) fromCluster(ctx context.Context, cmd *cobra.Command) (in audit.Input, done bool, err error) {
	namespaces := f.namespaces
	if f.all {
		namespaces = nil
	}
	source, err := livesource.Open(f.kubeconfig, f.contextName, namespaces)
	if err != nil {
		return in, false, err
	}
	o := livesource.Options{Hosts: f.hosts, ReadSecrets: f.readSecrets, NoProxies: f.exportEnv != ""}
	if f.plan {
		fmt.Fprintln(cmd.OutOrStdout(), strings.Join(source.Plan(o), "\n"))
		return in, true, nil
	}
	s, err := source.Gather(ctx, o)
	if err != nil {
		return in, false, err
	}
	if f.exportEnv != "" {
		text, err := livesource.ExportEnv(s)
		if err != nil {
			return in, false, err
		}
		if f.exportEnv == "-" {
			_, err = cmd.OutOrStdout().Write(text)
			return in, true, err
		}
		return in, true, os.WriteFile(f.exportEnv, text, 0o644)
	}
	if f.snapshot != "" {
		if err := s.Save(f.snapshot); err != nil {
			return in, false, err
		}
	}
	in, err = online.Input(s)
	return in, false, err
}

// channelHosts says which hosts are audited.
func channelHosts(channels []*channel.Channel) string {
	var hosts []string
	for _, c := range channels {
		hosts = append(hosts, c.Host)
	}
	if len(hosts) == 0 {
		return "no external host is meant to leave through a gateway here"
	}
	return "the hosts that are meant to leave through a gateway are " + strings.Join(hosts, ", ")
}

func auditOptions(cmd *cobra.Command, strict bool) report.Options {
	text := textOptions(cmd.OutOrStdout())
	o := report.Options{Colour: text.Colour, Width: text.Width, Strict: strict}
	if info, ok := debug.ReadBuildInfo(); ok {
		o.Version = info.Main.Version
	}
	return o
}

// auditExit is the exit code of a report, the same for every format.
func auditExit(r *audit.Report, strict bool) error {
	switch {
	case r.Result == audit.Failed:
		return &exitError{code: exitFindings}
	case strict && (r.Totals.Unknown > 0 || r.Result == audit.Unclear):
		return &exitError{code: exitUnknowns}
	}
	return nil
}

// program finds the helper of a line; the default line's if none is named.
func program(cmd *cobra.Command, line string) (string, error) {
	cache, err := state.Dir()
	if err != nil {
		cache = "" // beside the command there may be one all the same
	}
	root, err := sourceTree()
	if err != nil {
		root = "" // a release has no source tree
	}
	if line == "" {
		line = computed.DefaultLine
	}
	path, err := computed.Program(cmd.Context(), root, cache, line, func(s string) { fmt.Fprintln(cmd.ErrOrStderr(), "twohop: "+s) })
	if err != nil {
		return "", err
	}
	return path, nil
}
