package computedtest

import (
	"os"
	"testing"

	"twohop/internal/computed"
)

// scripts/test.sh runs this before all other tests: what it compiles they find.
func TestProgram(t *testing.T) {
	path := Program(t, computed.DefaultLine)
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		t.Errorf("%s: %v", path, err)
	}
}
