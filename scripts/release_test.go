package scripts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// release.sh refuses what it cannot build before it compiles or removes anything.
// packaging has the test of what it builds.
func TestReleaseUsage(t *testing.T) {
	out := t.TempDir()
	kept := filepath.Join(out, "kept")
	if err := os.WriteFile(kept, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		env  []string
		args []string
		says string
	}{
		"argument": {nil, []string{"--all"}, "unknown argument --all"},
		"no value": {nil, []string{"--out"}, "--out needs a value"},
		"platform": {[]string{"PLATFORMS=linux/amd64 plan9/arm"}, []string{"--out", out}, "plan9/arm is none of"},
		"line":     {[]string{"ISTIO_LINES=1.31 0.8"}, []string{"--out", out}, "no images/istio-0.8"},
		"version":  {[]string{"VERSION=1.2"}, []string{"--out", out}, "as krew demands"},
	} {
		t.Run(name, func(t *testing.T) {
			code, said := script(t, "release.sh", tt.env, tt.args...)
			if code != 2 || !strings.Contains(said, tt.says) {
				t.Errorf("exit %d, want 2 and %q\n%s", code, tt.says, said)
			}
			if _, err := os.Stat(kept); err != nil {
				t.Error(err)
			}
		})
	}
	if code, said := script(t, "release.sh", nil, "--help"); code != 0 || !strings.Contains(said, "SHA256SUMS") {
		t.Errorf("exit %d\n%s", code, said)
	}
}
