package main

import (
	"bytes"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"twohop/internal/claim"
	"twohop/internal/experiment"
	"twohop/internal/manifest"
	"twohop/suites"
)

func TestClaimsRender(t *testing.T) {
	for _, tt := range []struct {
		name   string
		args   []string
		code   int
		stdout []string // occur in this order
		stderr string
	}{
		{"a variation and its undoing", []string{"G4"}, 0, []string{"# Claim G4: ", "\n# The check\n# Change: drop the mesh route", "\n---\n", "kind: VirtualService", "name: hop2",
			"\n# The control\n# Change: the mesh route is back\n---\n", "name: hop1"}, ""},
		{"only what is sent differs", []string{"G3-yaml"}, 0, []string{"# The check\n# The baseline, unchanged.\n", "# The control\n# Change: write the time as 300s\n# No object changes: "}, ""},
		{"on top of each other", []string{"A-align-target"}, 0, []string{"port: 8443\n    targetPort: 8444", "# The control", "port: 443\n    targetPort: 8444", "number: 443"}, ""},
		{"no claim", nil, 2, nil, "render takes one claim, not 0: write twohop claims render ID"},
		{"two claims", []string{"G1", "G4"}, 2, nil, "render takes one claim, not 2"},
		{"unknown", []string{"G44"}, 2, nil, `no claim is called "G44"; did you mean G4?`},
		{"a chapter", []string{"goals"}, 2, nil, `no claim is called "goals"`},
		{"help has examples", []string{"--help"}, 0, []string{"Examples:"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := run(append([]string{"claims", "render"}, tt.args...)...)
			rest, ok := stdout, true
			for _, text := range tt.stdout {
				if _, rest, ok = strings.Cut(rest, text); !ok {
					t.Errorf("stdout lacks %q, or has it elsewhere:\n%s", text, stdout)
					break
				}
			}
			if code != tt.code || !strings.Contains(stderr, tt.stderr) || (tt.stderr == "") != (stderr == "") {
				t.Errorf("exit %d, want %d; stderr %q, want %q", code, tt.code, stderr, tt.stderr)
			}
		})
	}
	if _, stdout, _ := run("__complete", "claims", "render", "G3"); !strings.Contains(stdout, "G3-yaml") || strings.Contains(stdout, "goals\n") {
		t.Errorf("completion: %s", stdout)
	}
}

// What render prints of any claim is YAML, without a private key.
func TestEveryClaimRendersAsYAML(t *testing.T) {
	for _, id := range suites.IDs() {
		code, stdout, stderr := run("claims", "render", string(id))
		if code != 0 {
			t.Errorf("%s: exit %d: %s", id, code, stderr)
			continue
		}
		documents := strings.Split(stdout, "\n---\n")
		for _, text := range documents[1:] { // the first has comments only
			var o struct {
				Kind     string
				Metadata struct{ Name string }
			}
			if err := yaml.Unmarshal([]byte(text), &o); err != nil || o.Kind == "" || o.Metadata.Name == "" {
				t.Errorf("%s: a document is no manifest (%v):\n%s", id, err, text)
			}
			if o.Kind != "Secret" {
				continue
			}
			var secret corev1.Secret
			if err := yaml.Unmarshal([]byte(text), &secret); err != nil {
				t.Errorf("%s: %v", id, err)
			}
			for name, value := range secret.Data {
				if manifest.IsPrivateKey(value) {
					t.Errorf("%s prints the private key %s of the Secret %s", id, name, secret.Name)
				}
			}
		}
	}
}

func TestRenderWritesDeletionsAsComments(t *testing.T) {
	var b bytes.Buffer
	err := render(&b, claim.Claim{ID: "X", Statement: "so\nit is"}, []experiment.Stage{{Name: "check", Changes: []experiment.Change{
		{Words: "one goes", Applied: []manifest.Applied{{Command: "kubectl delete secret a"}}}}}})
	want := "# Claim X: so it is\n\n# The check\n# Change: one goes\n# kubectl delete secret a\n"
	if err != nil || b.String() != want {
		t.Errorf("%q, want %q (%v)", b.String(), want, err)
	}
}
