package images

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"twohop/internal/engine"
	"twohop/internal/state"
)

// storeEngine has images and containers of ours and of others; it writes down
// what it is told to remove.
const storeEngine = `#!/bin/sh
case "$1 $2" in
version*) echo 27.1.0 ;;
"ps -a") printf '%s\n' twohop-build-node a-control-plane ;;
"images "*) printf '%s\n' localhost/twohop/node:1 docker.io/library/nginx:1 localhost/twohop/pilot:1 localhost/twohop-else/x:1 ;;
rm*|"image rm") echo "$*" >>"$STATE/removed" ;;
esac
`

// withStore returns that engine, a cache folder with the named files in it, and
// what the engine was told.
func withStore(t *testing.T, files ...string) (eng *engine.Engine, cache string, removed func() string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(storeEngine), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	t.Setenv("STATE", dir)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	eng, err := engine.Detect(t.Context(), engine.Options{Engine: engine.Docker})
	if err != nil {
		t.Fatal(err)
	}
	if cache, err = cacheDir(); err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		path := filepath.Join(cache, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return eng, cache, func() string {
		raw, err := os.ReadFile(filepath.Join(dir, "removed"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return string(raw)
	}
}

func TestRemove(t *testing.T) {
	eng, cache, removed := withStore(t, "tools-1/istioctl", "work/bin/envoy", "home/.kube/cache/x", "containers.conf", "images-7.log",
		"a.kubeconfig", "a.kubeconfig.lock", "a.lock", "a.lab-2.lock", "in-use")
	owner, err := state.HoldCluster(t.Context(), "a", 1, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	if err := Remove(t.Context(), eng, t.Logf); err != nil {
		t.Fatal(err)
	}
	if got, want := removed(), "rm -f -v twohop-build-node\nimage rm localhost/twohop/node:1 localhost/twohop/pilot:1\n"; got != want {
		t.Errorf("the engine was told %q, want %q", got, want)
	}
	entries, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	// A lock that is removed under its holder lets a second one in.
	if want := []string{"a.kubeconfig", "a.lab-2.lock", "a.lock", "in-use", "lock"}; !slices.Equal(left, want) {
		t.Errorf("left %v, want %v", left, want)
	}
	var held *state.HeldError
	if _, err := state.Try(filepath.Join(cache, "a.lock"), state.Exclusive); !errors.As(err, &held) {
		t.Errorf("the cluster is no longer held: %v", err)
	}
	if err := Remove(t.Context(), eng, t.Logf); err != nil {
		t.Errorf("with nothing there: %v", err)
	}
}

// A build's programs are not removed under it.
func TestRemoveWaitsForABuild(t *testing.T) {
	eng, cache, removed := withStore(t, "work/bin/envoy")
	build, err := state.HoldBuild(t.Context(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	said := ""
	err = Remove(ctx, eng, func(format string, _ ...any) { said = format; cancel() })
	if !errors.Is(err, context.Canceled) || !strings.Contains(said, "waiting") {
		t.Errorf("%v, said %q", err, said)
	}
	if !fileExists(filepath.Join(cache, "work/bin/envoy")) || removed() != "" {
		t.Errorf("something was removed under a build: %q", removed())
	}
	if err := build.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Remove(t.Context(), eng, t.Logf); err != nil || fileExists(filepath.Join(cache, "work")) {
		t.Errorf("after the build: %v", err)
	}
}

// One image that cannot be removed is no reason to leave the rest.
func TestRemoveGoesOn(t *testing.T) {
	eng, cache, _ := withStore(t, "tools-1/istioctl")
	dir := os.Getenv("PATH")
	script := strings.Replace(storeEngine, `"image rm") echo`, `"image rm") echo "in use" >&2; exit 1; echo`, 1)
	script = strings.Replace(script, `rm*|"image`, `"image`, 1)
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Remove(t.Context(), eng, t.Logf); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v", err)
	}
	if fileExists(filepath.Join(cache, "tools-1")) {
		t.Error("the host programs stayed")
	}
}
