package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"twohop/internal/kube"
	"twohop/internal/state"
)

// apiServer answers for one ConfigMap, the mark of a cluster; nil is none. It
// writes the cluster's kubeconfig.
func apiServer(t *testing.T, name string, mark map[string]string) (now func() map[string]string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		object := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": markName, "namespace": "kube-system"}, "data": mark}
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/version":
			_, _ = io.WriteString(w, `{"gitVersion":"v1.36.1"}`)
			return
		case r.Method == http.MethodPut || r.Method == http.MethodPost:
			raw, err := io.ReadAll(r.Body)
			sent := &corev1.ConfigMap{}
			if err == nil { // protobuf, unless it is asked otherwise
				_, _, err = scheme.Codecs.UniversalDeserializer().Decode(raw, nil, sent)
			}
			if err != nil {
				t.Errorf("%s %s: %v", r.Method, r.URL, err)
			}
			mark = sent.Data
			object["data"] = mark
		case mark == nil || !strings.HasSuffix(r.URL.Path, "/kube-system/configmaps/"+markName):
			w.WriteHeader(http.StatusNotFound)
			object = map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
		}
		_ = json.NewEncoder(w).Encode(object)
	}))
	t.Cleanup(server.Close)
	path, err := state.Kubeconfig(name)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: t}}]\ncurrent-context: c\n", server.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() map[string]string { return mark }
}

func TestKept(t *testing.T) {
	for name, tt := range map[string]struct {
		mark map[string]string
		want bool
	}{
		"left up on purpose":             {map[string]string{"fingerprint": "f", "kept": "true"}, true},
		"left by a killed run":           {map[string]string{"fingerprint": "f"}, false},
		"its creation was interrupted":   {nil, false},
		"by a version before the mark's": {map[string]string{"fingerprint": "f", "kept": ""}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_CACHE_HOME", t.TempDir())
			if kept, err := Kept(t.Context(), "a"); kept || err != nil {
				t.Errorf("without a cluster: %v, %v", kept, err)
			}
			apiServer(t, "a", tt.mark)
			if kept, err := Kept(t.Context(), "a"); kept != tt.want || err != nil {
				t.Errorf("kept is %v, want %v (%v)", kept, tt.want, err)
			}
			if kept, err := Kept(t.Context(), "b"); kept || err != nil {
				t.Errorf("another cluster: %v, %v", kept, err)
			}
		})
	}
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	if _, err := Kept(t.Context(), "a"); err == nil {
		t.Error("without a folder to look in, it is known what was kept")
	}
}

// What Up writes is what Kept reads.
func TestMarks(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for _, keep := range []bool{true, false} {
		now := apiServer(t, "a", nil)
		kubeconfig, err := state.Kubeconfig("a")
		if err != nil {
			t.Fatal(err)
		}
		c := &Cluster{Kubeconfig: kubeconfig}
		if c.Kube, err = kube.New(kubeconfig); err != nil {
			t.Fatal(err)
		}
		if err := c.seal(t.Context(), "print", keep); err != nil {
			t.Fatal(err)
		}
		if kept, err := Kept(t.Context(), "a"); kept != keep || err != nil {
			t.Errorf("sealed with keep=%v: kept is %v (%v); the mark is %v", keep, kept, err, now())
		}
		if why := c.mismatch(t.Context(), "print"); why != "" {
			t.Errorf("keep=%v: %s", keep, why)
		}
		if why := c.mismatch(t.Context(), "other"); !strings.Contains(why, "differ") {
			t.Errorf("another fingerprint: %q", why)
		}
		// A later run with KEEP=1 takes what is there, and keeps it from then on.
		if err := c.markKept(t.Context()); err != nil {
			t.Fatal(err)
		}
		if kept, _ := Kept(t.Context(), "a"); !kept || now()["fingerprint"] != "print" {
			t.Errorf("marked as kept, it is %v: %v", kept, now())
		}
	}
}

// fakePodman is a podman with one kind cluster, "a", until it is removed. It
// writes down what it was told.
const fakePodman = `#!/bin/sh
echo "$*" >>"$STATE/told"
case "$1" in
version|--version) echo "podman version 5.0.0" ;;
ps) [ ! -e "$STATE/gone" ] || exit 0
	case "$*" in *label=io.x-k8s.kind.cluster=*|*.Names*) echo a-control-plane ;; *) echo a ;; esac ;;
rm) : >"$STATE/gone" ;;
network) exit 1 ;;
esac
`

func TestDownLeavesGuestsTheirCluster(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "podman"), []byte(fakePodman), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("STATE", dir)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	apiServer(t, "a", map[string]string{"fingerprint": "f"})
	kubeconfig, err := state.Kubeconfig("a")
	if err != nil {
		t.Fatal(err)
	}
	there := func() bool {
		_, err := os.Stat(kubeconfig)
		_, gone := os.Stat(filepath.Join(dir, "gone"))
		return err == nil && gone != nil
	}

	guest, err := state.HoldLab(t.Context(), "a", 2, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	var guests *state.GuestsError
	if err := Down(t.Context(), "a", "podman", io.Discard); !errors.As(err, &guests) || !strings.Contains(err.Error(), "lab 2") {
		t.Errorf("with a guest in it: %v", err)
	}
	// Nor does a run take it away that needs another one of that name.
	if _, err := Up(t.Context(), config(t, minimal).named("a"), false, dir, io.Discard, func(string) {}); !errors.As(err, &guests) {
		t.Errorf("Up, with a guest in it: %v", err)
	}
	if !there() {
		t.Fatal("the cluster was removed under its guest")
	}
	// Whoever waits for a cluster that is not there is no guest of it.
	waits, err := state.HoldLab(t.Context(), "b", 2, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	if err := Down(t.Context(), "b", "podman", io.Discard); err != nil {
		t.Errorf("a cluster that is not there: %v", err)
	}
	if err := errors.Join(guest.Close(), waits.Close()); err != nil {
		t.Fatal(err)
	}
	if err := Down(t.Context(), "a", "podman", io.Discard); err != nil || there() {
		told, _ := os.ReadFile(filepath.Join(dir, "told"))
		t.Errorf("with the guest gone: %v, still there: %v; podman was told:\n%s", err, there(), told)
	}
}

func (c Config) named(name string) Config {
	c.Name = name
	return c
}

// A stand-in for istioctl writes its cache where the real one does.
func TestIstioctlLeavesTheUsersHomeAlone(t *testing.T) {
	home, program := t.TempDir(), filepath.Join(t.TempDir(), "istioctl")
	script := "#!/bin/sh\nmkdir -p \"$HOME/.kube/cache/discovery\" && echo \"$HOME $*\"\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	t.Setenv("XDG_CACHE_HOME", "")
	cmd, err := Istio{Istioctl: program}.installCommand(t.Context(), "/kube config")
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err, string(err.(*exec.ExitError).Stderr))
	}
	dir, err := state.Dir()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(out), dir+"/") || !strings.Contains(string(out), "install --skip-confirmation --kubeconfig /kube config ") {
		t.Errorf("istioctl ran with %q", out)
	}
	if _, err := os.Stat(filepath.Join(home, ".kube")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it left %s/.kube behind: %v", home, err)
	}
}
