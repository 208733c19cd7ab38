package livesource

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"twohop/internal/walk"
)

// TestCluster reads a cluster with the lab, where there is one:
// TWOHOP_LAB_KUBECONFIG=$(bin/twohop kubeconfig) go test -run TestCluster -v .
func TestCluster(t *testing.T) {
	kubeconfig := os.Getenv("TWOHOP_LAB_KUBECONFIG")
	if kubeconfig == "" {
		t.Skip("TWOHOP_LAB_KUBECONFIG names no cluster")
	}
	source, err := Open(kubeconfig, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	s := gather(t, source, Options{})
	t.Logf("%d objects, %d proxies in %v, as %s\n%s", len(s.Objects.All), len(s.Proxies), time.Since(begin).Round(time.Millisecond), s.User, strings.Join(s.Asked, "\n"))
	t.Logf("settings %+v", s.Settings)
	if got := missing(s); got != "" {
		t.Errorf("missing:\n%s", got)
	}
	for _, p := range s.Proxies {
		t.Logf("%s: %+v\n%v %v", p, p.Info, p.Stats, p.Notes)
		if !p.Sync.Compared || len(p.Sync.Differences) > 0 || len(p.Sync.Unacknowledged) > 0 {
			t.Errorf("%s is not in sync: %+v", p, p.Sync)
		}
		raw, err := p.Envoy.JSON()
		if err == nil {
			_, err = walk.Parse(raw)
		}
		if err != nil || len(p.Istiod) != 1 {
			t.Errorf("%s: %v, %d views of istiod", p, err, len(p.Istiod))
		}
	}
	if len(s.Proxies) < 2 || len(s.Accounts) == 0 {
		t.Errorf("%d proxies, accounts %+v", len(s.Proxies), s.Accounts)
	}
	for _, a := range s.Accounts {
		t.Logf("%+v", a)
	}
	dir := filepath.Join(t.TempDir(), "snapshot")
	if err := s.Save(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err != nil {
		t.Error(err)
	}
	env, err := ExportEnv(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", env)
}
