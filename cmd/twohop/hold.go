package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"twohop/internal/cluster"
	"twohop/internal/state"
	"twohop/internal/verdict"
)

// hold takes the cluster's locks, or a guest's: guests do not wait for each other.
func (r *runner) hold(ctx context.Context) (state.Hold, error) {
	if r.lab > 1 {
		return state.HoldLab(ctx, r.cluster, r.lab, r.p.printf)
	}
	return state.HoldCluster(ctx, r.cluster, r.labs, r.p.printf)
}

// takeKept makes a run without KEEP one that keeps, if the cluster was kept
// before: whoever forgets the variable loses nothing. KEEP=0 removes it.
func (r *runner) takeKept(ctx context.Context) error {
	if r.lab > 1 || r.keep || r.noKeep {
		return nil
	}
	kept, err := cluster.Kept(ctx, r.cluster)
	if err != nil || !kept {
		return err
	}
	r.keep = true
	note := fmt.Sprintf("cluster %s was kept by an earlier run; it stays up, `make down` removes it", r.cluster)
	r.p.printf("%s", note)
	return r.folder.SetRun(func(v *verdict.Run) { v.Notes = append(v.Notes, note) })
}

// guestsWithin is how soon a run notices that the last guest is gone.
const guestsWithin = time.Second

// takeDown removes the cluster at the end of its owner's run, once no guest is
// in it. An interrupted run does not wait: its error says that the cluster
// stays up, and for whom.
func (r *runner) takeDown(ctx context.Context, down func() error) error {
	for told := false; ; told = true {
		err := down()
		var guests *state.GuestsError
		if !errors.As(err, &guests) || ctx.Err() != nil {
			return err
		}
		if !told {
			r.p.printf("%v; waiting for them to end", guests)
		}
		select {
		case <-ctx.Done():
		case <-time.After(guestsWithin):
		}
	}
}
