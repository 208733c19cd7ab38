package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"twohop/internal/cluster"
	"twohop/internal/engine"
	"twohop/internal/images"
	"twohop/internal/runconfig"
	"twohop/internal/state"
)

func addLiveCommands(root *cobra.Command) {
	root.AddCommand(newRunCmd(), newUpCmd(), newDownCmd(), newImagesCmd(), newCleanCmd(), newKubeconfigCmd(), newBenchCmd(), newMutantsCmd(), newMatrixCmd())
}

// live are the flags that all commands on a cluster share. Each is an environment
// variable as well, because make passes those on.
type live struct {
	lane, istio, kubernetes, envoy, registry string
	engine, cluster, domain                  string
	noInstall, keep                          bool
	noKeep                                   bool // KEEP=0 or --keep=false: said, and not only left out
	mutants                                  *runconfig.Mutants
	lab, labs                                int
	replace                                  map[string]string
}

func (l *live) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&l.lane, "images", env("IMAGES", images.Auto), "where the images come from: auto, official or source (IMAGES)")
	f.StringVar(&l.istio, "istio", os.Getenv("ISTIO_VERSION"), "Istio version: a release (official lane) or a line such as 1.30 (source lane) (ISTIO_VERSION)")
	f.StringVar(&l.kubernetes, "kubernetes", os.Getenv("K8S_VERSION"), "Kubernetes version, such as v1.36.1 (K8S_VERSION)")
	f.StringVar(&l.envoy, "envoy", os.Getenv("ENVOY_VERSION"), "Envoy version, source lane only (ENVOY_VERSION)")
	f.StringVar(&l.registry, "registry", os.Getenv("REGISTRY"), "registry to use in place of docker.io (REGISTRY)")
	f.StringToStringVar(&l.replace, "replace-image", nil, "run another image as node, istio-hub, client or partner")
	l.ground(cmd, "twohop")
}

// ground adds the flags that do not choose versions.
func (l *live) ground(cmd *cobra.Command, cluster string) {
	f := cmd.Flags()
	f.StringVar(&l.engine, "engine", os.Getenv("ENGINE"), "docker or podman; if empty, the first that answers (ENGINE)")
	f.StringVar(&l.cluster, "cluster", env("CLUSTER", cluster), "name of the kind cluster and its network (CLUSTER)")
	f.StringVar(&l.domain, "domain", os.Getenv("DOMAIN"), "istiod's --domain (DOMAIN)")
	f.BoolVar(&l.noInstall, "no-install", os.Getenv("NO_INSTALL") == "1", "do not install packages (NO_INSTALL=1)")
}

// keepFlag adds --keep, and returns what tells a KEEP that was left out from
// one that says no; it is called when the line is read.
func (l *live) keepFlag(cmd *cobra.Command) (read func()) {
	said := os.Getenv("KEEP")
	cmd.Flags().BoolVar(&l.keep, "keep", said == "1", "leave the cluster up, and reuse one that was left up (KEEP=1); false removes one that was kept (KEEP=0)")
	return func() { l.noKeep = !l.keep && (said == "0" || cmd.Flags().Changed("keep")) }
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// check refuses what no run can be made of, before anything is written.
func (l *live) check() error {
	switch l.lane {
	case images.Auto, images.Official, images.Source:
	default:
		return usageError("IMAGES=%q is not a lane: write auto, official or source", l.lane)
	}
	if !clusterName.MatchString(l.cluster) {
		return usageError("CLUSTER=%q cannot name a kind cluster: use lower-case letters, digits and '-', 42 at most", l.cluster)
	}
	if l.domain != "" && !dnsName.MatchString(l.domain) {
		return usageError("DOMAIN=%q is not a DNS name: write one such as cluster.local", l.domain)
	}
	return nil
}

// checkVersions refuses versions that cannot be had, before anything is begun.
func (l *live) checkVersions() error {
	root, err := repository()
	if err != nil {
		return nil // whoever needs it says so
	}
	o := images.Options{Lane: l.lane, IstioVersion: l.istio, K8sVersion: l.kubernetes, EnvoyVersion: l.envoy}
	return plainError(context.Background(), o.Check(root))
}

// prepare finds the engine and makes the images.
func (l *live) prepare(ctx context.Context, p *printer, logFile string, phase func(string) func()) (*engine.Engine, *images.Set, error) {
	done := phase("engine")
	eng, err := engine.Detect(ctx, engine.Options{Engine: l.engine, NoInstall: l.noInstall, Log: p.printf})
	done()
	if err != nil {
		return nil, nil, err
	}
	if err := eng.Setenv(); err != nil {
		return nil, nil, err
	}
	defer phase("images")()
	set, err := images.Ensure(ctx, eng, images.Options{
		Lane: l.lane, IstioVersion: l.istio, K8sVersion: l.kubernetes, EnvoyVersion: l.envoy, Registry: l.registry,
		NoInstall: l.noInstall, LogFile: logFile, Log: p.printf, Live: p.live(),
	})
	if err != nil {
		return nil, nil, err
	}
	return eng, set, l.substitute(set)
}

// substitute puts other images in the places of the set's, to see what a run
// makes of one that does not boot or never starts.
func (l *live) substitute(set *images.Set) error {
	places := map[string]*string{"node": &set.Node, "istio-hub": &set.Istio.Hub, "client": &set.ClientImage, "partner": &set.PartnerImage}
	for place, image := range l.replace {
		into, ok := places[place]
		if !ok {
			return usageError("--replace-image cannot replace %q: write node, istio-hub, client or partner", place)
		}
		*into = image
	}
	return nil
}

// config is what the suite needs to know.
func (l *live) config(eng *engine.Engine, set *images.Set) (runconfig.Config, error) {
	root, err := repository()
	if err != nil {
		return runconfig.Config{}, err
	}
	return runconfig.Config{
		Images: *set, Engine: eng.Name, ClusterName: l.cluster, Domain: l.domain, Keep: l.keep, Lab: max(l.lab, 1), Labs: max(l.labs, 1), Mutants: l.mutants,
		KindConfig: env("KIND_CONFIG", filepath.Join(root, "kind-config.yaml")),
	}, nil
}

// repository is the folder that holds go.mod, from here upwards.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	if root, ok := repositoryAbove(dir); ok {
		return root, nil
	}
	return "", usageError("no kind-config.yaml in this folder or above it: run twohop in its repository")
}

