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
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	kind "sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/yaml"

	"twohop/internal/kube"
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

// StateDir is where kubeconfigs and locks live: the user's cache folder.
func StateDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for state (set HOME or XDG_CACHE_HOME): %w", err)
	}
	dir = filepath.Join(dir, "twohop")
	return dir, os.MkdirAll(dir, 0o755)
}

// KubeconfigPath is where the kubeconfig of a cluster of ours is.
func KubeconfigPath(name string) (string, error) {
	dir, err := StateDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, name+".kubeconfig"), nil
}

// Phase is told when a part of Up starts, in words.
type Phase func(name string)

// Up returns a running cluster with a ready Istio. With reuse, a complete
// cluster of the same fingerprint is taken as it is; any other cluster of that
// name is what an earlier run left, and goes. diagnostics is a folder for the
// node's logs if the cluster does not come up.
func Up(ctx context.Context, config Config, reuse bool, diagnostics string, log io.Writer, phase Phase) (*Cluster, error) {
	kubeconfig, err := KubeconfigPath(config.Name)
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
		if reuse {
			if c.ReuseNote = c.mismatch(ctx, want); c.ReuseNote == "" {
				c.Reused, c.ReuseNote = true, "cluster reused: same images, versions and Istio settings"
				return c, c.version(ctx)
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
	if err := c.create(ctx, provider, diagnostics, log); err != nil {
		return nil, err
	}
	phase("istio")
	both, bothCtx := errgroup.WithContext(ctx)
	both.Go(func() error { return c.shortenDNS(bothCtx) })
	both.Go(func() error {
		if err := config.Istio.install(bothCtx, c.Kube, log); err != nil {
			return c.explainIstio(err)
		}
		return nil
	})
	if err := both.Wait(); err != nil {
		return nil, err
	}
	return c, c.seal(ctx, want)
}

// Attach takes a complete cluster of the same fingerprint as it is, and fails
// if there is none: it never makes or removes one.
func Attach(ctx context.Context, config Config) (*Cluster, error) {
	kubeconfig, err := KubeconfigPath(config.Name)
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

func (c *Cluster) create(ctx context.Context, provider *kind.Provider, diagnostics string, log io.Writer) error {
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
		down := Down(context.WithoutCancel(ctx), c.Config.Name, c.Config.Engine, log)
		select {
		case <-done:
			down = Down(context.WithoutCancel(ctx), c.Config.Name, c.Config.Engine, log)
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
	down := Down(context.WithoutCancel(ctx), c.Config.Name, c.Config.Engine, log)
	return errors.Join(fmt.Errorf("the kind cluster did not come up from %s: %w%s", c.Config.NodeImage, oneLine(err), where), down)
}

// seal marks the cluster as complete. It is the last step of Up: a cluster
// without the mark was interrupted, and is never reused.
func (c *Cluster) seal(ctx context.Context, fingerprint string) error {
	mark := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "twohop", Namespace: metav1.NamespaceSystem},
		Data:       map[string]string{"fingerprint": fingerprint},
	}
	if err := c.Kube.Objects().Create(ctx, mark); err != nil {
		return fmt.Errorf("mark the cluster as complete: %w", err)
	}
	return c.version(ctx)
}

func (c *Cluster) version(context.Context) error {
	v, err := c.Kube.Typed.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("ask the API server for its version: %w", err)
	}
	c.Kubernetes = v.GitVersion
	return nil
}

// mismatch says why an existing cluster cannot be reused, or "" if it can.
func (c *Cluster) mismatch(ctx context.Context, want string) string {
	if _, err := os.Stat(c.Kubeconfig); err != nil {
		return "its kubeconfig is gone"
	}
	client, err := kube.New(c.Kubeconfig)
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	mark, err := client.Typed.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, "twohop", metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "its creation was interrupted"
	case err != nil:
		return "its API server does not answer: " + oneLine(err).Error()
	case mark.Data["fingerprint"] != want:
		return "its images, versions or Istio settings differ"
	}
	c.Kube = client
	return ""
}

// Down removes a cluster of ours with its network and kubeconfig. One that does
// not exist is no error.
func Down(ctx context.Context, name, engine string, log io.Writer) error {
	provider, err := newProvider(engine, log)
	if err != nil {
		return err
	}
	kubeconfig, err := KubeconfigPath(name)
	if err != nil {
		return err
	}
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
	operator, err := c.Istio.Operator()
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
