package cluster

import (
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"twohop/internal/subject"
)

var source = Istio{Istioctl: "/bin/istioctl", Hub: "localhost/twohop", Tag: "1.31", Domain: "cluster.local", UpstreamEnvoy: true, FlushesFast: true}

// operator renders an Istio and looks into it.
func operator(t *testing.T, i Istio) func(path ...string) any {
	t.Helper()
	return operatorOf(t, i, subject.Default())
}

func operatorOf(t *testing.T, i Istio, s subject.Subject) func(path ...string) any {
	t.Helper()
	raw, err := i.Operator(s)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := yaml.UnmarshalStrict(raw, &tree); err != nil {
		t.Fatal(err)
	}
	return func(path ...string) any {
		var at any = tree
		for _, name := range path {
			m, ok := at.(map[string]any)
			if !ok {
				return nil
			}
			at = m[name]
		}
		return at
	}
}

func TestOperator(t *testing.T) {
	official := Istio{Istioctl: "/bin/istioctl", Hub: "docker.io/istio", Tag: "1.30.0", Domain: "corp.example"}
	for _, tt := range []struct {
		name string
		of   Istio
		want map[string]any // nil: absent
	}{
		{"source", source, map[string]any{
			"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator",
			"spec.profile": "minimal", "spec.hub": "localhost/twohop", "spec.tag": "1.31",
			"spec.meshConfig.accessLogFile":              "/dev/stdout",
			"spec.meshConfig.accessLogEncoding":          "JSON",
			"spec.meshConfig.outboundTrafficPolicy.mode": "ALLOW_ANY",
			// Upstream Envoy has none of Istio's own filters.
			"spec.values.pilot.env.PILOT_ENABLE_ALPN_FILTER":       "false",
			"spec.values.pilot.env.PILOT_ENABLE_METADATA_EXCHANGE": "false",
			"spec.values.telemetry.enabled":                        false,
			"spec.meshConfig.defaultConfig.fileFlushInterval":      "0.02s",
			"spec.values.global.proxy.clusterDomain":               "cluster.local",
		}},
		{"official", official, map[string]any{
			"spec.profile": "minimal", "spec.hub": "docker.io/istio", "spec.tag": "1.30.0",
			"spec.meshConfig.accessLogEncoding":                    "JSON",
			"spec.values.pilot.env.PILOT_ENABLE_ALPN_FILTER":       nil,
			"spec.values.pilot.env.PILOT_ENABLE_METADATA_EXCHANGE": nil,
			"spec.values.telemetry":                                nil,
			// An older Istio would refuse a setting that it does not know.
			"spec.meshConfig.defaultConfig.fileFlushInterval": nil,
			"spec.values.global.proxy.clusterDomain":          "corp.example",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := operator(t, tt.of)
			for path, want := range tt.want {
				if got := at(strings.Split(path, ".")...); got != want {
					t.Errorf("%s is %v, want %v", path, got, want)
				}
			}
			if format, _ := at("spec", "meshConfig", "accessLogFormat").(string); format == "" {
				t.Error("the access log's format is missing")
			}
		})
	}
}

// The first lab's mesh sees its namespaces and what belongs to no lab, another one its
// namespaces only.
func TestEachLabHasAMesh(t *testing.T) {
	for lab, want := range map[int]map[string]any{
		1: {"spec.revision": nil, "spec.namespace": nil, "spec.components.base.enabled": nil, "spec.values.global.istioNamespace": nil},
		3: {"spec.revision": "lab-3", "spec.namespace": "istio-system-3", "spec.components.base.enabled": false, "spec.values.global.istioNamespace": "istio-system-3"},
	} {
		at := operatorOf(t, source, subject.Numbered(lab))
		for path, value := range want {
			if got := at(strings.Split(path, ".")...); got != value {
				t.Errorf("lab %d: %s is %v, want %v", lab, path, got, value)
			}
		}
		selectors := []any{map[string]any{"matchLabels": map[string]any{subject.LabLabel: strconv.Itoa(lab)}}}
		if lab == 1 {
			selectors = append(selectors, map[string]any{"matchExpressions": []any{map[string]any{"key": subject.LabLabel, "operator": "DoesNotExist"}}})
		}
		if diff := cmp.Diff(any(selectors), at("spec", "meshConfig", "discoverySelectors")); diff != "" {
			t.Errorf("lab %d: -want +got:\n%s", lab, diff)
		}
	}
}

func config(t *testing.T, kind string) Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kind-config.yaml")
	if err := os.WriteFile(path, []byte(kind), 0o644); err != nil {
		t.Fatal(err)
	}
	return Config{Name: "twohop", Engine: "podman", NodeImage: "node:1", KindConfig: path, OwnCNI: true, Istio: source}
}

const minimal = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"

