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

// required are the pins that this package reads.
var required = []string{
	"K8S_VERSION", "ISTIO_VERSION", "ISTIO_REVISION", "KIND_VERSION", "ENVOY_VERSION", "DEBIAN_SUITE",
}

// ReadVersions reads versions.env. A pin that is missing is an error.
func ReadVersions(path string) (Versions, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	v, err := parseVersions(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

func parseVersions(text string) (Versions, error) {
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
	for _, key := range required {
		if v[key] == "" {
			return nil, fmt.Errorf("%s is missing", key)
		}
	}
	return v, nil
}

var (
	istioVersion = regexp.MustCompile(`^\d+\.\d+(\.\d+)?([-.][0-9A-Za-z.-]+)?$`)
	k8sVersion   = regexp.MustCompile(`^v\d+\.\d+\.\d+$`)
)

// wanted returns the versions to use: the caller's, else the pinned ones. A
// version that cannot be one is a usage error.
func (v Versions) wanted(istio, k8s string) (string, string, error) {
	if istio == "" {
		istio = v["ISTIO_VERSION"]
	}
	if k8s == "" {
		k8s = v["K8S_VERSION"]
	}
	if !istioVersion.MatchString(istio) {
		return "", "", &engine.UsageError{What: fmt.Sprintf("ISTIO_VERSION=%q is not a version such as 1.30.0", istio)}
	}
	if !k8sVersion.MatchString(k8s) {
		return "", "", &engine.UsageError{What: fmt.Sprintf("K8S_VERSION=%q is not a version such as v1.36.1", k8s)}
	}
	return istio, k8s, nil
}
