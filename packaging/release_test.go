package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

var release = flag.Bool("release", false, "build this machine's release archive twice, and use it as a user does")

// bare is how long an audit may take from a release archive: unpacking, installing, and
// the first report.
const bare = 10 * time.Second

// The flags that compile the program with istiod's code are those of internal/computed,
// where it is compiled from the source tree.
func TestComputedFlags(t *testing.T) {
	script, program := string(readFile(t, filepath.Join(root, "scripts", "release.sh"))), string(readFile(t, filepath.Join(root, "internal", "computed", "program.go")))
	for _, both := range []string{"-pgo=off", "no_btrfs,no_devmapper,no_zfs,disable_pgv", "-s -w -X istio.io/istio/pkg/version.buildVersion=", "GOFLAGS=-buildvcs=false", "GOWORK=off", "CGO_ENABLED=0", "./computed", "twohop-computed-"} {
		for name, text := range map[string]string{"scripts/release.sh": script, "internal/computed/program.go": program} {
			if !strings.Contains(text, both) {
				t.Errorf("%s has no %q", name, both)
			}
		}
	}
}

// A release's archive, as a user gets it: it is the same for the same source, krew takes
// it, and "kubectl twohop" works from it without Go.
func TestRelease(t *testing.T) {
	if !*release {
		t.Skip("not tested: what is in a release, and that it works without Go; this builds istiod: make release-test")
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skipf("not tested: %s/%s is not the platform that this test is for", runtime.GOOS, runtime.GOARCH)
	}
	source := sourceTree(t)
	dist := build(t, source)
	t.Run("checksums", func(t *testing.T) {
		if out, err := in(dist, "sha256sum", "--check", "--strict", "SHA256SUMS"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("reproducible", func(t *testing.T) {
		elsewhere := filepath.Join(t.TempDir(), "in", "another", "place")
		if out, err := in(source, "bash", "-c", `mkdir -p "$(dirname "$1")" && cp -a . "$1" && find "$1" -path "$1/.git" -prune -o -type f -exec touch {} +`, "bash", elsewhere); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		again := readFile(t, filepath.Join(build(t, elsewhere), "SHA256SUMS"))
		if first := readFile(t, filepath.Join(dist, "SHA256SUMS")); !bytes.Equal(first, again) {
			t.Errorf("the same source made other bytes in another folder:\n%s\n%s", first, again)
		}
	})
	manifest := readPlugin(t, readFile(t, filepath.Join(dist, "twohop.yaml")))
	archive := filepath.Join(dist, "twohop_"+manifest.Spec.Version+"_linux_amd64.tar.gz")
	t.Run("SBOM", func(t *testing.T) {
		d := checkSBOM(t, readFile(t, strings.TrimSuffix(archive, ".tar.gz")+".spdx.json"))
		for _, want := range []string{"twohop", "twohop-publish", "twohop-computed-1.30", "twohop-computed-1.31", "istio.io/istio", "istio.io/client-go", "stdlib"} {
			if !slices.ContainsFunc(d.Packages, func(p spdxPackage) bool { return p.Name == want }) {
				t.Errorf("it lacks %s", want)
			}
		}
		t.Logf("%d packages, %d relationships", len(d.Packages), len(d.Relationships))
	})
	t.Run("krew", func(t *testing.T) { krew(t, manifest, archive) })
	t.Run("unpacked", func(t *testing.T) {
		folder := t.TempDir()
		unpack(t, archive, folder)
		elsewhere := t.TempDir()
		if err := os.Symlink(filepath.Join(folder, "kubectl-twohop"), filepath.Join(elsewhere, "kubectl-twohop")); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{folder, elsewhere} {
			u := user{path: path + ":/usr/bin:/bin", home: t.TempDir()}
			u.audits(t)
		}
	})
	t.Run("hook", func(t *testing.T) {
		folder := t.TempDir()
		unpack(t, archive, folder)
		h := readHook(t)
		u := user{path: folder, home: t.TempDir(), dir: fixtures(t)}
		line := append(strings.Fields(h.Entry), h.Args...)
		if code, out, errs := u.runs(t, line...); code > 1 || out == "" {
			t.Errorf("the hook ends with %d\n%s%s", code, out, errs)
		}
	})
	t.Run("action", func(t *testing.T) {
		temp := t.TempDir()
		env := []string{"VERSION=" + manifest.Spec.Version, "PATHS=" + fixtures(t), "FAIL_ON=high", "ISTIO=1.30", "EXCEPTIONS="}
		for _, step := range []string{"fetch", "audit"} {
			if code, out := action(t, step, temp, dist, env...); code != 0 {
				t.Errorf("%s ends with %d\n%s", step, code, out)
			}
		}
		if sarif := readFile(t, filepath.Join(temp, "twohop-audit.sarif")); !bytes.Contains(sarif, []byte(`"2.1.0"`)) {
			t.Errorf("this is no SARIF: %.300s", sarif)
		}
		if summary := readFile(t, filepath.Join(temp, "summary")); len(summary) == 0 {
			t.Error("the summary is empty")
		}
	})
}

// sourceTree copies the source, so that nobody changes it while it is built.
func sourceTree(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	if out, err := in(root, "bash", "-o", "pipefail", "-c", `git ls-files -z --cached --others --exclude-standard --deduplicate |
		while IFS= read -r -d "" f; do if [[ -e $f || -L $f ]]; then printf '%s\0' "$f"; fi; done | tar -c --null -T - | tar -x -C "$1" && cp -a .git "$1"`, "bash", folder); err != nil {
		t.Fatalf("%v\n%.1000s", err, out)
	}
	return folder
}

func in(dir string, line ...string) (string, error) {
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func build(t *testing.T, source string) (dist string) {
	t.Helper()
	dist = t.TempDir()
	started := time.Now()
	cmd := exec.Command(filepath.Join(source, "scripts", "release.sh"), "--out", dist)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "PLATFORMS=linux/amd64", "ISTIO_LINES=", "VERSION=", "RELEASE_URL=", "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("built in %.1f s\n%s", time.Since(started).Seconds(), out)
	return dist
}

// unpack does it as krew does, which refuses anything but files and folders.
func unpack(t *testing.T, archive, folder string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || strings.Contains(h.Name, "..") || strings.Contains(h.Name, "/") || h.Uid != 0 || h.Uname != "" {
			t.Fatalf("krew would refuse %+v, or it names who built it", h)
		}
		to, err := os.OpenFile(filepath.Join(folder, h.Name), os.O_CREATE|os.O_WRONLY|os.O_EXCL, os.FileMode(h.Mode))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(to, r); err != nil {
			t.Fatal(err)
		}
		if err := to.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// krew installs the plugin: with krew where it is, else by krew's steps.
func krew(t *testing.T, manifest plugin, archive string) {
	started := time.Now()
	at := t.TempDir()
	u := user{path: filepath.Join(at, "bin"), home: t.TempDir()}
	if program, err := exec.LookPath("kubectl-krew"); err == nil {
		cmd := exec.Command(program, "install", "--manifest", filepath.Join(filepath.Dir(archive), "twohop.yaml"), "--archive", archive)
		cmd.Env = append(os.Environ(), "KREW_ROOT="+at, "KREW_NO_UPGRADE_CHECK=1", "HOME="+u.home)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Log("installed by krew itself")
	} else {
		t.Log("kubectl-krew is not there: its steps are made by this test")
		i := slices.IndexFunc(manifest.Spec.Platforms, func(p platform) bool {
			return p.Selector.MatchLabels["os"] == "linux" && p.Selector.MatchLabels["arch"] == "amd64"
		})
		if i < 0 {
			t.Fatal("the manifest has no linux/amd64")
		}
		p := manifest.Spec.Platforms[i]
		sum, err := fileSHA256(archive)
		if err != nil {
			t.Fatal(err)
		}
		if sum != p.SHA256 || filepath.Base(p.URI) != filepath.Base(archive) {
			t.Fatalf("the manifest is about %s with %s, and the archive is %s with %s", p.URI, p.SHA256, archive, sum)
		}
		store := filepath.Join(at, "store", "twohop", manifest.Spec.Version)
		for _, dir := range []string{store, u.path} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		unpack(t, archive, store)
		if err := os.Symlink(filepath.Join(store, p.Bin), filepath.Join(u.path, "kubectl-twohop")); err != nil {
			t.Fatal(err)
		}
	}
	installed := time.Since(started)
	u.dir = fixtures(t)
	if code, out, errs := u.runs(t, "/usr/bin/env", "kubectl-twohop", "audit", "-f", "."); code != 0 || out == "" {
		t.Errorf("the first audit ends with %d\n%s%s", code, out, errs)
	}
	took := time.Since(started)
	t.Logf("from the archive to the first report: %.2f s, %.2f s of them to install", took.Seconds(), installed.Seconds())
	if took > bare {
		t.Errorf("from the archive to the first report it took %v, which is more than %v", took, bare)
	}
	u.audits(t)
}

// user has kubectl, an empty home, and no Go.
type user struct{ path, home, dir string }

func (u user) runs(t *testing.T, line ...string) (code int, stdout, stderr string) {
	t.Helper()
	program := line[0]
	if !filepath.IsAbs(program) {
		program = filepath.Join(strings.Split(u.path, ":")[0], program)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, line[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &errs, u.dir
	cmd.Env = []string{"PATH=" + u.path, "HOME=" + u.home, "KUBECONFIG=/dev/null"}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// audits asks kubectl for what the guide's egress is, on both lines.
func (u user) audits(t *testing.T) {
	t.Helper()
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Fatal("kubectl is not there: this test is about kubectl twohop")
	}
	for _, dir := range strings.Split(u.path, ":") {
		if _, err := os.Stat(filepath.Join(dir, "go")); err == nil {
			t.Fatalf("there is Go in %s: this test is about a machine without", dir)
		}
	}
	u.dir = fixtures(t)
	const host = "api.partner.example.com"
	for _, line := range []string{"1.31", "1.30"} {
		started := time.Now()
		code, out, errs := u.runs(t, kubectl, "twohop", "audit", "-f", ".", "--istio", line)
		if code != 0 || !strings.Contains(out, host) {
			t.Errorf("line %s: kubectl twohop audit ends with %d\n%s%s", line, code, out, errs)
		}
		t.Logf("kubectl twohop audit, line %s: %.2f s", line, time.Since(started).Seconds())
	}
	if code, out, errs := u.runs(t, kubectl, "twohop", "channels", "-n", "foo", "-f", "."); code != 0 || !strings.Contains(out, host) {
		t.Errorf("kubectl twohop channels ends with %d\n%s%s", code, out, errs)
	}
	if code, _, errs := u.runs(t, kubectl, "twohop", "audit"); code != 2 {
		t.Errorf("without a path kubectl twohop audit ends with %d\n%s", code, errs)
	}
	left, err := os.ReadDir(u.home)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if e.Name() != ".cache" && e.Name() != ".kube" {
			t.Errorf("it leaves %s in the home", e.Name())
		}
	}
}

// fixtures are the guide's manifests, without the Go files beside them.
func fixtures(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	files, err := filepath.Glob(filepath.Join(root, "fixtures", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal(fmt.Errorf("no fixtures: %w", err))
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(folder, filepath.Base(f)), readFile(t, f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}
