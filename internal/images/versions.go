package images

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"twohop/internal/engine"
)

// Versions are the pins of versions.env.
type Versions map[string]string

// commonPins are the pins that this package reads of versions.env.
var commonPins = []string{
	"ISTIO_VERSION", "KIND_VERSION", "DEBIAN_SUITE",
	"OFFICIAL_K8S_VERSION", "OFFICIAL_ISTIO_VERSION", "OFFICIAL_ISTIO_HUB", "OFFICIAL_CURL_VERSION", "OFFICIAL_NGINX_VERSION",
}

// digestPin begins the names of pins that say an image's digest.
const digestPin = "OFFICIAL_DIGEST_"

// unpinned takes such a pin back: for images that were loaded from a file, say,
// of which no engine knows a registry's digest.
const unpinned = "none"

// ReadVersions reads versions.env. A pin that is missing is an error. A pin of
// the official lane (OFFICIAL_…) gives way to a variable of its name, and a
// variable can pin another image's digest.
func ReadVersions(path string) (Versions, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	v, err := parseVersions(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for name := range v {
		if value := os.Getenv(name); value != "" && strings.HasPrefix(name, "OFFICIAL_") {
			v[name] = value
		}
	}
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, digestPin) && value != "" {
			v[name] = value
		}
	}
	return v, nil
}

func parseVersions(text string) (Versions, error) {
	v, err := parsePins(text)
	if err != nil {
		return nil, err
	}
	for _, key := range commonPins {
		if v[key] == "" {
			return nil, fmt.Errorf("%s is missing", key)
		}
	}
	return v, nil
}

// parsePins reads lines of NAME=value, and comments.
func parsePins(text string) (Versions, error) {
	v := Versions{}
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.ContainsAny(line, " \t\"'$") || value == "" {
			return nil, fmt.Errorf("line %d is not NAME=value without spaces or quotes: %q", i+1, line)
		}
		v[key] = value
	}
	return v, nil
}

// digests are the pinned digests by image name.
func (v Versions) digests() (map[string]string, error) {
	pins := map[string]string{}
	for name, value := range v {
		if !strings.HasPrefix(name, digestPin) || value == unpinned {
			continue
		}
		image, digest, _ := strings.Cut(value, "@")
		repo, tag, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
		if hex, ok := strings.CutPrefix(digest, "sha256:"); !ok || !sha256Hex.MatchString(hex) || repo == "" || !imageTag.MatchString(tag) || !repository.MatchString(strings.TrimSuffix(image, ":"+tag)) {
			return nil, &engine.UsageError{What: fmt.Sprintf("%s=%q does not pin an image: write repository:tag@sha256:…, such as docker.io/istio/pilot:1.30.0@sha256:…", name, value)}
		}
		if other := pins[image]; other != "" && other != digest {
			return nil, &engine.UsageError{What: fmt.Sprintf("%s pins %s, which another %s… pins at another digest", name, image, digestPin)}
		}
		pins[image] = digest
	}
	return pins, nil
}

var (
	istioVersion  = regexp.MustCompile(`^\d+\.\d+(\.\d+)?([-.][0-9A-Za-z.-]+)?$`)
	moduleVersion = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)
	istioRelease  = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)
	k8sVersion    = regexp.MustCompile(`^v\d+\.\d+\.\d+$`)
	sha256Hex     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	imageTag      = regexp.MustCompile(`^[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}$`)
	repository    = regexp.MustCompile(`^[0-9a-z.-]+(:\d+)?(/[0-9a-z._-]+)+$`)
)

// wantedOfficial are the versions to use in the official lane: the caller's, else the
// pinned ones. Its images are named by full releases; what cannot be one is a usage
// error.
func (v Versions) wantedOfficial(istio, k8s string) (string, string, error) {
	for _, name := range []string{"OFFICIAL_CURL_VERSION", "OFFICIAL_NGINX_VERSION"} {
		if !imageTag.MatchString(v[name]) {
			return "", "", &engine.UsageError{What: fmt.Sprintf("%s=%q is not the tag of an image", name, v[name])}
		}
	}
	if hub := v["OFFICIAL_ISTIO_HUB"]; !repository.MatchString(hub) {
		return "", "", &engine.UsageError{What: fmt.Sprintf("OFFICIAL_ISTIO_HUB=%q is not a registry and a folder such as docker.io/istio", hub)}
	}
	if istio == "" {
		istio = v["OFFICIAL_ISTIO_VERSION"]
	}
	if k8s == "" {
		k8s = v["OFFICIAL_K8S_VERSION"]
	}
	if !istioRelease.MatchString(istio) {
		what := fmt.Sprintf("ISTIO_VERSION=%q is not a version such as 1.30.0", istio)
		if istioVersion.MatchString(istio) {
			what = fmt.Sprintf("ISTIO_VERSION=%s is a release line, and official images are named by releases: say which, for example %s.0", istio, istio)
		}
		return "", "", &engine.UsageError{What: what}
	}
	if !k8sVersion.MatchString(k8s) {
		return "", "", &engine.UsageError{What: fmt.Sprintf("K8S_VERSION=%q is not a version such as v1.36.1", k8s)}
	}
	return istio, k8s, nil
}
