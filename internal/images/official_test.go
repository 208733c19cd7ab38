package images

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/engine"
)

var officialPins = Versions{
	"OFFICIAL_K8S_VERSION": "v1.36.1", "ISTIO_VERSION": "1.31", "OFFICIAL_ISTIO_VERSION": "1.30.0",
	"OFFICIAL_ISTIO_HUB": "docker.io/istio", "OFFICIAL_CURL_VERSION": "8.17.0", "OFFICIAL_NGINX_VERSION": "1.28.0",
}

func TestWantedOfficial(t *testing.T) {
	with := func(name, value string) Versions {
		v := Versions{}
		for k, old := range officialPins {
			v[k] = old
		}
		v[name] = value
		return v
	}
	for name, tc := range map[string]struct {
		pins       Versions
		istio, k8s string
		want       string
		wantErr    string
	}{
		"the lane's own":       {officialPins, "", "", "1.30.0 v1.36.1", ""},
		"as asked for":         {officialPins, "1.31.1", "v1.33.2", "1.31.1 v1.33.2", ""},
		"a variant of a build": {officialPins, "1.30.0-distroless", "", "1.30.0-distroless v1.36.1", ""},
		"a release line":       {officialPins, "1.31", "", "", "ISTIO_VERSION=1.31 is a release line, and official images are named by releases: say which, for example 1.31.0"},
		"no version":           {officialPins, "latest", "", "", `ISTIO_VERSION="latest" is not a version`},
		"Kubernetes without v": {officialPins, "", "1.36.1", "", `K8S_VERSION="1.36.1" is not a version such as v1.36.1`},
		"no tag":               {with("OFFICIAL_CURL_VERSION", "a b"), "", "", "", `OFFICIAL_CURL_VERSION="a b"`},
		"no hub":               {with("OFFICIAL_ISTIO_HUB", "https://x/y"), "", "", "", `OFFICIAL_ISTIO_HUB="https://x/y"`},
	} {
		t.Run(name, func(t *testing.T) {
			istio, k8s, err := tc.pins.wantedOfficial(tc.istio, tc.k8s)
			if tc.wantErr != "" {
				var usage *engine.UsageError
				if !errors.As(err, &usage) || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("error %v, want a usage error that says %q", err, tc.wantErr)
				}
				return
			}
			if got := istio + " " + k8s; err != nil || got != tc.want {
				t.Errorf("%q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestOfficialPinsGiveWayToVariables(t *testing.T) {
	root, err := findRoot("")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("OFFICIAL_ISTIO_HUB", "registry.istio.io/release")
	t.Setenv("KIND_VERSION", "v0.0.0") // what kind is called is no choice of a run's
	v, err := ReadVersions(filepath.Join(root, "versions.env"))
	if err != nil {
		t.Fatal(err)
	}
	if v["OFFICIAL_ISTIO_HUB"] != "registry.istio.io/release" || v["KIND_VERSION"] == "v0.0.0" {
		t.Errorf("hub %q, kind %q", v["OFFICIAL_ISTIO_HUB"], v["KIND_VERSION"])
	}
}

func TestOfficialNames(t *testing.T) {
	hosts := func(o officialImages) (list []string) {
		for _, image := range o.all() {
			list = append(list, image.host)
		}
		return list
	}
	direct := officialNames(officialPins, nil, "1.30.0", "v1.36.1", "")
	if diff := cmp.Diff([]string{
		"docker.io/curlimages/curl:8.17.0", "docker.io/istio/istioctl:1.30.0", "docker.io/library/nginx:1.28.0",
		"docker.io/istio/proxyv2:1.30.0", "docker.io/istio/pilot:1.30.0", "docker.io/kindest/node:v1.36.1",
	}, hosts(direct)); diff != "" {
		t.Error(diff)
	}
	mirrored := officialNames(officialPins, nil, "1.30.0", "v1.36.1", "mirror.example:8443/hub")
	if diff := cmp.Diff("mirror.example:8443/hub/istio/pilot:1.30.0", mirrored.pilot.host); diff != "" {
		t.Error(diff)
	}
	if mirrored.pilot.name != direct.pilot.name {
		t.Errorf("the cluster knows a mirrored image as %s", mirrored.pilot.name)
	}
	if got := registryOf(mirrored.pilot.host); got != "mirror.example:8443" {
		t.Errorf("registry %q", got)
	}
	for name, valid := range map[string]bool{
		"127.0.0.1:5000": true, "mirror.example/a/b": true, "localhost": true, "[::1]:5000": false, // no engine takes an address of that kind in an image's name
		"http://127.0.0.1:5000": false, "a b": false, "x:y": false, "/x": false,
	} {
		if got := standInName.MatchString(name); got != valid {
			t.Errorf("REGISTRY=%s: valid is %v, want %v", name, got, valid)
		}
	}
}

func TestParseImageInspect(t *testing.T) {
	for name, tc := range map[string]struct {
		host, text string
		want       officialImage
	}{
		"podman, pinned to the list of platforms": {"docker.io/istio/proxyv2:1.30.0",
			`[{"Id":"aa","RepoDigests":["docker.io/istio/proxyv2@sha256:1","docker.io/istio/proxyv2@sha256:2","docker.io/istio/proxyv2@sha256:3"],"Config":{}}]`,
			officialImage{id: "aa", digest: "sha256:2", pin: "sha256:2"}},
		"pinned to another": {"docker.io/istio/proxyv2:1.30.0",
			`[{"Id":"aa","RepoDigests":["docker.io/istio/proxyv2@sha256:1","docker.io/else/proxyv2@sha256:2"],"Config":{}}]`,
			officialImage{id: "aa", digest: "sha256:1", pin: "sha256:2"}},
		"podman": {"docker.io/istio/proxyv2:1.30.0",
			`[{"Id":"aa","RepoDigests":["docker.io/istio/proxyv2@sha256:2","docker.io/istio/proxyv2@sha256:1"],"Config":{"Labels":{"a":"b"}}}]`,
			officialImage{id: "aa", digest: "sha256:1", labels: map[string]string{"a": "b"}}},
		"docker shortens": {"docker.io/library/nginx:1.28.0",
			`[{"Id":"sha256:aa","RepoDigests":["nginx@sha256:1"],"Config":{}}]`,
			officialImage{id: "sha256:aa", digest: "sha256:1"}},
		"the digest of another name is not ours": {"127.0.0.1:5000/istio/pilot:1.30.0",
			`[{"Id":"aa","RepoDigests":["example.com/pilot@sha256:1"],"Config":{"Labels":null}}]`,
			officialImage{id: "aa", digest: "aa"}},
		"built here": {"docker.io/kindest/node:v1.36.1", `[{"Id":"aa","RepoDigests":[]}]`, officialImage{id: "aa", digest: "aa"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := &officialImage{host: tc.host, pin: tc.want.pin}
			if err := got.parse([]byte(tc.text)); err != nil {
				t.Fatal(err)
			}
			tc.want.host = tc.host
			if diff := cmp.Diff(&tc.want, got, cmp.AllowUnexported(officialImage{})); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, bad := range []string{``, `[]`, `{}`, `[{}]`, `[{"Id":"a"},{"Id":"b"}]`} {
		if err := (&officialImage{host: "x/y:1"}).parse([]byte(bad)); err == nil {
			t.Errorf("%q parses", bad)
		}
	}
}

func TestPullError(t *testing.T) {
	image := officialNames(officialPins, nil, "1.99.0", "v1.36.1", "").pilot
	gone := officialNames(officialPins, map[string]string{image.name: "sha256:1"}, "1.99.0", "v1.36.1", "").pilot
	err := pullError(gone, "/the/log", errors.New("podman: exit status 125: manifest unknown"))
	if err == nil || !strings.Contains(err.Error(), "docker.io has no docker.io/istio/pilot:1.99.0 of the pinned digest sha256:1") {
		t.Errorf("a pinned digest that is not there: %v", err)
	}
	for text, want := range map[string]string{
		"podman: exit status 125: Error: initializing source docker://istio/pilot:1.99.0: reading manifest 1.99.0 in docker.io/istio/pilot: manifest unknown: manifest unknown":                              "docker.io has no image docker.io/istio/pilot:1.99.0: see that ISTIO_VERSION=1.99.0 is a version that was released",
		"docker: exit status 1: Error response from daemon: manifest for istio/pilot:1.99.0 not found: manifest unknown: manifest unknown":                                                                   "docker.io has no image",
		"docker: exit status 1: Error response from daemon: pull access denied for istio/pilot, repository does not exist or may require 'docker login': denied: requested access to the resource is denied": "docker.io has no image",
		"docker: exit status 1: toomanyrequests: You have reached your pull rate limit":                                                                                                                      "its rate limit",
		"podman: exit status 125: unauthorized: authentication required":                                                                                                                                     "wants a login",
		"podman: exit status 125: Error: pinging container registry x: Get \"https://x/v2/\": http: server gave HTTP response to HTTPS client":                                                               "plain HTTP, which is used on loopback only",
		"podman: exit status 125: pinging container registry docker.io: Get \"https://registry-1.docker.io/v2/\": dial tcp 1.2.3.4: i/o timeout":                                                             "the container registry docker.io does not answer",
		"not done within 2m0s":                   "the container registry docker.io does not answer",
		"podman: exit status 125: what is this?": "could not be pulled (podman: exit status 125: what is this?): read /the/log",
	} {
		err := pullError(image, "/the/log", errors.New(text))
		var usage *engine.UsageError
		var environment *engine.EnvironmentError
		if !strings.Contains(err.Error(), want) || !errors.As(err, &usage) && !errors.As(err, &environment) {
			t.Errorf("%q becomes %T %v, want %q", text, err, err, want)
		}
		if errors.As(err, &usage) != strings.Contains(want, "has no image") {
			t.Errorf("%q becomes a %T: only a wrong version is the caller's fault", text, err)
		}
	}
}

func TestParsePreloaded(t *testing.T) {
	got, err := parsePreloaded([]byte("docker.io/istio/pilot:1.30.0 sha256:1\nimport-2026-05-01@sha256:2 sha256:2\nsha256:3 sha256:3\nregistry.k8s.io/pause:3.10 sha256:4\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"docker.io/istio/pilot:1.30.0": "sha256:1", "registry.k8s.io/pause:3.10": "sha256:4"}, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "name\n", "name digest\n"} {
		if _, err := parsePreloaded([]byte(bad)); err == nil {
			t.Errorf("%q parses", bad)
		}
	}
}

// registryEngine is an engine that has what its folder says, and pulls
// everything but versions 1.99.0. It writes down what it was told.
const registryEngine = `
name() { printf %s "$1" | tr '/:' '__'; }
echo "$*" >>"$STATE/told"
case "$1 $2" in
version*) echo 5.0 ;;
"image inspect") shift; last=""; for a in "$@"; do last=$a; done
	f=$STATE/has-$(name "$last"); [ -e "$f" ] || { echo "no such image" >&2; exit 1; }
	case "$*" in *Labels*) cat "$f" ;; *) echo "[{\"Id\":\"id-$(name "$last")\",\"RepoDigests\":[\"${last%:*}@$(cat "$f")\"]}]" ;; esac ;;
pull*) last=""; for a in "$@"; do last=$a; done
	case "$last" in *1.99.0) echo "manifest unknown: manifest unknown" >&2; exit 125 ;; esac
	echo "sha256:of-the-tag" >"$STATE/has-$(name "$last")" ;;
tag*) echo "${LIE:-${2#*@}}" >"$STATE/has-$(name "$3")" ;;
cp*) printf '#!/bin/sh\necho ok\n' >"$3"; chmod +x "$3" ;;
save*) : >"$3" ;;
run*) printf '%s sha256:1\n' docker.io/curlimages/curl:8.17.0 docker.io/library/nginx:1.28.0 docker.io/istio/proxyv2:1.30.0 docker.io/istio/pilot:1.30.0 ;;
commit*) label=""; last=""; for a in "$@"; do last=$a; case "$a" in LABEL*) label=${a#LABEL twohop.digests=} ;; esac; done
	echo "{\"twohop.digests\":\"$label\"}" >"$STATE/has-$(name "$last")" ;;
esac`

// newSet runs Ensure in the official lane on registryEngine; state is what the
// engine has, and keeps, between calls.
func newSet(t *testing.T, state, istio string) (*Set, string, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\n"+registryEngine+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("STATE", state)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(state, "cache"))
	told := filepath.Join(state, "told")
	_ = os.Remove(told)
	eng, err := engine.Detect(context.Background(), engine.Options{Engine: engine.Docker})
	if err != nil {
		t.Fatal(err)
	}
	set, err := Ensure(context.Background(), eng, Options{Lane: Official, IstioVersion: istio, Registry: "127.0.0.1:1"})
	text, readErr := os.ReadFile(told)
	if readErr != nil {
		t.Fatal(readErr)
	}
	return set, string(text), err
}

const nodeDigest = "sha256:099e049362a1526b2db71494e1947aae99bd16290d7c895f2b7ea312e3cbfaed"

// An image of another digest than the pinned one is pulled again, and refused
// if it still is another.
func TestPinnedDigestIsVerified(t *testing.T) {
	state := t.TempDir()
	if _, _, err := newSet(t, state, ""); err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(state, "has-127.0.0.1_1_kindest_node_v1.36.4")
	overwrite := func() {
		t.Helper()
		if !fileExists(node) {
			t.Fatalf("no %s", node)
		}
		if err := os.WriteFile(node, []byte("sha256:another\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	overwrite()
	if _, told, err := newSet(t, state, ""); err != nil || !strings.Contains(told, "\npull 127.0.0.1:1/kindest/node@"+nodeDigest) {
		t.Errorf("an image under the tag that is not the pinned one is not replaced: %v\n%s", err, told)
	}
	overwrite()
	t.Setenv("LIE", "sha256:another")
	_, _, err := newSet(t, state, "")
	var environment *engine.EnvironmentError
	if !errors.As(err, &environment) || !strings.Contains(err.Error(), "127.0.0.1:1/kindest/node:v1.36.4 has the digest sha256:another, and "+nodeDigest+" is pinned") {
		t.Errorf("%v", err)
	}
	// Istio's images are pinned if somebody says how.
	t.Setenv("OFFICIAL_DIGEST_NODE_1_36", "none")
	t.Setenv("OFFICIAL_DIGEST_PILOT", "docker.io/istio/pilot:1.30.0@"+nodeDigest)
	_, _, err = newSet(t, state, "")
	if !errors.As(err, &environment) || !strings.Contains(err.Error(), "127.0.0.1:1/istio/pilot:1.30.0 has the digest sha256:another") {
		t.Errorf("%v", err)
	}
}

func TestOfficialLane(t *testing.T) {
	state := t.TempDir()
	set, told, err := newSet(t, state, "")
	if err != nil {
		t.Fatal(err)
	}
	if set.Istio.Hub != "docker.io/istio" || set.Istio.Tag != "1.30.0" || set.KubernetesVersion != "v1.36.4" || set.UpstreamEnvoy {
		t.Errorf("%+v", set)
	}
	if !strings.HasPrefix(set.Node, prefix+"node-official:") || !fileExists(set.Istioctl) || !fileExists(set.Kubectl) {
		t.Errorf("node %s, istioctl %s, kubectl %s", set.Node, set.Istioctl, set.Kubectl)
	}
	if len(set.Digests) != 6 {
		t.Errorf("digests of %d images, not of 6: %v", len(set.Digests), set.Digests)
	}
	if n := strings.Count(told, "\npull "); n != 6 {
		t.Errorf("%d pulls, want 6:\n%s", n, told)
	}
	if want := "\npull 127.0.0.1:1/kindest/node@sha256:099e0493"; !strings.Contains(told, want) || strings.Contains(told, "pull 127.0.0.1:1/kindest/node:") {
		t.Errorf("the node is not pulled by its digest:\n%s", told)
	}
	if set.Digests["docker.io/kindest/node:v1.36.4"] != nodeDigest || len(set.ByTag) != 5 || slices.Contains(set.ByTag, "docker.io/kindest/node:v1.36.4") {
		t.Errorf("digests %v; by tag only: %v", set.Digests, set.ByTag)
	}
	if left, err := filepath.Glob(filepath.Join(state, "cache/twohop/work/*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	again, told, err := newSet(t, state, "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(set, again); diff != "" {
		t.Errorf("the second set differs:\n%s", diff)
	}
	for _, verb := range []string{"pull", "create", "run", "save", "commit"} {
		if strings.Contains(told, "\n"+verb+" ") {
			t.Errorf("with everything there, the engine is told to %s", verb)
		}
	}
	_, _, err = newSet(t, state, "1.99.0")
	var usage *engine.UsageError
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "ISTIO_VERSION=1.99.0") {
		t.Errorf("a version that nobody released gives %T %v", err, err)
	}
}