// Two runs share a cluster if their Configs are equal: each field counts, but
// for paths of this machine, of which the content does.
func TestFingerprint(t *testing.T) {
	base := config(t, minimal)
	fingerprint := func(c Config) string {
		t.Helper()
		f, err := c.fingerprint()
		if err != nil || len(f) != 64 {
			t.Fatalf("%q, %v", f, err)
		}
		return f
	}
	want := fingerprint(base)
	if again := fingerprint(base); again != want {
		t.Error("it is not the same twice")
	}

	var change func(v reflect.Value, path string)
	changed := 0
	change = func(v reflect.Value, path string) {
		for i := range v.NumField() {
			field, name := v.Field(i), path+v.Type().Field(i).Name
			old := reflect.ValueOf(field.Interface())
			switch field.Kind() {
			case reflect.Struct:
				change(field, name+".")
				continue
			case reflect.String:
				if name == "KindConfig" {
					continue // below
				}
				field.SetString(field.String() + "x")
			case reflect.Bool:
				field.SetBool(!field.Bool())
			default:
				t.Fatalf("this test does not know how to change %s", name)
			}
			changed++
			c := base
			c.Istio = base.Istio
			differs := fingerprint(c) != want
			if counts := name != "Istio.Istioctl"; differs != counts {
				t.Errorf("another %s makes another fingerprint: %v, want %v", name, differs, counts)
			}
			field.Set(old)
		}
	}
	change(reflect.ValueOf(&base).Elem(), "")
	if changed < 8 || fingerprint(base) != want {
		t.Errorf("the test changed %d fields and left the fingerprint %v", changed, fingerprint(base) == want)
	}

	elsewhere := config(t, minimal)
	if fingerprint(elsewhere) != want {
		t.Error("the path of kind's configuration counts, and not only its content")
	}
	if fingerprint(config(t, minimal+"name: other\n")) == want {
		t.Error("the content of kind's configuration does not count")
	}
	elsewhere.KindConfig += ".gone"
	if _, err := elsewhere.fingerprint(); err == nil || !strings.Contains(err.Error(), elsewhere.KindConfig) {
		t.Errorf("%v does not name the file", err)
	}
}

func TestLoadKindConfig(t *testing.T) {
	root := filepath.Join("..", "..", "kind-config.yaml")
	for _, ownCNI := range []bool{true, false} {
		spec, err := loadKindConfig(Config{KindConfig: root, OwnCNI: ownCNI})
		if err != nil {
			t.Fatal(err)
		}
		if spec.Networking.DisableDefaultCNI != ownCNI {
			t.Errorf("kind's CNI is off: %v; the image brings its own: %v", spec.Networking.DisableDefaultCNI, ownCNI)
		}
		if len(spec.Nodes) != 1 || len(spec.Nodes[0].ExtraMounts) > 0 || spec.Networking.APIServerAddress != "127.0.0.1" || spec.Networking.APIServerPort != 0 {
			t.Errorf("the cluster is not one node with nothing of the host's mapped into it: %+v", spec)
		}
	}
	for name, tt := range map[string]struct{ text, says string }{
		"a misspelt field":     {minimal + "networkin: {}\n", `unknown field "networkin"`},
		"a misplaced field":    {minimal + "disableDefaultCNI: true\n", `unknown field "disableDefaultCNI"`},
		"a key twice":          {minimal + "name: a\nname: b\n", "already"},
		"no YAML":              {"[", "yaml"},
		"a value of no number": {minimal + "networking: { apiServerPort: many }\n", "apiServerPort"},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t, tt.text)
			if _, err := loadKindConfig(c); err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), c.KindConfig) {
				t.Errorf("%v does not say %q and the file", err, tt.says)
			}
		})
	}
	if _, err := loadKindConfig(Config{KindConfig: "/no/such/file"}); err == nil || !strings.Contains(err.Error(), "/no/such/file") {
		t.Errorf("%v", err)
	}
}

func TestUnknownEngine(t *testing.T) {
	if _, err := newProvider("containerd", nil); err == nil || !strings.Contains(err.Error(), `not on "containerd"`) {
		t.Errorf("%v", err)
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	c := config(t, minimal)
	c.Engine = ""
	if _, err := Up(t.Context(), c, false, "", nil, func(string) {}); err == nil || !strings.Contains(err.Error(), `not on ""`) {
		t.Errorf("%v", err)
	}
	if err := Down(t.Context(), "twohop", "lxc", nil); err == nil || !strings.Contains(err.Error(), `not on "lxc"`) {
		t.Errorf("%v", err)
	}
}

// Nobody can share a cluster that is not there.
func TestAttachNeedsACluster(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, err := Attach(t.Context(), config(t, minimal)); err == nil || !strings.Contains(err.Error(), "its kubeconfig is gone") || !strings.Contains(err.Error(), "make up") {
		t.Errorf("%v", err)
	}
}

func TestOneLine(t *testing.T) {
	long := oneLine(&os.PathError{Op: "read\n\tthis", Path: strings.Repeat("x", 1000), Err: os.ErrNotExist}).Error()
	if strings.ContainsAny(long, "\n\t") || len(long) > 610 || !strings.HasPrefix(long, "read this x") {
		t.Errorf("%q", long)
	}
	if got := lastLine("a\nb\n\n"); got != "b" {
		t.Errorf("%q", got)
	}
}

// As kubeadm 1.36 writes it; anything else is refused rather than left at 30 s.
func TestWithTTL(t *testing.T) {
	const corefile = ".:53 {\n    kubernetes cluster.local in-addr.arpa ip6.arpa {\n       pods insecure\n       ttl 30\n    }\n    cache 30 {\n       disable success cluster.local\n    }\n}\n"
	got, err := withTTL(corefile, subject.DNSTTL)
	if err != nil || !strings.Contains(got, "       ttl 5\n") || strings.Contains(got, "ttl 30") {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := withTTL(got, subject.DNSTTL); err == nil || !strings.Contains(err.Error(), "ttl 30") {
		t.Errorf("%v", err)
	}
}
