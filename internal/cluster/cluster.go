// Package cluster brings up a kind cluster with Istio in it, and takes it
// down again. It returns errors; it knows neither Gomega nor the subject under
// test. Nothing of the user's is touched: the kubeconfig is a file of its own,
// and so is the container network.
package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	kind "sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/yaml"

	"twohop/internal/kube"
	"twohop/internal/state"
	"twohop/internal/subject"
)

// Config is everything that makes one cluster differ from another. Two runs
// with equal Configs can share a cluster.
type Config struct {
	Name      string // kind's name of the cluster
	Engine    string // docker or podman
	NodeImage string // has every image that the run needs
	// KindConfig is the path of kind-config.yaml; its content is part of the
	// fingerprint.
	KindConfig string `json:"-"`
	// OwnCNI says that the node image brings a CNI configuration.
	OwnCNI bool
	Istio  Istio
}

// Cluster is one that is up.
type Cluster struct {
	Config     Config
	Kube       *kube.Client
	Kubeconfig string
	Reused     bool
	// ReuseNote says why a kept cluster was or was not reused; empty if there was none.
	ReuseNote  string
	Kubernetes string // the API server's own version
}

// Phase is told when a part of Up starts, in words.
type Phase func(name string)

// Up returns a running cluster with a ready Istio. With keep, a complete
// cluster of the same fingerprint is taken as it is, and the cluster is marked
// as kept (see Kept); any other cluster of that name is what an earlier run
// left, and goes. diagnostics is a folder for the node's logs if the cluster
// does not come up. With guests in a cluster that has to go it is a
// *state.GuestsError.
func Up(ctx context.Context, config Config, keep bool, diagnostics string, log io.Writer, phase Phase) (*Cluster, error) {
	if err := state.Inherited(); err != nil {
		return nil, err
	}
	kubeconfig, err := state.Kubeconfig(config.Name)
	if err != nil {
		return nil, err
	}
	provider, err := newProvider(config.Engine, log)
	if err != nil {
		return nil, err
	}
	want, err := config.fingerprint()
	if err != nil {
		return nil, err
	}
	names, err := provider.List()
	if err != nil {
		return nil, fmt.Errorf("ask %s for kind clusters: %w", config.Engine, err)
	}
	c := &Cluster{Config: config, Kubeconfig: kubeconfig}
	if slices.Contains(names, config.Name) {
		if keep {
			if c.ReuseNote = c.mismatch(ctx, want); c.ReuseNote == "" {
				c.Reused, c.ReuseNote = true, "cluster reused: same images, versions and Istio settings"
				return c, errors.Join(c.markKept(ctx), c.version(ctx))
			}
			c.ReuseNote = "kept cluster not reused: " + c.ReuseNote
		} else {
			c.ReuseNote = "a cluster left by an earlier run was removed"
		}
		phase("down")
		if err := Down(ctx, config.Name, config.Engine, log); err != nil {
			return nil, err
		}
	}
	phase("cluster")
	if err := c.create(ctx, provider, diagnostics); err != nil {
		return nil, err
	}
	phase("istio")
	both, bothCtx := errgroup.WithContext(ctx)
	both.Go(func() error { return c.shortenDNS(bothCtx) })
	both.Go(func() error {
		return c.installIstio(bothCtx, subject.Default(), log)
	})
	if err := both.Wait(); err != nil {
		return nil, err
	}
	return c, c.seal(ctx, want, keep)
}

// Attach takes a complete cluster of the same fingerprint as it is, and fails
// if there is none: it never makes or removes one.
func Attach(ctx context.Context, config Config) (*Cluster, error) {
	if err := state.Inherited(); err != nil {
		return nil, err
	}
	kubeconfig, err := state.Kubeconfig(config.Name)
	if err != nil {
		return nil, err
	}
	want, err := config.fingerprint()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Config: config, Kubeconfig: kubeconfig, Reused: true, ReuseNote: "a guest in a cluster that was up"}
	if why := c.mismatch(ctx, want); why != "" {
		return nil, fmt.Errorf("no cluster %q to share (%s): `make up` brings one up", config.Name, why)
	}
	return c, c.version(ctx)
}