func repositoryAbove(dir string) (string, bool) {
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "kind-config.yaml")); err == nil {
			return dir, true
		}
		if dir == filepath.Dir(dir) {
			return "", false
		}
	}
}

// sourceTree is the repository that the program itself lies in, else that of this folder:
// whoever audits YAML stands in a repository of their own.
func sourceTree() (string, error) {
	if self, err := os.Executable(); err == nil {
		if resolved, err := filepath.EvalSymlinks(self); err == nil {
			self = resolved
		}
		if root, ok := repositoryAbove(filepath.Dir(self)); ok {
			return root, nil
		}
	}
	return repository()
}

// interruptible is a context that SIGINT and SIGTERM end.
func interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
}

// plainError gives an error of the live commands its exit code.
func plainError(ctx context.Context, err error) error {
	var usage *engine.UsageError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &exitError{exitInterrupted, errors.New("interrupted and cleaned up")}
	case errors.As(err, &usage):
		return &exitError{exitUsage, err}
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return err
	}
	return &exitError{exitEnvironment, err}
}

const exitInterrupted = 130

// newLiveCmd completes a command that acts on what runs rest on.
func newLiveCmd(cmd *cobra.Command, act func(*live, context.Context, *printer) error) *cobra.Command {
	var l live
	cmd.Args = noArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := l.check(); err != nil {
			return err
		}
		ctx, stop := interruptible(cmd.Context())
		defer stop()
		return plainError(ctx, act(&l, ctx, newPrinter(cmd.OutOrStdout())))
	}
	l.flags(cmd)
	return cmd
}

func newUpCmd() *cobra.Command {
	return newLiveCmd(&cobra.Command{
		Use:   "up",
		Short: "Bring up a cluster with Istio and leave it up",
		Long:  "Up prepares the images, brings up a kind cluster with Istio and leaves it up. A later\nrun reuses the cluster unless KEEP=0 is set; \"twohop down\" removes it.",
		Example: `  twohop up
  export KUBECONFIG=$(twohop kubeconfig)`,
	}, (*live).up)
}

func (l *live) up(ctx context.Context, p *printer) error {
	if err := l.checkVersions(); err != nil {
		return err
	}
	l.keep = true
	locks, err := state.HoldCluster(ctx, l.cluster, 1, p.printf)
	if err != nil {
		return err
	}
	defer locks.Close()
	eng, set, err := l.prepare(ctx, p, "", untimed)
	if err != nil {
		return err
	}
	config, err := l.config(eng, set)
	if err != nil {
		return err
	}
	if err := cluster.UseNetwork(l.cluster); err != nil {
		return err
	}
	logs, err := os.MkdirTemp("", "twohop-node-logs-")
	if err != nil {
		return err
	}
	up, err := cluster.Up(ctx, config.Cluster(), true, logs, io.Discard, func(name string) { p.printf("%s …", name) })
	if err != nil {
		return err
	}
	if err := os.RemoveAll(logs); err != nil { // kept only if the node did not come up
		return err
	}
	if up.ReuseNote != "" {
		p.printf("%s", up.ReuseNote)
	}
	p.printf("Kubernetes %s and Istio %s are up; to use them: export KUBECONFIG=%s", up.Kubernetes, set.Istio.Version, up.Kubeconfig)
	return nil
}

