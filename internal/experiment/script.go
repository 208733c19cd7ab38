package experiment

import (
	"fmt"
	"strings"

	"twohop/internal/claim"
	"twohop/internal/subject"
)

// script is what a person would type to see what the experiment saw.
type script struct{ steps []step }

type step struct {
	what, command string
	stdin         []byte
}

func (s *script) add(what, command string, stdin []byte) {
	s.steps = append(s.steps, step{what, command, stdin})
}

// render writes a POSIX shell script.
func (s *script) render(id claim.ID, of subject.Subject) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "#!/bin/sh\n# How to see claim %s by hand, step by step, on a lab of your own:\n", id)
	fmt.Fprintf(&b, "#   make up && export KUBECONFIG=$(bin/twohop kubeconfig)\n")
	fmt.Fprintf(&b, "# The lab is %s, %s and %s. Names of pods and addresses are those of the\n# run; yours differ.\n",
		of.Client, of.Gateway, of.Partner)
	b.WriteString("set -x\n")
	for _, st := range s.steps {
		fmt.Fprintf(&b, "\n# %s\n", strings.ReplaceAll(st.what, "\n", " "))
		if len(st.stdin) == 0 {
			b.WriteString(st.command + "\n")
			continue
		}
		fmt.Fprintf(&b, "%s <<'YAML'\n%s", st.command, st.stdin)
		if !strings.HasSuffix(string(st.stdin), "\n") {
			b.WriteString("\n")
		}
		b.WriteString("YAML\n")
	}
	return []byte(b.String())
}
