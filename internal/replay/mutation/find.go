package mutation

import (
	"fmt"
	"runtime"
	"slices"
	"sync"

	"twohop/internal/claim"
	"twohop/internal/replay"
	"twohop/internal/replay/recording"
)

// Suite is a recording, ready to be altered.
type Suite struct {
	subjects []*subject
	// Stale are the claims whose replay does not come out as recorded, and why.
	Stale map[claim.ID]string
}

// Load reads a recording.
func Load(files recording.Files) (*Suite, error) {
	all, err := replay.Read(files)
	if err != nil {
		return nil, err
	}
	s := &Suite{Stale: map[claim.ID]string{}}
	claims := all.Claims()
	made, errs := make([]*subject, len(claims)), make([]error, len(claims))
	inParallel(len(claims), func(i int) { made[i], errs[i] = newSubject(claims[i]) })
	for i, of := range made {
		switch {
		case errs[i] != nil:
			return nil, fmt.Errorf("%s: %w", claims[i].ID, errs[i])
		case of.base.err != of.Error || of.turns(of.base):
			s.Stale[of.ID] = of.base.err
		default:
			s.subjects = append(s.subjects, of)
		}
	}
	samples, everywhere := map[string]*document{}, words{}
	for _, of := range s.subjects {
		of.noteSamples(samples)
		of.samples, of.everyValue = samples, everywhere
		for _, d := range of.docs {
			everywhere.note(d)
		}
	}
	// Those that take longest begin.
	slices.SortStableFunc(s.subjects, func(a, b *subject) int { return b.size() - a.size() })
	return s, nil
}

func (s *subject) size() (nodes int) {
	for _, d := range s.docs {
		nodes += len(d.nodes)
	}
	return nodes
}

// inParallel does n things, several at once.
func inParallel(n int, do func(i int)) {
	var wg sync.WaitGroup
	queue := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range queue {
				do(i)
			}
		}()
	}
	for i := range n {
		queue <- i
	}
	close(queue)
	wg.Wait()
}

// each does something with every claim.
func (s *Suite) each(do func(*subject)) {
	inParallel(len(s.subjects), func(i int) { do(s.subjects[i]) })
}

// Find finds what the facts read, and what makes those fail that no case does. It
// takes minutes.
func (s *Suite) Find(done func(id claim.ID, what string, n int)) *Reads {
	r := &Reads{Claims: map[claim.ID]*ClaimReads{}}
	var mu sync.Mutex
	s.each(func(of *subject) {
		found := of.find()
		mu.Lock()
		defer mu.Unlock()
		r.Claims[of.ID] = found
		done(of.ID, "fields that facts read", len(found.Read))
	})
	s.prove(r, done)
	return r
}

// prove looks for proofs of the facts that no case makes fail.
func (s *Suite) prove(r *Reads, done func(id claim.ID, what string, n int)) {
	known := fields{}
	for _, of := range s.subjects {
		for _, d := range of.docs {
			known.note(d)
		}
	}
	chosen, _ := s.choose(r)
	var mu sync.Mutex
	s.each(func(of *subject) {
		found := r.Claims[of.ID]
		proven := of.provenBy(slices.Concat(chosen[of.ID], of.faults(found)))
		of.rest(found, proven, func(string) bool { return false })
		found.Proofs = of.proofs(of.unproven(proven), known)
		mu.Lock()
		defer mu.Unlock()
		if len(found.Proofs) > 0 {
			done(of.ID, "facts that several fields make fail, or one more", len(found.Proofs))
		}
	})
}

// provenBy are the facts that cases make fail.
func (s *subject) provenBy(cases []aCase) map[int]bool {
	proven := map[int]bool{}
	for _, c := range cases {
		for _, i := range s.try(c).flipped {
			proven[i] = true
		}
	}
	return proven
}
