package replay

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"twohop/internal/claim"
	"twohop/internal/experiment"
	"twohop/internal/observe"
	"twohop/internal/verdict"
)

// slack is by how much clocks that are read one after the other may differ: the
// run's start and durations are cut to milliseconds, and a container's two streams
// are stamped apart from each other.
const slack = time.Second

// inOrder holds a log's lines against their times: a line that was moved or
// doubled has another place than its time says.
func (r *replay) inOrder(path string, log *observe.LogFile) {
	var last observe.LogLine
	log.Each(func(n int, l observe.LogLine) {
		switch {
		case l.At.Before(last.At.Add(-slack)):
			r.Problem("Line %d of %s is older than the line before it.", n, path)
		case l.At.Equal(last.At) && bytes.Equal(l.Text, last.Text):
			r.Problem("Line %d of %s is the line before it once more.", n, path)
		}
		last = l
	})
}

// times holds what was measured against each other: nobody can work it out again,
// but a part does not outlast the whole.
func (r *replay) times() {
	begin := r.v.Run.Start.Add(-slack)
	end := r.v.Run.Start.Add(millis(r.v.Run.DurationMillis) + slack)
	within := func(what string, start time.Time, took int64) {
		if start.Before(begin) || start.Add(millis(took)).After(end) {
			r.Problem("%s lies outside the run's time: %s, %s.", what, start.Format(time.RFC3339Nano), millis(took))
		}
	}
	for _, p := range r.v.Phases {
		within("The phase "+p.Name, p.Start, p.DurationMillis)
	}
	for _, c := range r.v.Claims {
		if c.Finding.Claim == "" {
			continue
		}
		within(fmt.Sprintf("%s: the claim", c.ID), c.Start, c.DurationMillis)
		for _, e := range c.Evidence {
			if millis(e.TookMillis) > millis(c.DurationMillis)+slack {
				r.Problem("%s: observation %s %d took longer than the claim: %s.", c.ID, e.Stage, e.Ordinal, millis(e.TookMillis))
			}
		}
	}
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// order holds the windows against each other. In a lab, claims are made one after the
// other, and logs only grow: where a later observation found a log's end lies behind
// where an earlier one did.
func (r *replay) order() {
	claims := slices.Clone(r.v.Claims)
	slices.SortStableFunc(claims, func(a, b verdict.Result) int { return a.Start.Compare(b.Start) })
	ends := map[string]int{}
	r.rising(string(experiment.RunID), r.v.Run.Evidence, ends)
	for _, c := range claims {
		r.rising(string(c.ID), c.Evidence, ends)
	}
}

// rising goes through a claim's observations in the order in which they were asked
// for. ends are where the logs ended before; they become where they end now.
func (r *replay) rising(id string, list []verdict.Evidence, ends map[string]int) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b verdict.Evidence) int {
		stages := []string{"setup", "check", "control"} // a lab's come before
		if by := slices.Index(stages, a.Stage) - slices.Index(stages, b.Stage); by != 0 {
			return by
		}
		return a.Ordinal - b.Ordinal
	})
	last := map[string]int{}
	for _, e := range list {
		fromEnd := e.Question == (observe.Pods{}).Key() || strings.HasPrefix(e.Question, "requests ")
		for _, w := range e.Windows {
			if e.Error != "" || !fromEnd { // others begin where the claim did
				continue
			}
			if w.From < ends[w.Log] {
				r.Problem("%s: observation %s %d begins with line %d of %s, and the log had %d lines by then.", id, e.Stage, e.Ordinal, w.From, w.Log, ends[w.Log])
			}
			ends[w.Log] = max(ends[w.Log], w.From)
			last[w.Log] = max(last[w.Log], w.To)
		}
	}
	for log, to := range last {
		ends[log] = max(ends[log], to)
	}
}

// header holds what the run says of itself beforehand against the tokens, which
// are derived from it.
func (r *replay) header() bool {
	asked, answered := 0, 0
	for at, e := range r.entries() {
		if strings.HasPrefix(e.Question, "requests ") {
			asked++
			if strings.Contains(e.Meta.Command, r.key.Token(at, 0)) {
				answered++
			}
		}
	}
	if asked > 0 && answered == 0 {
		r.Problem("The run's header is not the one that its requests were made under: none of %d carries a token of it. It is the id, start, nonce, seed, selection, harnessCommit, rules, lane, engine, cluster, lab, domain and asked.", asked)
		return false
	}
	return true
}

// most is beyond the ordinals that a stage reaches.
const most = 300

// hidden finds requests of claims that are said not to have run: their lines stay
// in the logs.
func (r *replay) hidden() {
	tokens := map[string]claim.ID{}
	for _, c := range r.v.Claims {
		if c.Finding.Claim != "" {
			continue
		}
		for _, stage := range []string{"setup", "check", "control"} {
			for n := range most {
				tokens[r.key.Token(observe.Slot{Claim: string(c.ID), Stage: stage, Ordinal: n}, 0)] = c.ID
			}
		}
	}
	said := map[claim.ID]bool{}
	for path, log := range r.logs {
		log.Each(func(n int, l observe.LogLine) {
			for _, t := range token.FindAll(l.Text, -1) {
				id, ok := tokens[string(t)]
				if !ok || said[id] {
					continue
				}
				said[id] = true
				if r.ended() {
					r.Problem("%s: the verdict says that it did not run, and line %d of %s is about a request of its.", id, n, path)
				} else {
					r.Note("%s was under way when the run ended: line %d of %s is about a request of its.", id, n, path)
				}
			}
		})
	}
}

// ended says that the run came to its end, so that nothing is half there.
func (r *replay) ended() bool {
	return r.v.Result != verdict.Interrupted && r.v.Result != verdict.Failed && r.v.Result != verdict.Running
}
