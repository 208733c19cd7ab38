package objects

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const two = `# a comment
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: g, namespace: n }
spec:
  servers:
    - port: { number: 8443 }
      tls:
        mode: ISTIO_MUTUAL
---
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Service
    metadata: { name: s, labels: { a: b } }
  - apiVersion: v1
    kind: Namespace
    metadata: { name: n }
`

func TestObjectsKnowTheirLines(t *testing.T) {
	s := &Set{Namespace: "of-kubectl"}
	if err := s.Parse("two.yaml", []byte(two)); err != nil {
		t.Fatal(err)
	}
	if len(s.All) != 3 {
		t.Fatalf("%d objects", len(s.All))
	}
	g := s.Find(Ref{"Gateway", "n", "g"})
	if g == nil || g.Group() != "networking.istio.io" {
		t.Fatalf("no gateway: %+v", g)
	}
	for path, line := range map[string]int{
		"spec.servers[0].tls.mode": 10, "spec.servers[0]": 8, "spec.servers[0].tls.sni": 9,
		"spec.selector": 6, "spec.servers[4]": 7, "metadata.name": 5, "status": 3,
	} {
		if got := g.Line(path); got != line {
			t.Errorf("%s: line %d, want %d", path, got, line)
		}
	}
	if s.Find(Ref{"Service", "of-kubectl", "s"}) == nil || s.Find(Ref{"Namespace", "", "n"}) == nil {
		t.Errorf("the namespace of kubectl is for objects in namespaces that name none: %v", s.All)
	}
	if !strings.Contains(string(s.All[1].JSON), `"namespace":"of-kubectl"`) {
		t.Errorf("the object does not have it: %s", s.All[1].JSON)
	}
}

func TestKeysWithDots(t *testing.T) {
	s := &Set{}
	if err := s.Parse("f", []byte("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations:\n    a.b/c: d\n")); err != nil {
		t.Fatal(err)
	}
	if got := s.All[0].Line("metadata.annotations[a.b/c]"); got != 6 {
		t.Errorf("line %d", got)
	}
}

func TestWhatIsNoObject(t *testing.T) {
	for raw, want := range map[string]string{
		"a: b":                         "f:1: this document is not an object",
		"- a":                          "f:1: this document is not an object",
		"apiVersion: v1\nkind: [":      "f: yaml: ",
		"---\n---\napiVersion: v1\nx:": "f:3: this document is not an object",
	} {
		err := (&Set{}).Parse("f", []byte(raw))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", raw, err, want)
		}
	}
}

func TestFolders(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: a}", "sub/b.json": `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"b"}}`,
		"kustomization.yaml": "resources: [a.yaml]", "README.md": "# no", ".hidden/c.yaml": "nonsense",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := &Set{}
	if err := s.Read(strings.NewReader("apiVersion: v1\nkind: Pod\nmetadata: {name: a}"), dir, "-"); err != nil {
		t.Fatal(err)
	}
	if len(s.All) != 3 || len(s.Duplicates()) != 1 || s.Duplicates()[0].Again.File != "standard input" {
		t.Errorf("%+v", s.All)
	}
	if err := s.Read(nil, filepath.Join(dir, "not-there")); err == nil {
		t.Error("a path that does not exist is no error")
	}
}
