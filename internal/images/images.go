// Package images makes every image and host program that a run needs, in one
// of two lanes: official (pulled from a container registry) or source (built
// from Go modules, one Python wheel and Debian packages). Either way the
// result is one node image that holds all the others, so that starting a
// cluster fetches nothing. It knows image names, build inputs and their
// hashes; it must not know kind, Istio's API or Kubernetes' API.
package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"twohop/internal/engine"
)

// The lanes. Auto is a wish, never a result.
const (
	Auto     = "auto"
	Official = "official"
	Source   = "source"
)

// Set is what a run uses. Image names are as the cluster knows them; all of
// them are in Node already.
type Set struct {
	Lane  string // official or source
	Node  string // the kind node image, with every other image preloaded
	Istio struct {
		Hub      string // pilot is Hub/pilot:Tag, the proxy Hub/proxyv2:Tag
		Tag      string
		Version  string // a release ("1.30.0") or a release line ("1.31")
		Revision string // the Go module's version (source), or empty
	}
	KubernetesVersion string // "v1.36.1"
	EnvoyVersion      string // as built in (source); empty where the proxy has to be asked
	// UpstreamEnvoy says that the proxy image holds upstream Envoy, without
	// Istio's own filters: always so in the source lane, and in the official one
	// for an image whose label twohop.upstream-envoy says so.
	UpstreamEnvoy bool
	ClientImage   string // has sh, curl
	PartnerImage  string // has nginx
	Istioctl      string // path on this machine
	Kubectl       string // path on this machine
	// Digests maps each image's name to its digest, and "envoy" to the
	// SHA-256 of the program in the source lane.
	Digests map[string]string
}

// Options of Ensure.
type Options struct {
	Lane         string // auto, official or source; empty is auto
	IstioVersion string // empty: the lane's own of versions.env
	K8sVersion   string // empty: the pinned one of versions.env
	// Registry stands in for the registry of every official name
	// ("127.0.0.1:5000"). Loopback is spoken to in plain HTTP.
	Registry  string
	Root      string // the repository; empty: found from the working directory upwards
	NoInstall bool   // never install a package
	// LogFile gets the full output of every command; empty: none is kept.
	LogFile string
	// Log gets one line for each thing worth saying.
	Log func(format string, args ...any)
	// Live is a terminal that shows the state of a long build in one line,
	// rewritten each second. Nil: Log gets a line every 15 seconds instead.
	Live *os.File
}

// Ensure returns a complete set, building or pulling only what is not there.
// With everything there it takes well under a second. When ctx ends it stops
// its children and removes its containers and temporary folders. Errors are
// *engine.UsageError, *engine.EnvironmentError or ctx's own.
func Ensure(ctx context.Context, eng *engine.Engine, o Options) (*Set, error) {
	s, err := newSession(eng, o)
	if err != nil {
		return nil, err
	}
	defer s.close()
	set, err := s.ensure(ctx)
	if err != nil {
		s.journal.logf("images: failed: %v", err)
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, classify(err)
	}
	return set, nil
}

func (s *session) ensure(ctx context.Context) (*Set, error) {
	lane, why, err := chooseLane(ctx, s.o.Lane, s.o.Registry, registryAnswers)
	if err != nil {
		return nil, err
	}
	s.say("images: %s lane (%s)", lane, why)
	if lane == Official {
		return s.official(ctx)
	}
	return s.source(ctx)
}

// prefix is what every image of ours on the host is named under.
const prefix = "localhost/twohop/"

// containerPrefix is what every build container of ours is named under.
const containerPrefix = "twohop-build-"

