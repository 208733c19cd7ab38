package replay

import (
	"bytes"
	"fmt"
	"iter"
	"regexp"
	"strconv"
	"strings"

	"twohop/internal/claim"
	"twohop/internal/observe"
	"twohop/internal/observe/recorded"
	"twohop/internal/verdict"
)

// Late says of which claims a log line came outside the window that was to hold it:
// what such a claim says of the absence or the number of lines is not proven. The
// logs have to be sealed.
func Late(dir string) (map[claim.ID]string, error) {
	run, err := verdict.OpenRun(dir)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	raw, err := run.ReadFile(verdict.VerdictFile)
	if err != nil {
		return nil, err
	}
	r := newReplay(run, options{})
	if r.v, err = verdict.Decode(raw); err != nil {
		return nil, err
	}
	if r.key, err = observe.NewKey(r.v.Run.Nonce, r.v.Run.Header); err != nil {
		return nil, err
	}
	r.readLogs()
	for _, c := range r.v.Claims {
		r.readEvidence(c.ID, c.Evidence)
	}
	if len(r.Problems) > 0 {
		return nil, fmt.Errorf("the run's folder: %s", strings.Join(r.Problems, " "))
	}
	return r.late(), nil
}

// token is how a run's tokens look in a log line (observe.Key.Token).
var token = regexp.MustCompile(`t[0-9a-f]{16}`)

// entries are the observations of all claims.
func (r *replay) entries() iter.Seq2[observe.Slot, recorded.Entry] {
	return func(yield func(observe.Slot, recorded.Entry) bool) {
		for _, source := range r.kept {
			for at, e := range source.Entries {
				if !yield(at, e) {
					return
				}
			}
		}
	}
}

// closed is a window that is to hold all lines about a token.
type closed struct {
	claim    claim.ID
	from, to int
}

// late looks for lines about requests beyond the windows that were to hold them.
func (r *replay) late() map[claim.ID]string {
	windows := map[string]map[string]closed{} // by log and token
	for at, e := range r.entries() {
		fields := strings.Fields(e.Question) // requests ROLE N DIGEST
		if len(fields) < 3 || fields[0] != "requests" || len(e.Windows) == 0 {
			continue
		}
		n, err := strconv.Atoi(fields[2])
		if err != nil {
			continue // the replay finds that the question is another one
		}
		for i := range n {
			t := r.key.Token(at, i)
			if !bytes.Contains(e.Raw, []byte(t)) {
				continue // not over when the client was stopped
			}
			for _, w := range e.Windows {
				if windows[w.Log] == nil {
					windows[w.Log] = map[string]closed{}
				}
				windows[w.Log][t] = closed{claim.ID(at.Claim), w.From, w.To}
			}
		}
	}
	found := map[claim.ID]string{}
	for path, tokens := range windows {
		log := r.logs[path]
		if log == nil {
			continue
		}
		log.Each(func(n int, l observe.LogLine) {
			for _, t := range token.FindAll(l.Text, -1) {
				switch c, ok := tokens[string(t)]; {
				case ok && n >= c.to:
					found[c.claim] = fmt.Sprintf("line %d of %s is about the request %s and came after the log had been read up to line %d", n, path, t, c.to-1)
				case ok && n < c.from:
					found[c.claim] = fmt.Sprintf("line %d of %s is about the request %s, and the log was read from line %d on", n, path, t, c.from)
				}
			}
		})
	}
	return found
}
