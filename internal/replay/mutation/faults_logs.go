package mutation

import (
	"bytes"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"twohop/internal/observe"
	subjects "twohop/internal/subject"
)

var token = regexp.MustCompile(`t[0-9a-f]{16}`)

// about reports whether a log line is about a request, and not the one that ends a
// window.
func about(line []byte) bool { return token.Match(line) && !bytes.Contains(line, []byte("flush")) }

// added are lines about requests that were not made, or not seen: what a log says of
// another request of the claim, said of this one.
func (s *subject) added(found *ClaimReads) (all []aCase) {
	for _, at := range slices.SortedFunc(maps.Keys(s.entries), order) {
		e := s.entries[at]
		for _, w := range e.Windows {
			if w.Role == subjects.Istiod && w.To > w.From {
				all = append(all, s.istiodSays(found, at, w)...)
			}
		}
		if !strings.HasPrefix(e.Question, "requests ") {
			continue
		}
		for _, w := range e.Windows {
			for _, line := range s.another(at, w) {
				all = append(all, aCase{doc: string(w.Role) + "'s log", field: "a line about the request of " + at.String(), op: "added", optional: true,
					ways: []mutant{{logs: map[string]logEdit{w.Log: func(lines map[int]observe.LogLine) { lines[w.From] = line }}}}})
			}
		}
	}
	return all
}

// istiodSays are lines that istiod wrote for the other trial, in this one's window.
func (s *subject) istiodSays(found *ClaimReads, at observe.Slot, w observe.Window) (all []aCase) {
	for _, r := range found.Read {
		d := s.docs[r.Doc]
		if d.log != w.Log || r.Node != wholeLine || w.From <= spaced(d.n) && spaced(d.n) < w.To {
			continue
		}
		all = append(all, aCase{doc: "istiod's log", field: "line " + strconv.Itoa(d.n) + " in the window of " + at.String(), op: "added", optional: true,
			ways: []mutant{{logs: map[string]logEdit{w.Log: func(lines map[int]observe.LogLine) { lines[w.From] = observe.LogLine{At: d.at, Text: d.raw} }}}}})
	}
	return all
}

// another are lines under a token: what the log says about the claim's first other
// request or, if it says nothing, what a log of its role says in another claim; and
// for a gateway's, a connection of the caller's that never came to a request.
func (s *subject) another(at observe.Slot, w observe.Window) (lines []observe.LogLine) {
	as := s.Token(at)
	role, _, _ := strings.Cut(path.Base(w.Log), "-")
	found := s.samples[role+" log"]
	for _, d := range s.docs {
		if d.log == w.Log && about(d.raw) && bytes.HasPrefix(d.raw, []byte("{")) && !bytes.Contains(d.raw, []byte(as)) {
			found = d
			break
		}
	}
	if found != nil {
		lines = append(lines, observe.LogLine{At: found.at, Text: token.ReplaceAll(found.raw, []byte(as))})
	}
	if refused := s.samples["refused"]; refused != nil && role == "gateway" {
		lines = append(lines, observe.LogLine{At: refused.at, Text: remote.ReplaceAll(refused.raw, []byte(`"downstream_remote_address":"`+s.caller(at)+`:`))})
	}
	return lines
}

var (
	remote    = regexp.MustCompile(`"downstream_remote_address":"[0-9.]+:`)
	sidecarIP = regexp.MustCompile(`"role": "sidecar"[^}]*"ip": "([0-9.]+)"`)
)

// caller is the address of the application's pod when it made a request.
func (s *subject) caller(at observe.Slot) (ip string) {
	for _, d := range s.docs {
		if m := sidecarIP.FindSubmatch(d.raw); d.sort == "pods.json" && m != nil && order(d.slot, at) < 0 {
			ip = string(m[1])
		}
	}
	return ip
}

// samples are lines that other claims have: the first one about a request of each
// role's log, and one about a connection that never came to a request.
func (s *subject) noteSamples(samples map[string]*document) {
	for _, d := range s.docs {
		switch {
		case !d.line():
		case samples[d.sort] == nil && about(d.raw) && bytes.HasPrefix(d.raw, []byte("{")):
			samples[d.sort] = d
		case samples["refused"] == nil && d.nodes[wholeLine].path == "the line about a connection without a request" && d.sort == "gateway log" &&
			bytes.Contains(d.raw, []byte(`"downstream_transport_failure_reason":"`)):
			samples["refused"] = d
		}
	}
}

