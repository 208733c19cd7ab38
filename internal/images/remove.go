package images

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"twohop/internal/engine"
	"twohop/internal/state"
)

// Remove removes all that Ensure and engine.Detect left: images, host
// programs, notes. It waits for a build that is under way. Locks stay, since
// somebody may hold them (state.Hold.Remove), and so do kubeconfigs of clusters
// that are up, Go's own caches and installed packages.
func Remove(ctx context.Context, eng *engine.Engine, say func(format string, args ...any)) error {
	lock, err := state.HoldBuild(ctx, say)
	if err != nil {
		return err
	}
	return errors.Join(removeBuildContainers(ctx, eng), removeImages(ctx, eng), engine.RemoveTraces(), removeCache(), lock.Close())
}

func removeImages(ctx context.Context, eng *engine.Engine) error {
	out, err := eng.Output(ctx, "images", "--format", "{{.Repository}}:{{.Tag}}")
	if err != nil {
		return err
	}
	var ours []string
	for _, ref := range strings.Fields(string(out)) {
		if strings.HasPrefix(ref, prefix) {
			ours = append(ours, ref)
		}
	}
	if len(ours) == 0 {
		return nil
	}
	_, err = eng.Output(ctx, append([]string{"image", "rm"}, ours...)...)
	return err
}

// removeCache empties the cache folder, but for what belongs to clusters.
func removeCache() error {
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(cache)
	errs := []error{err}
	for _, e := range entries {
		if state.IsLock(e.Name()) || strings.HasSuffix(e.Name(), ".kubeconfig") {
			continue
		}
		errs = append(errs, os.RemoveAll(filepath.Join(cache, e.Name())))
	}
	return errors.Join(errs...)
}

// removeBuildContainers removes what a build that was killed left running.
func removeBuildContainers(ctx context.Context, eng *engine.Engine) error {
	out, err := eng.Output(ctx, "ps", "-a", "--format", "{{.Names}}")
	errs := []error{err}
	for _, name := range strings.Fields(string(out)) {
		if strings.HasPrefix(name, containerPrefix) {
			errs = append(errs, removeContainer(ctx, eng, name))
		}
	}
	return errors.Join(errs...)
}

// removeContainer kills a container and removes it with its volumes. What runs
// in a build container has nothing to say goodbye to.
func removeContainer(ctx context.Context, eng *engine.Engine, name string) error {
	args := []string{"rm", "-f", "-v"}
	if eng.Name == engine.Podman {
		args = append(args, "--time", "0") // docker does not wait either
	}
	_, err := eng.Output(ctx, append(args, name)...)
	return err
}
