package mutation

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"

	"twohop/internal/observe"
	"twohop/internal/observe/recorded"
)

// faults are what a witness as a whole could do wrong: not answer, answer for
// another one, or of another time, lose lines or keep them back.
func (s *subject) faults(found *ClaimReads) (all []aCase) {
	read := map[int]bool{}
	sorts := map[string]bool{}
	logs := map[string]map[string]bool{} // and the stages in which a fact is known to read them
	for _, r := range found.Read {
		read[r.Doc] = true
		d := s.docs[r.Doc]
		if !d.line() || d.sort != "istiod log" && (!about(d.raw) || len(r.Facts) == 0) {
			continue
		}
		if logs[d.log] == nil {
			logs[d.log] = map[string]bool{}
		}
		for _, stage := range trials {
			logs[d.log][stage] = logs[d.log][stage] || s.readIn(d, stage)
		}
	}
	for i, d := range s.docs {
		if d.line() || s.slow && sorts[d.sort+d.slot.Stage] {
			continue
		}
		sorts[d.sort+d.slot.Stage] = sorts[d.sort+d.slot.Stage] || read[i]
		all = append(all, s.answers(d, read[i])...)
	}
	for _, log := range slices.Sorted(maps.Keys(s.Lines)) {
		all = append(all, s.lines(log, logs[log])...)
	}
	all = append(all, s.late()...)
	all = append(all, s.added(found)...)
	return slices.Concat(all, s.timers(), s.keptAlive(), s.named())
}

var trials = []string{"check", "control"}

// instead is a case in which an observation has other bytes.
func (s *subject) instead(d *document, op string, raw []byte, optional bool) aCase {
	return aCase{doc: d.name, field: "all of it", op: op, optional: optional, ways: []mutant{{of: d, entries: func(all map[observe.Slot]recorded.Entry) {
		e := all[d.slot]
		e.Raw = raw
		all[d.slot] = e
	}}}}
}

// answers are the faults of one observation. One that no fact reads may be empty.
func (s *subject) answers(d *document, read bool) (all []aCase) {
	empty := []byte("{}")
	if !bytes.HasPrefix(bytes.TrimSpace(d.raw), []byte("{")) {
		empty = []byte{}
	} else if bytes.Contains(d.raw, []byte(`"configs"`)) {
		empty = []byte(`{"configs": []}`)
	}
	// Within a line: lines that are missing as a whole are faults of their own.
	half := bytes.TrimRight(d.raw[:len(d.raw)/2], "\n")
	if read {
		all = []aCase{
			s.instead(d, "empty", empty, false),
			s.instead(d, "cut in half", half, false),
			{doc: d.name, field: "all of it", op: "not answered", ways: []mutant{{of: d, entries: func(all map[observe.Slot]recorded.Entry) {
				e := all[d.slot]
				e.Error = "nobody answers"
				all[d.slot] = e
			}}}},
		}
	}
	if other := s.counterpart(d); other != nil {
		all = append(all, s.instead(d, "answered by another proxy", other.raw, true))
	}
	if raw, trial := s.otherTrial(d); raw != nil {
		all = append(all, s.instead(d, "answered with the "+trial+"'s answer", raw, true))
	}
	return all
}

// counterpart is the same observation of the other proxy: of the stage, or else of
// the claim.
func (s *subject) counterpart(d *document) (found *document) {
	who, what, ok := strings.Cut(d.sort, "-")
	other := map[string]string{"sidecar": "gateway", "gateway": "sidecar"}[who]
	if !ok || other == "" {
		return nil
	}
	for _, o := range s.docs {
		if o.sort == other+"-"+what && (found == nil || o.slot.Stage == d.slot.Stage && found.slot.Stage != d.slot.Stage) {
			found = o
		}
	}
	return found
}

