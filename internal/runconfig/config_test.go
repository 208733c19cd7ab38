package runconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/cluster"
	"twohop/internal/images"
)

func sample(lane string) Config {
	set := images.Set{Lane: lane, Node: "node:1", ClientImage: "client:1", PartnerImage: "partner:1", Istioctl: "/bin/istioctl", UpstreamEnvoy: lane == images.Source, FlushesFast: lane == images.Source}
	set.Istio.Hub, set.Istio.Tag, set.Istio.Version = "hub", "tag", "1.31"
	return Config{
		Images: set,
		Engine: "podman", ClusterName: "twohop", KindConfig: "/kind-config.yaml", Keep: true, Lab: 2,
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	want := sample(images.Source)
	if err := want.Save(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-saved +loaded:\n%s", diff)
	}
}

func TestLoadSaysWhichFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v does not name %s", err, path)
	}
	for _, bad := range []string{"", "{", `{"Keep": "yes"}`} {
		if err := os.WriteFile(path, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v does not name %s", bad, err, path)
		}
	}
}

// What differs between the lanes: who brings the CNI, and which Envoy it is.
func TestCluster(t *testing.T) {
	for _, tt := range []struct {
		lane   string
		source bool
	}{{images.Source, true}, {images.Official, false}} {
		want := cluster.Config{
			Name: "twohop", Engine: "podman", NodeImage: "node:1", KindConfig: "/kind-config.yaml", OwnCNI: tt.source,
			Istio: cluster.Istio{Istioctl: "/bin/istioctl", Hub: "hub", Tag: "tag", Domain: "cluster.local", UpstreamEnvoy: tt.source, FlushesFast: tt.source},
		}
		if diff := cmp.Diff(want, sample(tt.lane).Cluster()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.lane, diff)
		}
	}
	c := sample(images.Source)
	c.Domain = "corp.example"
	if got := c.Cluster().Istio.Domain; got != "corp.example" {
		t.Errorf("the domain is %q", got)
	}
}

func TestGuest(t *testing.T) {
	for lab, want := range map[int]bool{0: false, 1: false, 2: true, 3: true} {
		if got := (Config{Lab: lab}).Guest(); got != want {
			t.Errorf("lab %d is a guest: %v", lab, got)
		}
	}
}
