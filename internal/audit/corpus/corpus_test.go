package corpus

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"twohop/internal/objects"
)

func loaded(t *testing.T, kind string) []Setup {
	t.Helper()
	setups, err := Load(filepath.Join("testdata", kind))
	if err != nil {
		t.Fatal(err)
	}
	return setups
}

func named(t *testing.T, name string) Setup {
	t.Helper()
	s, err := load(filepath.Join("testdata", "correct", name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSetups(t *testing.T) {
	for kind, least := range map[string]int{"correct": 32, "notegress": 5} {
		setups := loaded(t, kind)
		if len(setups) < least {
			t.Errorf("%d setups in %s; want %d", len(setups), kind, least)
		}
		n := 0
		for _, s := range setups {
			n += len(s.Objects)
			if s.Comment == "" {
				t.Errorf("%s: its first file does not say what it is", s.Name)
			}
			if len(s.Objects) == 0 && s.Name != "empty-list" {
				t.Errorf("%s: no objects", s.Name)
			}
			set := &objects.Set{}
			if err := set.Parse(s.Name, s.Docs); err != nil {
				t.Errorf("%s, as written again: %v", s.Name, err)
			}
			if len(set.All) != len(s.Objects) {
				t.Errorf("%s, as written again: %d objects of %d", s.Name, len(set.All), len(s.Objects))
			}
			for _, d := range set.Duplicates() {
				t.Errorf("%s: %s is there twice", s.Name, d.First)
			}
		}
		t.Logf("%s: %d setups, %d objects", kind, len(setups), n)
	}
}

// The first setup is what the claims were measured on, so it must not drift.
func TestFixturesAreTheProjects(t *testing.T) {
	for _, name := range []string{"05-partner-namespace.yaml", "10-client.yaml", "20-gateway.yaml", "30-egress.yaml"} {
		ours, err := os.ReadFile(filepath.Join("testdata/correct/fixtures", name))
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := os.ReadFile(filepath.Join("../../../fixtures", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(ours, theirs) {
			t.Errorf("%s is not the project's any more: copy it, and look at what Known says", name)
		}
	}
}

// What a correct setup has in common with every other, whoever wrote it.
func TestCorrectSetups(t *testing.T) {
	for _, s := range loaded(t, "correct") {
		mutual, pairs := 0, 0
		for _, i := range s.kind("DestinationRule") {
			o := s.Objects[i]
			visit(o.Tree, func(steps []any, value any) {
				if steps[len(steps)-1] != "tls" {
					return
				}
				switch at(value, "mode") {
				case "ISTIO_MUTUAL":
					pairs++
					if at(value, "sni") == nil {
						t.Errorf("%s, %s: hop 1 without sni", s.Name, o)
					}
				case "MUTUAL":
					mutual++
					if at(value, "credentialName") == nil {
						t.Errorf("%s, %s: MUTUAL without a credential", s.Name, o)
					}
					if (at(value, "sni") == nil) != (len(list(at(value, "subjectAltNames"))) == 0) {
						t.Errorf("%s, %s: sni without a pin, or a pin without sni", s.Name, o)
					}
				case "SIMPLE":
					if s.Name != "istio-task-simple" {
						t.Errorf("%s, %s: hop 2 is not mutual", s.Name, o)
					}
				default:
					t.Errorf("%s, %s: tls.mode %v", s.Name, o, at(value, "mode"))
				}
				if !s.hop1(i) && brief(list(at(o.Tree, "spec", "exportTo"))) != "[.]" {
					t.Errorf("%s, %s: hop 2's rule is exported", s.Name, o)
				}
			})
		}
		if pairs == 0 || mutual == 0 && s.Name != "istio-task-simple" {
			t.Errorf("%s: a hop without mutual TLS", s.Name)
		}
		for _, o := range s.Objects {
			if template(o.Kind) == nil || !isGateway(o) {
				continue
			}
			account := text(at(o.Tree, append(template(o.Kind), "spec", "serviceAccountName")...))
			if !mayList(s, o.Ref.Namespace, account) {
				t.Errorf("%s, %s: its service account may not list Secrets", s.Name, o)
			}
		}
	}
}

// mayList says whether a RoleBinding of a namespace lets an account list Secrets.
func mayList(s Setup, namespace, account string) bool {
	for _, b := range s.kind("RoleBinding") {
		binding := s.Objects[b]
		bound := slices.ContainsFunc(list(at(binding.Tree, "subjects")), func(v any) bool {
			n := at(v, "namespace")
			return at(v, "name") == account && (n == nil || n == namespace)
		})
		if binding.Ref.Namespace != namespace || !bound {
			continue
		}
		for _, r := range s.kind("Role", "ClusterRole") {
			role := s.Objects[r]
			if role.Name == at(binding.Tree, "roleRef", "name") && slices.Contains(list(at(role.Tree, "rules", 0, "verbs")), any("list")) {
				return true
			}
		}
	}
	return false
}

// Istio's objects were tried with istiod's own validation; Kubernetes' must at least have
// no field that Kubernetes does not know.
func TestKubernetesKnowsEveryField(t *testing.T) {
	known := map[string]func() any{
		"Namespace": func() any { return &corev1.Namespace{} }, "Service": func() any { return &corev1.Service{} },
		"ServiceAccount": func() any { return &corev1.ServiceAccount{} }, "Secret": func() any { return &corev1.Secret{} },
		"Role": func() any { return &rbacv1.Role{} }, "RoleBinding": func() any { return &rbacv1.RoleBinding{} },
		"ClusterRole": func() any { return &rbacv1.ClusterRole{} }, "NetworkPolicy": func() any { return &networkingv1.NetworkPolicy{} },
		"Deployment": func() any { return &appsv1.Deployment{} }, "StatefulSet": func() any { return &appsv1.StatefulSet{} },
		"DaemonSet": func() any { return &appsv1.DaemonSet{} }, "CronJob": func() any { return &batchv1.CronJob{} },
		"HorizontalPodAutoscaler": func() any { return &autoscalingv2.HorizontalPodAutoscaler{} },
	}
	for _, s := range slices.Concat(loaded(t, "correct"), loaded(t, "notegress")) {
		for _, o := range s.Objects {
			into, ok := known[o.Kind]
			if !ok {
				if !strings.Contains(o.APIVersion, ".io/") {
					t.Errorf("%s: %s is not in the list", s.Name, o)
				}
				continue
			}
			if err := yaml.UnmarshalStrict(o.doc, into()); err != nil {
				t.Errorf("%s, %s: %v", s.Name, o, err)
			}
		}
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	if _, err := Load("testdata/no-such-folder"); err == nil {
		t.Error("a folder that is not there is no error")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "broken"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "broken", "a.yaml"), []byte("a: [\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "a.yaml") {
		t.Errorf("of YAML that cannot be read: %v", err)
	}
}

func TestFilesAreShort(t *testing.T) {
	err := filepath.WalkDir(".", func(file string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(file)
		if n := bytes.Count(raw, []byte("\n")); n >= 420 {
			t.Errorf("%s has %d lines", file, n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// counted are a table's lines, by name.
func counted(t *testing.T, counts map[string]int) {
	t.Helper()
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%6d %s", counts[k], k)
	}
}