// otherTrial is the answer to the same question in the other trial, where it is
// another one; where the other trial asks otherwise, what it asks in this place. What
// is said of a request is said of this one.
func (s *subject) otherTrial(d *document) (raw []byte, trial string) {
	if d.slot.Stage == "setup" {
		return nil, ""
	}
	nth := 0
	for _, o := range s.docs {
		if o == d {
			break
		}
		if o.sort == d.sort && o.slot.Stage == d.slot.Stage {
			nth++
		}
	}
	for _, o := range s.docs {
		if o.line() || o.slot.Stage == "setup" || o.slot.Stage == d.slot.Stage || o.sort != d.sort {
			continue
		}
		if same := s.Entries[o.slot].Question == s.Entries[d.slot].Question; raw == nil && (same || nth == 0) {
			raw, trial = bytes.ReplaceAll(o.raw, []byte(s.Token(o.slot)), []byte(s.Token(d.slot))), o.slot.Stage
		}
		nth--
	}
	if bytes.Equal(raw, d.raw) {
		return nil, ""
	}
	return raw, trial
}

// timers are faults of a list of sockets: each has a keepalive timer, or none has.
func (s *subject) timers() (all []aCase) {
	for i, d := range s.docs {
		if !strings.HasSuffix(d.sort, "-sockets.txt") {
			continue
		}
		var with, without []change
		for j, n := range d.nodes {
			value := string(d.raw[n.start:n.end])
			switch {
			case d.sort == "partner-sockets.txt" && n.key == "word 6" && strings.Contains(value, ":"): // /proc/net/tcp
				with = append(with, change{j, alter, "02:00000100"})
			case d.sort != "partner-sockets.txt" && n.key == "word 5":
				with = append(with, change{j, alter, value + " timer:(keepalive,14sec,0)"})
			case strings.HasPrefix(value, "timer:(keepalive") && n.kind == text:
				without = append(without, change{node: j, op: drop})
			}
		}
		for op, changes := range map[string][]change{"each has a keepalive timer": with, "none has a keepalive timer": without} {
			if len(changes) > 0 {
				all = append(all, aCase{doc: d.name, field: "the sockets", op: op, optional: true, ways: []mutant{{edits: edits{i: changes}}}})
			}
		}
	}
	return all
}

// keptAlive are faults of a list of clusters: those that set no options of their
// connections have a keepalive.
func (s *subject) keptAlive() (all []aCase) {
	for i, d := range s.docs {
		var changes []change
		for j, n := range d.nodes {
			if n.key == "cluster" && d.object(j) && !d.has(j, "upstream_connection_options") {
				changes = append(changes, change{j, add, `"upstream_connection_options": {"tcp_keepalive": {}}`})
			}
		}
		if len(changes) > 0 {
			all = append(all, aCase{doc: d.name, field: "the clusters", op: "each has a keepalive", optional: true, ways: []mutant{{edits: edits{i: changes}}}})
		}
	}
	return all
}

