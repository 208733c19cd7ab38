// Package deploy tests the manifests beside it: what kubectl makes of them, that no
// right is about Secrets, and that alerts ask for metrics that an audit prints.
package deploy

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	yamlv3 "go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"twohop/internal/audit/report"
)

// manifest is what one document says.
type manifest struct {
	kind, namespace, name string
	raw                   []byte
}

// read decodes it, and fails on a field that its kind does not have.
func (m manifest) read(t *testing.T, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(m.raw, into); err != nil {
		t.Errorf("%s %s: %v", m.kind, m.name, err)
	}
}

// built is what kubectl makes of a folder.
func built(t *testing.T, folder string) (all []manifest) {
	t.Helper()
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("not tested: what kustomize makes of deploy/audit, since kubectl is not there")
	}
	// So that go test knows what it depends on.
	err = filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			_, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(kubectl, "kustomize", folder)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "KUBECONFIG=/dev/null")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("kubectl kustomize %s: %v\n%s", folder, err, &stderr)
	}
	for d := yamlv3.NewDecoder(bytes.NewReader(raw)); ; {
		var node yamlv3.Node
		if err := d.Decode(&node); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		one, err := yamlv3.Marshal(&node)
		if err != nil {
			t.Fatal(err)
		}
		var o metav1.PartialObjectMetadata
		if err := yaml.Unmarshal(one, &o); err != nil {
			t.Fatal(err)
		}
		all = append(all, manifest{o.Kind, o.Namespace, o.Name, one})
	}
}

func names(all []manifest) (list []string) {
	for _, m := range all {
		list = append(list, m.kind+" "+strings.TrimPrefix(m.namespace+"/"+m.name, "/"))
	}
	slices.Sort(list)
	return list
}

var base = []string{
	"ClusterRole twohop-audit", "ClusterRoleBinding twohop-audit",
	"ConfigMap twohop-audit/twohop-audit-summary", "CronJob twohop-audit/twohop-audit",
	"Deployment twohop-audit/twohop-audit-metrics", "Namespace twohop-audit",
	"Role istio-system/twohop-audit-mesh", "Role twohop-audit/twohop-audit-summary",
	"RoleBinding istio-system/twohop-audit-mesh", "RoleBinding twohop-audit/twohop-audit-summary",
	"Service twohop-audit/twohop-audit-metrics", "ServiceAccount twohop-audit/twohop-audit",
}

func TestKustomize(t *testing.T) {
	all := built(t, ".")
	if diff := cmp.Diff(base, names(all)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, m := range all {
		switch m.kind {
		case "Namespace":
			var n corev1.Namespace
			m.read(t, &n)
			if n.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
				t.Errorf("the namespace admits more than restricted pods: %v", n.Labels)
			}
		case "CronJob":
			var c batchv1.CronJob
			m.read(t, &c)
			if c.Spec.ConcurrencyPolicy != batchv1.ForbidConcurrent || c.Spec.JobTemplate.Spec.ActiveDeadlineSeconds == nil {
				t.Errorf("two audits may run at once, or one without end: %+v", c.Spec)
			}
			spec := c.Spec.JobTemplate.Spec.Template.Spec
			restricted(t, spec)
			line := slices.Concat(spec.Containers[0].Command, spec.Containers[0].Args)
			want := []string{"twohop-publish", "run", "twohop-audit/twohop-audit-summary", "twohop", "audit", "--live", "-o", "metrics"}
			if !slices.Equal(line, want) || !slices.Contains(report.Formats(), line[len(line)-1]) {
				t.Errorf("it runs %q", line)
			}
		case "Deployment":
			var d appsv1.Deployment
			m.read(t, &d)
			restricted(t, d.Spec.Template.Spec)
			if d.Spec.Template.Spec.ServiceAccountName != "" || *d.Spec.Template.Spec.AutomountServiceAccountToken {
				t.Error("what serves metrics has an account")
			}
			if !cmp.Equal(d.Spec.Selector.MatchLabels, d.Spec.Template.Labels) {
				t.Errorf("it selects %v of %v", d.Spec.Selector.MatchLabels, d.Spec.Template.Labels)
			}
		case "Service":
			m.read(t, &corev1.Service{})
		case "ServiceAccount":
			m.read(t, &corev1.ServiceAccount{})
		case "ConfigMap":
			m.read(t, &corev1.ConfigMap{})
		}
	}
}

