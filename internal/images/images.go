// Package images makes every image and host program that a run needs, in one
// of two lanes: official (pulled from a container registry) or source (built
// from Go modules, one Python wheel and Debian packages). Either way the
// result is one node image that holds all the others, so that starting a
// cluster fetches nothing. It knows image names, build inputs and their
// hashes; it must not know kind, Istio's API or Kubernetes' API.
package images

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"twohop/internal/engine"
	"twohop/internal/state"
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
	// FlushesFast says that this Istio knows proxyConfig.fileFlushInterval.
	FlushesFast bool
	// Notes say what of the combination Istio does not support.
	Notes []string
	// ByTag are the images that were pulled by tag (official lane): Digests says
	// what was got, and nobody said what it should be.
	ByTag []string
}

// Options of Ensure.
type Options struct {
	Lane         string // auto, official or source; empty is auto
	IstioVersion string // empty: the lane's own of versions.env
	K8sVersion   string // empty: the Istio line's, or the official lane's of versions.env
	EnvoyVersion string // empty: the Istio line's; the official lane has that of its Istio
	// Registry stands in for the registry of every official name
	// ("127.0.0.1:5000"). Loopback is spoken to in plain HTTP.
	Registry  string
	Root      string // the repository; empty: found from the working directory upwards
	NoInstall bool   // never install a package
	// LogFile gets the full output of every command; empty: a file in the cache
	// folder does, and stays there only if Ensure fails.
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
		return nil, classify(err, s.logFile)
	}
	s.ok = true
	return set, nil
}

func (s *session) ensure(ctx context.Context) (*Set, error) {
	wish := s.o.Lane
	if why := s.o.onlySource(); why != "" && (wish == Auto || wish == "") {
		s.say("images: source lane (%s)", why)
		return s.source(ctx)
	}
	lane, why, err := chooseLane(ctx, wish, s.o.Registry, registryAnswers)
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

// session is one call of Ensure.
type session struct {
	o        Options
	eng      *engine.Engine
	versions Versions
	root     string // the repository
	cache    string // host programs, by hash
	work     string // removed at the end
	lock     state.Hold
	logFile  string
	ok       bool
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
	logFile := o.LogFile
	if logFile == "" {
		logFile = filepath.Join(cache, fmt.Sprintf("images-%d.log", os.Getpid()))
	}
	j, err := newJournal(o, logFile)
	if err != nil {
		return nil, err
	}
	return &session{o: o, eng: eng, versions: versions, root: root, cache: cache, journal: j, logFile: logFile}, nil
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
	if s.ok && s.o.LogFile == "" {
		_ = os.Remove(s.logFile)
	}
}

// begin is called before anything is built: one build at a time, and nothing
// left of one that was killed.
func (s *session) begin(ctx context.Context) error {
	if s.work != "" {
		return nil
	}
	var err error
	if s.lock, err = state.HoldBuild(ctx, s.say); err != nil {
		return err
	}
	work := filepath.Join(s.cache, "work")
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("removing what an earlier build left: %w", err)
	}
	if err := removeBuildContainers(ctx, s.eng); err != nil {
		return err
	}
	s.work = work
	return os.MkdirAll(work, 0o755)
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
	dir, err := state.Dir()
	if err != nil {
		return "", &engine.EnvironmentError{What: "the folder for caches cannot be used", Do: "make room there, or set HOME or XDG_CACHE_HOME", Err: err}
	}
	return dir, nil
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