// Remove removes all that Ensure and engine.Detect left: images, host
// programs, notes. It does not touch Go's own caches or installed packages.
func Remove(ctx context.Context, eng *engine.Engine) error {
	var errs []error
	if out, err := eng.Output(ctx, "ps", "-a", "--format", "{{.Names}}"); err != nil {
		errs = append(errs, err)
	} else {
		for _, name := range strings.Fields(string(out)) {
			if strings.HasPrefix(name, containerPrefix) {
				errs = append(errs, removeContainer(ctx, eng, name))
			}
		}
	}
	out, err := eng.Output(ctx, "images", "--format", "{{.Repository}}:{{.Tag}}")
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	var ours []string
	for _, ref := range strings.Fields(string(out)) {
		if strings.HasPrefix(ref, prefix) {
			ours = append(ours, ref)
		}
	}
	if len(ours) > 0 {
		_, err := eng.Output(ctx, append([]string{"image", "rm"}, ours...)...)
		errs = append(errs, err)
	}
	errs = append(errs, engine.RemoveTraces())
	cache, err := cacheDir()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, os.RemoveAll(cache))...)
}

// session is one call of Ensure.
type session struct {
	o        Options
	eng      *engine.Engine
	versions Versions
	root     string // the repository
	cache    string // host programs, by hash
	work     string // removed at the end
	lock     *os.File
	journal  *journal
}

func newSession(eng *engine.Engine, o Options) (*session, error) {
	root, err := findRoot(o.Root)
	if err != nil {
		return nil, err
	}
	versions, err := ReadVersions(filepath.Join(root, "versions.env"))
	if err != nil {
		return nil, err
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, &engine.EnvironmentError{What: "cannot make the cache folder " + cache, Do: "make room there or set XDG_CACHE_HOME", Err: err}
	}
	j, err := newJournal(o)
	if err != nil {
		return nil, err
	}
	return &session{o: o, eng: eng, versions: versions, root: root, cache: cache, journal: j}, nil
}

func (s *session) say(format string, args ...any) { s.journal.say(format, args...) }

func (s *session) close() {
	if s.work != "" {
		_ = os.RemoveAll(s.work)
	}
	if s.lock != nil {
		_ = s.lock.Close() // releases the lock
	}
	s.journal.close()
}

// begin is called before anything is built: one build at a time, and nothing
// left of one that was killed.
func (s *session) begin(ctx context.Context) error {
	if s.work != "" {
		return nil
	}
	lock, err := os.OpenFile(filepath.Join(s.cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	s.lock = lock
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		s.say("images: another run is building them; waiting for it")
		if err := waitLock(ctx, lock); err != nil {
			return err
		}
	}
	work := filepath.Join(s.cache, "work")
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("removing what an earlier build left: %w", err)
	}
	if out, err := s.eng.Output(ctx, "ps", "-a", "--format", "{{.Names}}"); err == nil {
		for _, name := range strings.Fields(string(out)) {
			if strings.HasPrefix(name, containerPrefix) {
				if err := removeContainer(ctx, s.eng, name); err != nil {
					return err
				}
			}
		}
	}
	s.work = work
	return os.MkdirAll(work, 0o755)
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

// ownContainer makes sure that a container of a build is gone when ctx ends,
// which also ends the command that runs it, and when the caller is done.
func (s *session) ownContainer(ctx context.Context, name string) (done func()) {
	remove := func() { _ = removeContainer(context.WithoutCancel(ctx), s.eng, name) }
	stop := context.AfterFunc(ctx, remove)
	return func() {
		stop()
		remove() // again, for a container that was made while ctx ended
	}
}

func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", &engine.EnvironmentError{What: "there is no folder for caches", Do: "set HOME or XDG_CACHE_HOME", Err: err}
	}
	return filepath.Join(dir, "twohop"), nil
}

// findRoot finds the repository: the folder that holds versions.env and images/go.mod.
func findRoot(start string) (string, error) {
	dir := start
	if dir == "" {
		wd, err := os.Getwd()
		if err != nil {
			return "", err
		}
		dir = wd
	}
	first := dir
	for {
		_, err1 := os.Stat(filepath.Join(dir, "versions.env"))
		_, err2 := os.Stat(filepath.Join(dir, "images", "go.mod"))
		if err1 == nil && err2 == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", &engine.UsageError{What: fmt.Sprintf("no folder from %s upwards holds versions.env and images/go.mod: run this inside the repository", first)}
		}
		dir = parent
	}
}