// restricted holds a pod against the Pod Security Standard "restricted", and against what
// this one needs besides.
func restricted(t *testing.T, pod corev1.PodSpec) {
	t.Helper()
	if pod.HostNetwork || pod.HostPID || pod.HostIPC || pod.SecurityContext == nil || pod.SecurityContext.RunAsNonRoot == nil || !*pod.SecurityContext.RunAsNonRoot ||
		pod.SecurityContext.SeccompProfile == nil || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod is not restricted: %+v", pod.SecurityContext)
	}
	for _, v := range pod.Volumes {
		if v.EmptyDir == nil && v.ConfigMap == nil {
			t.Errorf("volume %s is neither empty nor a ConfigMap", v.Name)
		}
	}
	for _, c := range append(pod.InitContainers, pod.Containers...) {
		s := c.SecurityContext
		if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
			s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
			t.Errorf("container %s is not restricted: %+v", c.Name, s)
		}
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
			t.Errorf("container %s has no resources", c.Name)
		}
		if !strings.HasPrefix(c.Image, "twohop:") {
			t.Errorf("container %s has image %s", c.Name, c.Image)
		}
	}
}

// The rights are those that the audit uses, and no rule is about Secrets.
func TestRights(t *testing.T) {
	listed := wanted(t)
	for _, plural := range []string{"namespaces", "pods", "endpointslices.discovery.k8s.io"} {
		listed[plural] = true
	}
	creates := []string{
		"pods/portforward", "selfsubjectaccessreviews.authorization.k8s.io", "selfsubjectreviews.authentication.k8s.io",
		"selfsubjectrulesreviews.authorization.k8s.io", "subjectaccessreviews.authorization.k8s.io",
	}
	for _, folder := range []string{".", "prometheus-operator"} {
		var created []string
		read := map[string]bool{}
		for _, m := range built(t, folder) {
			var role struct {
				rbacv1.Role `json:",inline"`
			}
			switch m.kind {
			case "ClusterRole", "Role":
				m.read(t, &role)
			case "ClusterRoleBinding", "RoleBinding":
				var b rbacv1.RoleBinding
				m.read(t, &b)
				if len(b.Subjects) != 1 || b.Subjects[0].Kind != "ServiceAccount" || b.Subjects[0].Name != "twohop-audit" || b.Subjects[0].Namespace != "twohop-audit" || b.RoleRef.Name != m.name {
					t.Errorf("%s %s binds %v to %v", m.kind, m.name, b.RoleRef, b.Subjects)
				}
				continue
			default:
				continue
			}
			for _, rule := range role.Rules {
				if len(rule.NonResourceURLs) > 0 || len(rule.APIGroups) != 1 {
					t.Errorf("%s: %v", m.name, rule)
				}
				for _, r := range rule.Resources {
					if strings.Contains(r, "secret") || strings.Contains(r, "*") || slices.Contains(rule.APIGroups, "*") || strings.Contains(r, "exec") || strings.Contains(r, "ephemeral") {
						t.Errorf("%s has a rule about %s", m.name, r)
					}
					full := strings.TrimSuffix(r+"."+rule.APIGroups[0], ".")
					switch {
					case m.kind == "ClusterRole" && slices.Equal(rule.Verbs, []string{"get", "list"}) && len(rule.ResourceNames) == 0:
						read[full] = true
					case m.kind == "ClusterRole" && slices.Equal(rule.Verbs, []string{"create"}):
						created = append(created, full)
					case full == "configmaps" && m.name == "twohop-audit-mesh" && slices.Equal(rule.Verbs, []string{"get"}) && slices.Equal(rule.ResourceNames, []string{"istio"}):
					case full == "configmaps" && m.name == "twohop-audit-summary" && slices.Equal(rule.Verbs, []string{"patch"}) && slices.Equal(rule.ResourceNames, []string{"twohop-audit-summary"}):
					default:
						t.Errorf("%s %s allows %v of %s %v", m.kind, m.name, rule.Verbs, full, rule.ResourceNames)
					}
				}
			}
		}
		slices.Sort(created)
		if !slices.Equal(created, creates) {
			t.Errorf("%s: it may create %v", folder, created)
		}
		if diff := cmp.Diff(listed, read); diff != "" {
			t.Errorf("%s: what the audit lists, and what it may list (-want +got):\n%s", folder, diff)
		}
	}
}

// wanted are the resources that internal/audit/livesource lists in every cluster, as its
// source says.
func wanted(t *testing.T) map[string]bool {
	t.Helper()
	const path = "../../internal/audit/livesource/collect.go"
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || v.Names[0].Name != "wanted" {
			return true
		}
		for _, row := range v.Values[0].(*ast.CompositeLit).Elts {
			fields := row.(*ast.CompositeLit).Elts
			for _, plural := range fields[1].(*ast.CompositeLit).Elts {
				found[strings.TrimSuffix(text(t, plural)+"."+text(t, fields[0]), ".")] = true
			}
		}
		return false
	})
	if len(found) < 10 {
		t.Fatalf("%s has another form than this test reads: %v", path, found)
	}
	return found
}

func text(t *testing.T, e ast.Expr) string {
	t.Helper()
	s, err := strconv.Unquote(e.(*ast.BasicLit).Value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
