// Package state is what Twohop keeps on this machine between runs: one folder
// in the user's cache, and the locks in it. It knows files only; it must not
// import anything of the project.
package state

import (
	"fmt"
	"os"
	"path/filepath"
)

// Dir is the folder, made if need be.
func Dir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for state (set HOME or XDG_CACHE_HOME): %w", err)
	}
	dir := filepath.Join(cache, "twohop")
	return dir, os.MkdirAll(dir, 0o755)
}

// ToolEnv is the environment for istioctl and kubectl: their discovery caches
// go into our folder instead of ~/.kube/cache. kubectl honours KUBECACHEDIR;
// istioctl 1.30 and 1.31 do not, and look below HOME (pkg/kube/client_factory.go).
func ToolEnv() ([]string, error) {
	dir, err := Dir()
	if err != nil {
		return nil, err
	}
	home := filepath.Join(dir, "home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, err
	}
	return append(os.Environ(), "HOME="+home, "KUBECACHEDIR="+filepath.Join(home, ".kube", "cache")), nil
}
