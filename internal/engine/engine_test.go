package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	liveDocker = `case "$1" in --version) echo "Docker version 27.1" ;; version) echo 27.1.0 ;; esac`
	deadDocker = `case "$1" in --version) echo "Docker version 27.1" ;; *) echo "Cannot connect to the Docker daemon" >&2; exit 1 ;; esac`
	podmanAPI  = `case "$1" in --version) echo "Docker version 27.1" ;; version) echo "4.3.1 Podman Engine Conmon OCI Runtime (runc) Engine" ;; esac`
	podmanShim = `echo "podman version 5.0.0"`
	livePodman = `case "$1" in version) echo 4.3.1 ;; info) echo '{"host":{"cgroupVersion":"v2","cgroupManager":"systemd","eventLogger":"journald","ociRuntime":{"name":"crun"},"security":{"rootless":true}}}' ;; esac`
	deadPodman = `echo "cannot re-exec process" >&2; exit 125`
)

// fake puts programs of these scripts on a PATH of their own.
func fake(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("CONTAINERS_CONF", "")
	old := modulesDir
	modulesDir = filepath.Join(t.TempDir(), "modules")
	t.Cleanup(func() { modulesDir = old })
}

func TestDetectChoosesAnEngine(t *testing.T) {
	for name, tc := range map[string]struct {
		programs map[string]string
		engine   string
		want     string // engine and version
		wantErr  string
	}{
		"docker before podman":       {map[string]string{"docker": liveDocker, "podman": livePodman}, "", "docker 27.1.0", ""},
		"podman if asked for":        {map[string]string{"docker": liveDocker, "podman": livePodman}, "podman", "podman 4.3.1", ""},
		"podman if docker is silent": {map[string]string{"docker": deadDocker, "podman": livePodman}, "", "podman 4.3.1", ""},
		"podman under docker's name": {map[string]string{"docker": podmanShim, "podman": livePodman}, "", "podman 4.3.1", ""},
		"podman behind docker's API": {map[string]string{"docker": podmanAPI, "podman": livePodman}, "", "podman 4.3.1", ""},
		"the same, if asked for":     {map[string]string{"docker": podmanAPI, "podman": livePodman}, "docker", "docker 4.3.1", ""},
		"the same, without podman":   {map[string]string{"docker": podmanAPI}, "", "docker 4.3.1", ""},
		"docker forced, but silent":  {map[string]string{"docker": deadDocker, "podman": livePodman}, "docker", "", "Cannot connect to the Docker daemon"},
		"nothing":                    {nil, "", "", "no docker command on PATH; no podman command on PATH"},
		"neither runs":               {map[string]string{"docker": deadDocker, "podman": deadPodman}, "", "", "cannot re-exec process"},
		"not an engine":              {nil, "lxc", "", `ENGINE="lxc" is not an engine`},
	} {
		t.Run(name, func(t *testing.T) {
			fake(t, tc.programs)
			e, err := Detect(context.Background(), Options{Engine: tc.engine, NoInstall: true})
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v, want one that says %q", err, tc.wantErr)
				}
				var usage *UsageError
				var environment *EnvironmentError
				if !errors.As(err, &usage) && !errors.As(err, &environment) {
					t.Fatalf("error is a %T, which has no exit code", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := e.Name + " " + e.Version; got != tc.want {
				t.Errorf("engine %q, want %q", got, tc.want)
			}
		})
	}
}

func TestNoInstallSaysWhatToInstall(t *testing.T) {
	fake(t, nil)
	_, err := Detect(context.Background(), Options{NoInstall: true})
	for _, want := range []string{"NO_INSTALL", "podman runc"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

func TestSilentMirrorEndsApt(t *testing.T) {
	if os.Geteuid() != 0 || !debianLike() {
		t.Skip("Install runs apt as root on Debian only")
	}
	fake(t, map[string]string{"apt-get": `while :; do echo "Ign:1 http://x bookworm/main amd64 y"; echo "  Connection failed [IP: 127.0.0.1 1]"; done`})
	done := make(chan error, 1)
	go func() { done <- Install(context.Background(), Options{}, "y is not there", "y") }()
	select {
	case err := <-done:
		var environment *EnvironmentError
		if !errors.As(err, &environment) || !strings.Contains(err.Error(), "Connection failed") || !strings.Contains(err.Error(), "the Debian mirror answers") {
			t.Errorf("error %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("apt went on for ever")
	}
}

func TestOutputCarriesStandardError(t *testing.T) {
	fake(t, map[string]string{"docker": `case "$1" in --version) ;; version) echo 1 ;; *) echo "no such thing" >&2; exit 7 ;; esac`})
	e, err := Detect(context.Background(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = e.Output(context.Background(), "inspect", "x"); err == nil || !strings.Contains(err.Error(), "docker inspect x: exit status 7: no such thing") {
		t.Errorf("error %v", err)
	}
}

func TestEndOfContextReachesChildren(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := Process(ctx, "/bin/sh", "-c", "sleep 60 & wait")
	// The child holds this pipe, so Wait returns only when it is gone too.
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	cancel()
	if err := cmd.Wait(); err == nil {
		t.Error("a cancelled command reports success")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s to end: the child was not told", took)
	}
}

func TestFitIsUndoneByRemoveTraces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes /lib/modules")
	}
	fake(t, map[string]string{"podman": livePodman})
	if _, err := Detect(context.Background(), Options{Engine: Podman}); err != nil {
		t.Fatal(err)
	}
	if !exists(modulesDir) {
		t.Fatal("the folder that kind mounts was not made")
	}
	if err := RemoveTraces(); err != nil {
		t.Fatal(err)
	}
	if exists(modulesDir) {
		t.Error("the folder that we made is still there")
	}
}
