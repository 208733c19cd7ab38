package images

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"twohop/internal/engine"
)

// registryWithin is how long a registry may take to answer before the auto
// lane builds from source instead.
const registryWithin = 3 * time.Second

// dockerRegistry is the host behind every docker.io name.
const dockerRegistry = "registry-1.docker.io"

// chooseLane turns a wish into a lane, and says why. answers asks a registry
// whether it is there.
func chooseLane(ctx context.Context, wish, registry string, answers func(ctx context.Context, url string) error) (lane, why string, err error) {
	switch wish {
	case Official, Source:
		return wish, "IMAGES=" + wish, nil
	case Auto, "":
	default:
		return "", "", &engine.UsageError{What: fmt.Sprintf("IMAGES=%q is not a lane: use auto, official or source", wish)}
	}
	url := registryURL(registry)
	ctx, cancel := context.WithTimeout(ctx, registryWithin)
	defer cancel()
	if err := answers(ctx, url); err != nil {
		return Source, fmt.Sprintf("no container registry answers within %s: %v", registryWithin, err), nil
	}
	return Official, url + " answers", nil
}

// onlySource says what of the options only the source lane can do; empty if nothing is.
func (o Options) onlySource() string {
	switch {
	case o.EnvoyVersion != "":
		return "ENVOY_VERSION=" + o.EnvoyVersion + " chooses the proxy, and an official one has its own"
	case releaseLine.MatchString(o.IstioVersion):
		return "ISTIO_VERSION=" + o.IstioVersion + " is a release line, and official images are named by releases"
	}
	return ""
}

// registryURL is where a registry says that it is one.
func registryURL(registry string) string {
	host, _, _ := strings.Cut(registry, "/")
	if host == "" || host == "docker.io" {
		host = dockerRegistry
	}
	scheme := "https"
	if isLoopback(host) {
		scheme = "http"
	}
	return scheme + "://" + host + "/v2/"
}

func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// registryAnswers is nil if a registry is at url: an answer of 200, or of 401
// from one that wants a token first. A proxy's error page is not a registry.
func registryAnswers(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}