// lines are the faults of a log: what it says of a trial's requests is lost, there
// twice, cut, or kept back until after the line that ends the window. Where no fact is
// known to read it, that need not show.
func (s *subject) lines(log string, read map[string]bool) (all []aCase) {
	role, _, _ := strings.Cut(path.Base(log), "-")
	if role == "istiod" {
		return []aCase{{doc: "istiod's log", field: "the lines", op: "all of before the claim", optional: len(read) == 0, ways: []mutant{{logs: map[string]logEdit{log: s.before(log)}}}}}
	}
	for _, f := range []struct {
		op string
		do func(lines map[int]observe.LogLine, n int)
	}{
		{"lost", func(lines map[int]observe.LogLine, n int) { delete(lines, n) }},
		{"there twice", func(lines map[int]observe.LogLine, n int) { lines[n+1] = lines[n] }},
		{"cut in half", func(lines map[int]observe.LogLine, n int) {
			lines[n] = observe.LogLine{At: lines[n].At, Text: lines[n].Text[:len(lines[n].Text)/2]}
		}},
		{"kept back behind the line that ends the window", func(lines map[int]observe.LogLine, n int) {
			l := lines[n]
			delete(lines, n)
			lines[s.end(log, n)] = l
		}},
	} {
		for _, stage := range trials {
			of := s.requestsIn(log, stage)
			if len(of) == 0 {
				continue
			}
			all = append(all, aCase{doc: role + "'s log", field: "the lines about requests of the " + stage, op: f.op, optional: !read[stage], ways: []mutant{{logs: map[string]logEdit{log: func(lines map[int]observe.LogLine) {
				for _, n := range of {
					f.do(lines, n)
				}
			}}}}})
		}
	}
	return all
}

// requestsIn are the numbers of a log's lines about requests that a trial is the first
// to read: the control's windows may begin in the check.
func (s *subject) requestsIn(log, trial string) (all []int) {
	for _, d := range s.docs {
		if d.log == log && about(d.raw) && s.readIn(d, trial) && (trial == "check" || !s.readIn(d, "check")) {
			all = append(all, spaced(d.n))
		}
	}
	return all
}

// end is a free number right behind the window that a line is in.
func (s *subject) end(log string, n int) int {
	to := n
	for _, e := range s.entries {
		for _, w := range e.Windows {
			if w.Log == log && w.From <= n && n < w.To {
				to = max(to, w.To)
			}
		}
	}
	return to + 2 + n/spread%2 // two may be kept back
}

// before moves what is not the line that ends a window before all windows.
func (s *subject) before(log string) logEdit {
	return func(lines map[int]observe.LogLine) {
		first := -1
		ends := map[int]bool{}
		for _, e := range s.entries {
			for _, w := range e.Windows {
				if w.Log == log && w.To > w.From {
					if ends[spaced(w.To/spread-1)] = true; first < 0 || w.From < first {
						first = w.From
					}
				}
			}
		}
		at := first - 1
		for _, n := range slices.Backward(slices.Sorted(maps.Keys(lines))) {
			if !ends[n] && at >= 0 {
				l := lines[n]
				delete(lines, n)
				lines[at], at = l, at-1
			}
		}
	}
}

// late are lines about requests that come after the windows were read: whatever
// the facts say then, the claim is not proven.
func (s *subject) late() (all []aCase) {
	asked := map[string]bool{}
	for _, at := range slices.SortedFunc(maps.Keys(s.entries), order) {
		e := s.entries[at]
		if !strings.HasPrefix(e.Question, "requests ") || !bytes.Contains(e.Raw, []byte(s.Token(at))) {
			continue
		}
		for _, w := range e.Windows {
			if key := string(w.Role) + at.Stage; asked[key] {
				continue
			} else {
				asked[key] = true
			}
			all = append(all, aCase{doc: string(w.Role) + "'s log", field: "a line about the request of " + at.Stage, op: "after the window", turned: func() bool {
				logs := maps.Clone(s.logs)
				parsed, err := s.rebuild(w.Log, &mutant{logs: map[string]logEdit{w.Log: func(lines map[int]observe.LogLine) {
					lines[w.To+2] = observe.LogLine{At: s.Start, Text: []byte(`{"path":"/probe/` + s.Token(at) + `"}`)}
				}}})
				if err != nil {
					return false
				}
				logs[w.Log] = parsed
				return s.Late(s.entries, logs) != ""
			}})
		}
	}
	return all
}