// named are the faults that reviewers believed to survive, and their like.
func (s *subject) named() (all []aCase) {
	for _, f := range []struct {
		name  string
		alter func(d *document) []change
	}{
		{"the sidecar's cluster of port 443 is hidden", func(d *document) []change {
			if !strings.Contains(d.sort, "sidecar-") {
				return nil
			}
			return d.around(func(n node, value string) bool { return n.key == "name" && strings.HasPrefix(value, `"outbound|443|`) })
		}},
		{"there are no inbound sockets", inbound},
		{"all statistics are zero", func(d *document) []change {
			return d.each(func(n node, _ string) bool {
				return n.kind == number && (strings.Contains(d.sort, "-stats") || strings.Contains(n.class, "stats[]"))
			}, "0")
		}},
		{"curl says 200 whatever came", func(d *document) []change {
			return d.each(func(n node, _ string) bool {
				return d.sort == "curl.txt" && (n.key == "http_code" || n.key == "response_code")
			}, "200")
		}},
		{"curl says 503 whatever came", func(d *document) []change {
			return d.each(func(n node, _ string) bool {
				return d.sort == "curl.txt" && (n.key == "http_code" || n.key == "response_code")
			}, "503")
		}},
		{"curl took no time", func(d *document) []change {
			return d.each(func(n node, _ string) bool { return d.sort == "curl.txt" && n.key == "time_total" }, "0")
		}},
		{"all calls came on one connection of the partner's", func(d *document) []change {
			return d.each(func(n node, _ string) bool { return d.sort == "partner log" && n.key == "connection" }, `"1"`)
		}},
		{"curl says that nothing came", func(d *document) []change {
			return d.each(func(n node, _ string) bool {
				return d.sort == "curl.txt" && (n.key == "http_code" || n.key == "response_code")
			}, "0")
		}},
	} {
		e := edits{}
		for i, d := range s.docs {
			if changes := f.alter(d); len(changes) > 0 {
				e[i] = changes
			}
		}
		if len(e) > 0 {
			all = append(all, aCase{doc: "all of them", field: f.name, op: "fault", optional: true, ways: []mutant{{edits: e}}})
		}
	}
	for _, f := range []struct{ name, sort, raw string }{
		{"the API server accepts everything", "admission.json", `{"kind":"DestinationRule","apiVersion":"networking.istio.io/v1"}`},
		{"the API server refuses everything", "admission.json", `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no"}`},
		{"the proxies have no secrets", "secrets.json", `{"configs":[]}`},
		{"the analyzer has nothing to say", "analyze.json", `[]`},
		{"curl's report is lost", "curl.txt", ""},
	} {
		has := false
		for _, d := range s.docs {
			has = has || strings.HasSuffix(d.sort, f.sort)
		}
		if !has {
			continue
		}
		all = append(all, aCase{doc: "all of them", field: f.name, op: "fault", optional: true, ways: []mutant{{entries: func(all map[observe.Slot]recorded.Entry) {
			for _, d := range s.docs {
				if !d.line() && strings.HasSuffix(d.sort, f.sort) {
					e := all[d.slot]
					e.Raw = []byte(f.raw)
					all[d.slot] = e
				}
			}
		}}}})
	}
	return all
}

// each alters the values that are meant.
func (d *document) each(meant func(n node, value string) bool, to string) (changes []change) {
	for i, n := range d.nodes {
		if value := string(d.raw[n.start:n.end]); n.kind.alterable() && value != to && meant(n, value) {
			changes = append(changes, change{i, alter, to})
		}
	}
	return changes
}

// around drops the outermost element of a list, or the line, that has a value
// that is meant.
func (d *document) around(meant func(n node, value string) bool) (changes []change) {
	for _, n := range d.nodes {
		if !meant(n, string(d.raw[n.start:n.end])) {
			continue
		}
		top := -1
		for up := n.parent; up >= 0; up = d.nodes[up].parent {
			if d.nodes[up].element {
				top = up
			}
		}
		if top >= 0 && !slices.ContainsFunc(changes, func(c change) bool { return c.node == top }) {
			changes = append(changes, change{node: top, op: drop})
		}
	}
	return changes
}

// ephemeral ports begin here: a socket with a lower one of its own is inbound.
const ephemeral = 32768

// inbound drops the sockets that somebody else has connected to.
func inbound(d *document) (changes []change) {
	base, at := 10, "word 4" // ss
	if d.sort == "partner-sockets.txt" {
		base, at = 16, "word 2" // /proc/net/tcp
	}
	if !strings.HasSuffix(d.sort, "-sockets.txt") {
		return nil
	}
	for _, n := range d.nodes {
		if n.key != at {
			continue
		}
		address := string(d.raw[n.start:n.end])
		port, err := strconv.ParseUint(address[strings.LastIndexByte(address, ':')+1:], base, 16)
		if err == nil && port < ephemeral {
			changes = append(changes, change{node: n.parent, op: drop})
		}
	}
	return changes
}
