package suites_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"twohop/internal/claim"
	"twohop/internal/runconfig"
	"twohop/internal/state"
	"twohop/internal/verdict"
)

// dockerWithA has one kind cluster, a. What would remove it fails.
const dockerWithA = `#!/bin/sh
case "$1 $2" in
version*|--version*) echo 27.1.0 ;;
"ps -a") echo a ;;
*) exit 1 ;;
esac
`

// A guest in the cluster is no failure of the suite, whose run was judged: it
// says who the guest is, and leaves the rest to its parent.
func TestTakeDownLeavesGuestsAlone(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(dockerWithA), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	guest, err := state.HoldLab(t.Context(), "a", 2, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	folder, err := verdict.Create(t.TempDir(), verdict.Run{}, claim.All()[:1])
	if err != nil {
		t.Fatal(err)
	}
	failed := ""
	RegisterFailHandler(func(message string, _ ...int) { failed = message })
	r := &runner{config: runconfig.Config{ClusterName: "a", Engine: "docker"}, folder: folder}
	r.takeDown(t.Context())
	if failed != "" {
		t.Errorf("the suite failed: %s", failed)
	}
	said, err := os.ReadFile(filepath.Join(folder.Dir, runconfig.ProgressFile))
	if want := `the cluster "a" stays up while guests are in it: lab 2 of the cluster "a", held by process `; err != nil || !strings.Contains(string(said), want) {
		t.Errorf("it said %q (%v), not %q", said, err, want)
	}
}
