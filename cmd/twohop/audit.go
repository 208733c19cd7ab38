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
	cmd.Flags().StringSliceVar(&f.env, "env", nil, "files of what the cluster has and the YAML lacks, as --export-env writes them")
	cmd.Flags().StringSliceVarP(&f.namespaces, "namespace", "n", nil, "with -f, the namespace of objects that name none; on a cluster, the namespaces to read")
	cmd.Flags().StringVar(&f.domain, "domain", "", "istiod's --domain, if it is not cluster.local")
	cmd.Flags().StringVar(&f.line, "istio", "", "Istio line whose code computes the configuration, such as 1.30")
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
both hops, and says which line of which object to change.

With -f it reads YAML: istiod's own code computes what the sidecar and the gateway would
be configured with. Nothing is applied, and no cluster is asked. PATH is a file, a
folder, or "-" for standard input:

  kustomize build . | twohop audit -f -
  helm template my-egress ./chart | twohop audit -f -

With --host or --live it reads a cluster: objects, the proxies' configuration, access
reviews. It changes nothing and reads no Secret; --plan lists what it would ask. With
--snapshot it keeps what it read, and --from-snapshot judges that elsewhere.

What could not be learnt, such as whether a Secret exists, is unknown, never passed.

Exit codes: 0 no finding at or above --fail-on, 1 findings, 2 usage, 3 it could not be
done, 4 with --strict: nothing failed, but something is unknown.`,
		Example: `  twohop audit -f manifests/
  twohop audit -f manifests/ --from 1.30 --to 1.31
  twohop audit --host api.partner.example.com --context prod -o markdown`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAudit(cmd, &f) },
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "the kubeconfig of the cluster to read")
	flags.StringVar(&f.contextName, "context", "", "its context")
	flags.BoolVarP(&f.all, "all-namespaces", "A", false, "read all namespaces, as without -n")
	flags.BoolVar(&f.live, "live", false, "read a cluster, and audit all that leaves it")
	flags.BoolVar(&f.plan, "plan", false, "list what would be asked of the cluster, and ask nothing")
	flags.BoolVar(&f.readSecrets, "read-secrets", false, "read the Secrets that the channels name; keys are not kept")
	flags.StringVar(&f.snapshot, "snapshot", "", "a folder to keep what was read in, without keys")
	flags.StringVar(&f.fromSnapshot, "from-snapshot", "", "a folder that --snapshot wrote, to judge instead of a cluster")
	flags.StringVar(&f.exportEnv, "export-env", "", "write what an audit of YAML needs of the cluster to a file, and audit nothing")
	flags.StringVar(&f.from, "from", "", "with --to: the Istio line to come from")
	flags.StringVar(&f.to, "to", "", "with --from: the Istio line to go to, whose findings are shown, with what changes")
	flags.StringVarP(&f.format, "output", "o", "text", "format: "+strings.Join(report.Formats(), ", "))
	flags.StringVar(&f.failOn, "fail-on", string(audit.High), "the least severity that fails: critical, high, medium or low")
	flags.BoolVar(&f.strict, "strict", false, "exit with 4 if something is unknown")
	flags.StringVar(&f.exceptions, "exceptions", "", "a file of findings that somebody answers for")
	flags.StringVar(&f.writeBaseline, "write-baseline", "", "write exceptions for all that is found to a file")
	flags.StringSliceVar(&f.hosts, "host", nil, "audit these hosts only")
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
	root, err := repository()
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
