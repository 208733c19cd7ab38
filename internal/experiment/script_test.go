package experiment

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/subject"
)

// A script that the shell reads differently reproduces nothing.
func TestScript(t *testing.T) {
	var s script
	s.add("a change\nin two lines", "kubectl apply -f -", []byte("kind: A\nnote: $HOME `date` 'x'"))
	s.add("a call", "printf '%s\\n' called", nil)
	got := string(s.render("G1", subject.Default()))
	want := `#!/bin/sh
# How to see claim G1 by hand, step by step, on a lab of your own:
#   make up && export KUBECONFIG=$(bin/twohop kubeconfig)
# The lab is deploy/client -n twohop-app, deploy/partner-egressgateway -n twohop-egress and deploy/partner -n twohop-partner. Names of pods and addresses are those of the
# run; yours differ.
set -x

# a change in two lines
kubectl apply -f - <<'YAML'
kind: A
note: $HOME ` + "`date`" + ` 'x'
YAML

# a call
printf '%s\n' called
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}

	// A shell runs it, and hands kubectl the document as it is.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte("#!/bin/sh\ncat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	sh := exec.Command("sh", "-c", got)
	sh.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := sh.Output()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("kind: A\nnote: $HOME `date` 'x'\ncalled\n", string(out)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestScriptOfARun(t *testing.T) {
	env, _, _ := environment(t)
	text := string(try(env, status(200, 503)).Script)
	at := 0
	for _, part := range []string{"# add a\nkubectl apply -f - <<'YAML'\n", "name: a", "# add b\n", "name: b", "# add c\n"} {
		n := strings.Index(text[at:], part)
		if n < 0 {
			t.Fatalf("%q is not there, or not in order:\n%s", part, text)
		}
		at += n
	}
}
