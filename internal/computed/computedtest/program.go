// Package computedtest finds the program with istiod's code for tests. It compiles it
// where it is not there yet, which takes minutes the first time. It is for tests, and must
// know nothing of what they test.
package computedtest

import (
	"path/filepath"
	"runtime"
	"testing"

	"twohop/internal/computed"
	"twohop/internal/state"
)

// Program is that of an Istio line.
func Program(t testing.TB, line string) string {
	t.Helper()
	cache, err := state.Dir()
	if err != nil {
		t.Fatal(err)
	}
	_, self, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(self), "..", "..", "..")
	path, err := computed.Program(t.Context(), root, cache, line, func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	return path
}
