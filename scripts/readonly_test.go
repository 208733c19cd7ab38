package scripts

import (
	"os"
	"strings"
	"testing"
)

// The cluster with an audit log is the lab's in all else.
func TestTheKindConfigWithAnAuditLogIsTheLabs(t *testing.T) {
	ours, err := os.ReadFile("../kind-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	audited, err := os.ReadFile("read-only/kind-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rest := string(audited)
	for _, line := range strings.Split(strings.TrimSpace(string(ours)), "\n") {
		_, after, found := strings.Cut(rest, line+"\n")
		if !found {
			t.Fatalf("read-only/kind-config.yaml lacks, or has elsewhere: %s", line)
		}
		rest = after
	}
}
