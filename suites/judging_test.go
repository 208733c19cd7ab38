package suites_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"twohop/internal/claim"
)

func TestTheLongestBeginFirst(t *testing.T) {
	claims := []claim.Claim{{ID: "a"}, {ID: late}, {ID: "b", Takes: 2 * time.Second}, {ID: "c"}, {ID: "d", Takes: 9 * time.Second}}
	for newLabs, want := range map[bool][]claim.ID{
		false: {"d", "b", "a", late, "c"},
		true:  {"d", "b", "a", "c", late}, // whose gateway has just started
	} {
		var got []claim.ID
		for _, c := range inTurn(claims, newLabs) {
			got = append(got, c.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("new labs: %v: %v, want %v", newLabs, got, want)
		}
	}
}

// A spec gets what a lab found, or why the labs are lost; one that is interrupted ends
// what is under way first.
func TestSpecsWaitForTheLabs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		working, stop := context.WithCancel(ctx)
		j := &judging{found: map[claim.ID]chan judged{"a": make(chan judged, 1), "b": make(chan judged, 1)}, failed: make(chan struct{}), stop: stop}
		ended := false
		j.labs.Go(func() {
			j.found["a"] <- judged{err: errors.New("a was found")}
			<-working.Done()
			time.Sleep(time.Second)
			ended = true
		})
		if got, fatal := j.await(ctx, "a"); fatal != nil || got.err == nil {
			t.Errorf("a: %v, %v", got, fatal)
		}
		interrupted, interrupt := context.WithTimeout(ctx, time.Second)
		defer interrupt()
		if _, fatal := j.await(interrupted, "b"); !errors.Is(fatal, context.Canceled) || !ended {
			t.Errorf("interrupted: %v; the lab has ended: %v", fatal, ended)
		}
		j.lose(errors.New("lab 2 is gone"))
		j.lose(errors.New("lab 3 is gone"))
		if _, fatal := j.await(ctx, "b"); fatal == nil || fatal.Error() != "lab 2 is gone" {
			t.Errorf("b: %v", fatal)
		}
	})
}
