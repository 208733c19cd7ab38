package offline

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"twohop/internal/audit"
	"twohop/internal/audit/corpus"
	"twohop/internal/computed"
	"twohop/internal/computed/computedtest"
	"twohop/internal/objects"
)

// auditor audits setups of the corpus with one program.
type auditor struct {
	t      *testing.T
	istiod *computed.Istiod
	asked  int
}

func (a *auditor) audit(name string, docs []byte) *audit.Report {
	a.t.Helper()
	// The program keeps all that it was given.
	if a.asked++; a.istiod == nil || a.asked%100 == 0 {
		a.end()
		var err error
		if a.istiod, err = computed.Start(a.t.Context(), computedtest.Program(a.t, computed.DefaultLine)); err != nil {
			a.t.Fatal(err)
		}
	}
	set := &objects.Set{}
	if err := set.Parse(name+".yaml", docs); err != nil {
		a.t.Fatalf("%s: %v", name, err)
	}
	m, channels, mesh, err := Find(set, "")
	if err != nil {
		a.t.Fatalf("%s: %v", name, err)
	}
	g, err := Ask(a.istiod, m, channels, mesh)
	if err != nil {
		a.t.Fatalf("%s: %v", name, err)
	}
	return audit.Judge(g.Input)
}

func (a *auditor) end() {
	if a.istiod != nil {
		_ = a.istiod.Close()
	}
}

func setups(t *testing.T, dir string) []corpus.Setup {
	t.Helper()
	all, err := corpus.Load(filepath.Join("..", "corpus", "testdata", dir))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("the corpus is empty")
	}
	return all
}

func TestCorrectSetupsGetNoAlarm(t *testing.T) {
	a := &auditor{t: t}
	defer a.end()
	for _, s := range setups(t, "correct") {
		r := a.audit(s.Name, s.Docs)
		if len(r.Channels) == 0 {
			t.Errorf("%s: no channel is found", s.Name)
		}
		for _, f := range r.Findings {
			if f.Status == audit.Fail && f.Severity.AtLeast(audit.High) {
				t.Errorf("%s: [%s] %s %s %s: %s", s.Name, f.ID, f.Severity, f.Object, f.Field, f.Seen)
			}
		}
	}
}

func TestSetupsWithoutAnEgress(t *testing.T) {
	a := &auditor{t: t}
	defer a.end()
	for _, s := range setups(t, "notegress") {
		r := a.audit(s.Name, s.Docs)
		if len(r.Channels) > 0 {
			t.Errorf("%s: a channel is found: %+v", s.Name, r.Channels)
		}
		if r.Result == audit.Passed {
			t.Errorf("%s: nothing was audited, and the result is pass", s.Name)
		}
	}
}

// A check that was not made is not listed as passed: of a Secret that is not in the input,
// and of files in the gateway's own container, nothing was seen.
func TestOnlyChecksThatWereMadeHavePassed(t *testing.T) {
	a := &auditor{t: t}
	defer a.end()
	for _, s := range setups(t, "correct") {
		if s.Name != "tls-top-level" {
			continue
		}
		files := bytes.Replace(s.Docs, []byte("credentialName: partner-client"), []byte("clientCertificate: /etc/c.pem\n      privateKey: /etc/k.pem\n      caCertificates: /etc/ca.pem"), 1)
		for name, x := range map[string]struct {
			docs []byte
			not  []string
		}{
			"a Secret that is not in the input": {s.Docs, []string{"04", "06", "21"}},
			"files":                             {files, []string{"04", "05", "06", "21"}},
		} {
			passed := map[string]bool{}
			for _, c := range a.audit(name, x.docs).Checks {
				passed[c.ID] = true
			}
			for _, id := range x.not {
				if passed[id] {
					t.Errorf("%s: check %s has passed", name, id)
				}
			}
			for _, id := range []string{"03", "08", "09", "10", "11", "13", "19"} {
				if !passed[id] {
					t.Errorf("%s: check %s has not passed", name, id)
				}
			}
		}
		return
	}
	t.Fatal("the setup is not in the corpus")
}

// What a claim of the catalogue has measured to be harmful is found, at the object that
// was changed.
func TestMeasuredFaultsAreFound(t *testing.T) {
	a := &auditor{t: t}
	defer a.end()
	tried := 0
	for _, s := range setups(t, "correct") {
		if !strings.HasPrefix(s.Name, "fixtures") {
			continue
		}
		clean := map[string]bool{}
		for _, f := range a.audit(s.Name, s.Docs).Findings {
			clean[placeOf(f)] = true
		}
		for _, f := range corpus.Faults(s) {
			harm, claim, known := corpus.Known(f)
			if !known || harm != corpus.Harmful {
				continue
			}
			tried++
			found := false
			var instead []string
			for _, x := range a.audit(f.ID, f.Docs).Findings {
				if clean[placeOf(x)] {
					continue
				}
				// An object that is missing has no name to be found by.
				found = found || x.Object.Kind == f.Object.Kind && (x.Object.Name == f.Object.Name || x.Object.Name == "") || strings.Contains(x.Seen+x.Wanted, f.Object.Name)
				instead = append(instead, fmt.Sprintf("[%s] %s %s: %s", x.ID, x.Object, x.Field, x.Seen))
			}
			if !found {
				t.Errorf("%s (harmful by %s) is not found; instead %v", f.ID, claim, instead)
			}
		}
	}
	if tried < 50 {
		t.Errorf("only %d faults were tried", tried)
	}
}

func placeOf(f audit.Finding) string { return fmt.Sprint(f.ID, f.Object, f.Field, f.Seen) }

func TestWhatCannotBeRead(t *testing.T) {
	if _, _, _, err := Read(Options{Paths: []string{filepath.Join(t.TempDir(), "none")}}); err == nil {
		t.Error("a path that does not exist is no error")
	}
	if _, _, _, err := Read(Options{Paths: []string{"-"}, Stdin: strings.NewReader("a: b")}); err == nil || !strings.Contains(err.Error(), "standard input:1") {
		t.Errorf("what is no object: %v", err)
	}
}

func TestMeshConfiguration(t *testing.T) {
	m, _, mesh, err := Read(Options{Paths: []string{"-"}, Stdin: strings.NewReader(`
apiVersion: v1
kind: ConfigMap
metadata: { name: istio, namespace: istio-system }
data:
  mesh: |
    outboundTrafficPolicy: { mode: REGISTRY_ONLY }
    rootNamespace: mesh
    trustDomain: example.org
`)})
	if err != nil {
		t.Fatal(err)
	}
	if m.AllowAny || !m.OutboundKnown || m.RootNamespace != "mesh" || m.TrustDomain != "example.org" || !strings.Contains(mesh, "REGISTRY_ONLY") {
		t.Errorf("%+v %q", m.Settings, mesh)
	}
}
