package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"twohop/internal/claim"
	"twohop/internal/state"
	"twohop/internal/verdict"
)

// fakeDocker has the kind clusters that are files in $STATE, and no images.
const fakeDocker = `#!/bin/sh
case "$1 $2" in
version*|--version*) echo 27.1.0 ;;
"ps -a") case "$*" in
	*label=io.x-k8s.kind.cluster=*) for c in "$STATE"/cluster-*; do [ -e "$c" ] || continue; case "$*" in *"=${c##*-} "*) echo "${c##*-}-control-plane" ;; esac; done ;;
	*label=*) for c in "$STATE"/cluster-*; do [ ! -e "$c" ] || echo "${c##*-}"; done ;;
	esac ;;
rm*) for a in "$@"; do rm -f "$STATE/cluster-${a%-control-plane}"; done ;;
network*) exit 1 ;;
esac
`

// withClusters makes a machine with that docker, and the clusters a and b.
func withClusters(t *testing.T) (cache string, up func() string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(fakeDocker), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("STATE", dir)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for _, name := range []string{"CONTAINERS_CONF", "KIND_EXPERIMENTAL_PROVIDER", "CLUSTER", "KEEP"} {
		t.Setenv(name, "")
	}
	t.Setenv("ENGINE", "docker")
	cache, err := state.Dir()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		for _, path := range []string{filepath.Join(dir, "cluster-"+name), filepath.Join(cache, name+".kubeconfig")} {
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return cache, func() string {
		left, err := filepath.Glob(filepath.Join(dir, "cluster-*"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range left {
			left[i] = strings.TrimPrefix(filepath.Base(left[i]), "cluster-")
		}
		return strings.Join(left, " ")
	}
}

// hold is what somebody else's run does.
func hold(t *testing.T, h state.Hold, err error) (release func()) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDownAndCleanLeaveOthersAlone(t *testing.T) {
	cache, up := withClusters(t)
	refuses := func(command string, says ...string) {
		t.Helper()
		code, _, stderr := run(strings.Fields(command)...)
		for _, text := range says {
			if code != exitEnvironment || !strings.Contains(stderr, text) {
				t.Errorf("%s: exit code %d, %q; want %d and %q", command, code, stderr, exitEnvironment, text)
			}
		}
		if up() != "a b" {
			t.Fatalf("%s: clusters left: %q", command, up())
		}
	}
	me := fmt.Sprintf("held by process %d (", os.Getpid())

	guest, err := state.HoldLab(t.Context(), "b", 2, t.Logf)
	release := hold(t, guest, err)
	refuses("down --cluster b", `the cluster "b" stays up while guests are in it: lab 2 of the cluster "b", `+me)
	refuses("clean --cluster a", `lab 2 of the cluster "b", `+me)
	release()

	owner, err := state.HoldCluster(t.Context(), "b", 1, t.Logf)
	release = hold(t, owner, err)
	refuses("clean --cluster a", `the cluster "b", `+me)
	release()

	if code, out, stderr := run("down", "--cluster", "b"); code != exitOK || up() != "a" || !strings.Contains(out, `the cluster "b" is removed`) {
		t.Errorf("down: %d, %q, %q; left %q", code, out, stderr, up())
	}
	if code, out, stderr := run("clean", "--cluster", "other"); code != exitOK || up() != "" || !strings.Contains(out, `the cluster "a" is removed`) {
		t.Errorf("clean: %d, %q, %q; left %q", code, out, stderr, up())
	}
	if _, err := os.Stat(cache); !errors.Is(err, os.ErrNotExist) {
		entries, _ := os.ReadDir(cache)
		t.Errorf("clean left %v in the cache folder (%v)", entries, err)
	}
}

// down waits for another owner, and says for whom.
func TestDownWaitsForAnOwner(t *testing.T) {
	_, up := withClusters(t)
	owner, err := state.HoldCluster(t.Context(), "a", 1, t.Logf)
	release := hold(t, owner, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var out, errs bytes.Buffer
	if code := execute(ctx, []string{"down", "--cluster", "a"}, &out, &errs); code != exitInterrupted || up() != "a b" {
		t.Errorf("exit code %d, clusters %q: %s", code, up(), errs.String())
	}
	if want := `another run is using the cluster "a" (process `; !strings.Contains(out.String(), want) {
		t.Errorf("%q does not say %q", out.String(), want)
	}
	release()
}

// At the end of an owner's run the cluster waits for its guests, unless the run
// was interrupted.
func TestTakeDownWaitsForGuests(t *testing.T) {
	guests := &state.GuestsError{Cluster: "a", Guests: []string{"lab 2"}}
	for name, tt := range map[string]struct {
		interrupted bool
		calls       int
		wantErr     bool
	}{
		"guests that end": {false, 2, false},
		"interrupted":     {true, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.interrupted {
				cancel()
			}
			calls := 0
			err := (&runner{live: &live{}, p: newPrinter(&out)}).takeDown(ctx, func() error {
				if calls++; calls == 1 {
					return guests
				}
				return nil
			})
			if calls != tt.calls || (err != nil) != tt.wantErr {
				t.Errorf("%d calls, %v", calls, err)
			}
			if says := strings.Contains(out.String(), "lab 2; waiting for them to end"); says == tt.interrupted {
				t.Errorf("said %q", out.String())
			}
		})
	}
	other := errors.New("no podman")
	if err := (&runner{live: &live{}, p: newPrinter(&bytes.Buffer{})}).takeDown(t.Context(), func() error { return other }); !errors.Is(err, other) {
		t.Errorf("%v", err)
	}
}

// A run that is told nothing keeps what was kept, says so, and writes it down.
func TestForgottenKeep(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"twohop"},"data":{"kept":"true"}}`)
	}))
	defer server.Close()
	cache, _ := withClusters(t)
	kubeconfig := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: t}}]\ncurrent-context: c\n", server.URL)
	if err := os.WriteFile(filepath.Join(cache, "a.kubeconfig"), []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		live live
		want bool // keep
		note bool
	}{
		"KEEP left out":      {live{cluster: "a"}, true, true},
		"KEEP=1":             {live{cluster: "a", keep: true}, true, false},
		"KEEP=0":             {live{cluster: "a", noKeep: true}, false, false},
		"a guest":            {live{cluster: "a", lab: 2}, false, false},
		"another cluster":    {live{cluster: "c"}, false, false},
		"b was never marked": {live{cluster: "b"}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			folder, err := verdict.Create(t.TempDir(), verdict.Run{}, claim.All()[:1])
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			r := &runner{live: &tt.live, p: newPrinter(&out), folder: folder}
			if err := r.takeKept(t.Context()); err != nil || r.keep != tt.want {
				t.Errorf("keep is %v, want %v (%v)", r.keep, tt.want, err)
			}
			v, err := folder.Verdict()
			if err != nil {
				t.Fatal(err)
			}
			const says = "cluster a was kept by an earlier run; it stays up, `make down` removes it"
			if strings.Contains(out.String(), says) != tt.note || strings.Contains(strings.Join(v.Run.Notes, "\n"), says) != tt.note {
				t.Errorf("said %q, noted %q", out.String(), v.Run.Notes)
			}
		})
	}
}

func TestKeepFlag(t *testing.T) {
	for name, tt := range map[string]struct {
		env          string
		args         []string
		keep, noKeep bool
	}{
		"left out":               {"", nil, false, false},
		"KEEP=1":                 {"1", nil, true, false},
		"KEEP=0":                 {"0", nil, false, true},
		"--keep":                 {"0", []string{"--keep"}, true, false},
		"--keep=false":           {"", []string{"--keep=false"}, false, true},
		"--keep=false over KEEP": {"1", []string{"--keep=false"}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KEEP", tt.env)
			var l live
			cmd := newRunCmd()
			cmd.ResetFlags()
			read := l.keepFlag(cmd)
			if err := cmd.ParseFlags(tt.args); err != nil {
				t.Fatal(err)
			}
			if read(); l.keep != tt.keep || l.noKeep != tt.noKeep {
				t.Errorf("keep %v, no keep %v", l.keep, l.noKeep)
			}
		})
	}
}
