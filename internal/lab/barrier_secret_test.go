package lab

import (
	"testing"
)

// A second sentinel tells a secret that is on its way from one that never comes; where
// none is lacking, one is enough.
func TestALackingSecretTakesASecondSentinel(t *testing.T) {
	w := deployed(t, 1)
	for warming, want := range map[int32]int{0: 1, 1: 2} {
		w.warming.Store(warming)
		before := w.sentinel
		if err := w.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.sentinel - before; got != want {
			t.Errorf("%d clusters warm: %d sentinels, want %d", warming, got, want)
		}
	}
}
