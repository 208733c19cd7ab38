package live

import (
	"os"
	"path/filepath"
	"testing"
)

// istioctl's discovery cache goes into our folder, not below the user's HOME.
func TestIstioctlKeepsItsCacheInOurFolder(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", "/nowhere")
	istioctl := filepath.Join(t.TempDir(), "istioctl")
	if err := os.WriteFile(istioctl, []byte("#!/bin/sh\nprintf '%s %s' \"$HOME\" \"$*\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := runIstioctl(t.Context(), istioctl, "config", "analyze")
	if want := filepath.Join(cache, "twohop", "home") + " --kubeconfig config analyze"; err != nil || string(out) != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
}