// untimed is for commands without a verdict, which would list the phases.
func untimed(string) func() { return func() {} }

func newImagesCmd() *cobra.Command {
	return newLiveCmd(&cobra.Command{
		Use:   "images",
		Short: "Prepare the images and do nothing else",
		Long: `Images pulls the images (official lane) or builds them (source lane), and starts no
cluster. A later run finds them in place.`,
		Example: "  IMAGES=source twohop images",
	}, (*live).images)
}

func (l *live) images(ctx context.Context, p *printer) error {
	if err := l.checkVersions(); err != nil {
		return err
	}
	locks, err := state.HoldImages(ctx, p.printf)
	if err != nil {
		return err
	}
	defer locks.Close()
	_, set, err := l.prepare(ctx, p, "", untimed)
	if err != nil {
		return err
	}
	p.printf("%s lane: node image %s, Istio %s, Kubernetes %s", set.Lane, set.Node, set.Istio.Version, set.KubernetesVersion)
	return nil
}

func newDownCmd() *cobra.Command {
	return newLiveCmd(&cobra.Command{
		Use:   "down",
		Short: "Remove the cluster and its network",
		Long: `Down removes the cluster and its network. It refuses while a guest (--lab 2) is in
the cluster. Images, the cache and runs stay.`,
	}, (*live).down)
}

func (l *live) down(ctx context.Context, p *printer) error {
	locks, err := state.HoldCluster(ctx, l.cluster, 1, p.printf)
	if err != nil {
		return err
	}
	defer locks.Close()
	_, err = l.remove(ctx, p, l.cluster)
	return err
}

func newCleanCmd() *cobra.Command {
	return newLiveCmd(&cobra.Command{
		Use:   "clean",
		Short: "Remove every cluster, the images and the cache",
		Long: `Clean removes every cluster that Twohop made, its images and its cache
(~/.cache/twohop). It refuses while a run is under way. Installed packages, runs and
Go's caches stay.`,
	}, (*live).clean)
}

func (l *live) clean(ctx context.Context, p *printer) error {
	locks, err := state.HoldAll()
	if err != nil {
		return err
	}
	clusters, err := state.Clusters()
	if err != nil {
		return errors.Join(err, locks.Close())
	}
	if !slices.Contains(clusters, l.cluster) {
		clusters = append(clusters, l.cluster)
	}
	eng, err := l.remove(ctx, p, clusters...)
	if err == nil && eng != nil {
		err = images.Remove(ctx, eng, p.printf)
	}
	if err != nil || eng == nil {
		return errors.Join(err, locks.Close())
	}
	if err := locks.Remove(); err != nil {
		return err
	}
	p.printf("removed the images and the cache; installed packages, runs and Go's caches stay")
	return nil
}

// remove takes clusters away. Without an engine there are none, and it returns
// none.
func (l *live) remove(ctx context.Context, p *printer, clusters ...string) (*engine.Engine, error) {
	eng, err := engine.Detect(ctx, engine.Options{Engine: l.engine, NoInstall: true, Log: func(string, ...any) {}})
	if err != nil {
		p.printf("found no container engine, so there is nothing to remove (%v)", err)
		return nil, nil
	}
	if err := eng.Setenv(); err != nil {
		return nil, err
	}
	for _, name := range clusters {
		if err := cluster.Down(ctx, name, eng.Name, io.Discard); err != nil {
			return nil, err
		}
		p.printf("the cluster %q is removed", name)
	}
	return eng, nil
}

func newKubeconfigCmd() *cobra.Command {
	return newLiveCmd(&cobra.Command{
		Use:     "kubeconfig",
		Short:   "Print the path of the cluster's kubeconfig",
		Example: "  export KUBECONFIG=$(twohop kubeconfig)",
	}, func(l *live, _ context.Context, p *printer) error {
		path, err := state.Kubeconfig(l.cluster)
		if err != nil {
			return err
		}
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("no cluster %q is up: bring it up with `make up`", l.cluster)
		}
		p.println(path)
		return nil
	})
}
