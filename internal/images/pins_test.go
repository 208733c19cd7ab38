package images

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
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