// create makes the cluster. What is left of a failure is removed without a look
// at guests: none is let into a cluster that is not complete.
func (c *Cluster) create(ctx context.Context, provider *kind.Provider, diagnostics string) error {
	spec, err := loadKindConfig(c.Config)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		done <- provider.Create(c.Config.Name,
			kind.CreateWithV1Alpha4Config(spec),
			kind.CreateWithNodeImage(c.Config.NodeImage),
			kind.CreateWithKubeconfigPath(c.Kubeconfig),
			kind.CreateWithWaitForReady(2*time.Minute),
			kind.CreateWithRetain(true), // so that its logs can be read
			kind.CreateWithDisplayUsage(false),
			kind.CreateWithDisplaySalutation(false))
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		// kind takes no context: with its containers gone, it fails by itself.
		down := remove(context.WithoutCancel(ctx), provider, c.Config.Name, c.Config.Engine)
		select {
		case <-done:
			down = remove(context.WithoutCancel(ctx), provider, c.Config.Name, c.Config.Engine)
		case <-time.After(20 * time.Second):
		}
		return errors.Join(ctx.Err(), down)
	}
	if err == nil {
		c.Kube, err = kube.New(c.Kubeconfig)
		return err
	}
	where := ""
	if logsErr := provider.CollectLogs(c.Config.Name, diagnostics); logsErr == nil {
		where = "; the node's logs are in " + diagnostics
	}
	down := remove(context.WithoutCancel(ctx), provider, c.Config.Name, c.Config.Engine)
	return errors.Join(fmt.Errorf("the kind cluster did not come up from %s: %w%s", c.Config.NodeImage, oneLine(err), where), down)
}

func (c *Cluster) version(context.Context) error {
	v, err := c.Kube.Typed.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("ask the API server for its version: %w", err)
	}
	c.Kubernetes = v.GitVersion
	return nil
}

// Down removes a cluster of ours with its network and kubeconfig. One that does
// not exist is no error; one that guests are in stays up, and that is a
// *state.GuestsError.
func Down(ctx context.Context, name, engine string, log io.Writer) error {
	provider, err := newProvider(engine, log)
	if err != nil {
		return err
	}
	guests, err := state.KeepGuestsOut(name)
	if err != nil {
		names, listErr := provider.List()
		if listErr != nil || slices.Contains(names, name) {
			return errors.Join(err, listErr)
		}
		// Whoever waits for a cluster of that name loses nothing.
	} else {
		defer guests.Close()
	}
	return remove(ctx, provider, name, engine)
}

func remove(ctx context.Context, provider *kind.Provider, name, engine string) error {
	kubeconfig, err := state.Kubeconfig(name)
	if err != nil {
		return err
	}
	kill(ctx, provider, name, engine)
	if err := provider.Delete(name, kubeconfig); err != nil {
		return fmt.Errorf("remove the kind cluster %q: %w", name, oneLine(err))
	}
	if err := os.Remove(kubeconfig); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	os.Remove(kubeconfig + ".lock") // kind's; absent on most days
	// The network is named after the cluster, so nobody else is in it.
	if exec.CommandContext(ctx, engine, "network", "inspect", name).Run() == nil {
		if out, err := exec.CommandContext(ctx, engine, "network", "rm", name).CombinedOutput(); err != nil {
			return fmt.Errorf("remove the container network %q: %w: %s", name, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// kill ends the nodes at once: nothing in them has to be put away, and podman waits
// 10 s for a node to shut down before it removes it. What goes wrong here, Delete says.
func kill(ctx context.Context, provider *kind.Provider, name, engine string) {
	all, err := provider.ListInternalNodes(name)
	if err != nil || len(all) == 0 {
		return
	}
	args := []string{"kill", "--signal", "KILL"}
	for _, node := range all {
		args = append(args, node.String())
	}
	_ = exec.CommandContext(ctx, engine, args...).Run() // of one that does not run: an error
}

// UseNetwork makes kind put clusters of that name into a network of their own,
// for this process: kind takes it from the environment only.
func UseNetwork(name string) error {
	return errors.Join(
		os.Setenv("KIND_EXPERIMENTAL_PODMAN_NETWORK", name),
		os.Setenv("KIND_EXPERIMENTAL_DOCKER_NETWORK", name))
}

func (c Config) fingerprint() (string, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	file, err := os.ReadFile(c.KindConfig)
	if err != nil {
		return "", fmt.Errorf("read kind's configuration: %w", err)
	}
	operator, err := c.Istio.Operator(subject.Default())
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(slices.Concat(raw, file, operator, []byte(subject.DNSTTL.String())))
	return hex.EncodeToString(sum[:]), nil
}

func loadKindConfig(c Config) (*v1alpha4.Cluster, error) {
	raw, err := os.ReadFile(c.KindConfig)
	if err != nil {
		return nil, fmt.Errorf("read kind's configuration: %w", err)
	}
	spec := &v1alpha4.Cluster{}
	if err := yaml.UnmarshalStrict(raw, spec); err != nil {
		return nil, fmt.Errorf("%s: %w", c.KindConfig, err)
	}
	spec.Networking.DisableDefaultCNI = c.OwnCNI
	return spec, nil
}

func oneLine(err error) error {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > 600 {
		text = text[:600] + "…"
	}
	return errors.New(text)
}
