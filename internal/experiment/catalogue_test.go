package experiment_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"twohop/internal/claim"
	"twohop/suites"
)

// No claim's script applies a key that is left out, an address of the run's
// cluster, or a wait for nothing; and a POSIX shell reads them all.
func TestEveryClaimHasAScript(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for _, c := range claim.All() {
		d, err := suites.ByID(c.ID)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := d.OnPaper()
		if err != nil {
			t.Errorf("%s: %v", c.ID, err)
			continue
		}
		_, steps, _ := strings.Cut(string(raw), "\naddress=")
		for _, never := range []string{"bGVmdCBvdXQ6", "LS0tLS1CRUdJTi", "10.96.0.9", "10.244.0.9", "# The run waited", "has  as", "has '"} { // base64 of "left out:" and "-----BEGIN"
			if strings.Contains(steps, never) {
				t.Errorf("%s: the script holds %q", c.ID, never)
			}
		}
		file := filepath.Join(dir, string(c.ID)+".sh")
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if raw, err := exec.Command("sh", "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", c.ID, err, raw)
		}
		files = append(files, file)
	}
	if len(files) < 90 {
		t.Errorf("%d scripts", len(files))
	}
}
