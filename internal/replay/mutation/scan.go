package mutation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// node is a part of a document that can be altered, dropped or doubled: a value,
// an object or a list of JSON, a line, a word.
type node struct {
	path string // where it is, for people
	// class is the path without list positions and line numbers: nodes of a class
	// are read by the same code.
	class string
	key   string // the field's name: values of one name stand in for each other
	kind  kind
	// start and end bound the value in the document; from and to bound what goes
	// when it is dropped, the field's name and a comma included.
	start, end, from, to int
	parent               int    // index of the node around it, -1 for none
	next                 int    // where the next one in the same list or object begins; 0: there is none
	element              bool   // of a list, so that it can be there twice
	joint                string // what stands between an element and its double
}

type kind byte

const (
	text    kind = 't' // words, lines and whole files
	quoted  kind = 'q' // a string of JSON
	number  kind = 'n'
	boolean kind = 'b'
	null    kind = 'z'
	inner   kind = 'i' // an object, a list, a line made of parts
	moment  kind = 'm' // when a log line was written
)

func (k kind) alterable() bool { return k != inner }

// scan cuts bytes into nodes. What is JSON is cut as such, whole or line by line;
// "name: number" is a statistic; other lines are cut into words.
func scan(raw []byte) []node { return scanAs(raw, asWords) }

// How lines that are neither JSON nor statistics are cut.
type cut byte

const (
	asWords cut = iota // into words
	bodies             // curl's reports are JSON; what is printed before is a response's body, a node
	message            // a line is one node
)

func scanAs(raw []byte, how cut) []node {
	s := &scanner{raw: raw, cut: how}
	trimmed := bytes.TrimSpace(raw)
	switch {
	case len(trimmed) == 0:
	case (trimmed[0] == '{' || trimmed[0] == '[') && json.Valid(trimmed):
		s.pos = bytes.IndexByte(raw, trimmed[0])
		s.value("", "", "", -1)
	case bytes.HasPrefix(trimmed, []byte("-----BEGIN ")):
		s.add(node{path: "PEM", class: "PEM", key: "PEM", kind: text, end: len(raw), to: len(raw), parent: -1})
	default:
		s.lines()
	}
	return s.nodes
}

type scanner struct {
	raw   []byte
	cut   cut
	pos   int
	nodes []node
}

func (s *scanner) add(n node) int {
	s.nodes = append(s.nodes, n)
	return len(s.nodes) - 1
}

func (s *scanner) space() {
	for s.pos < len(s.raw) && strings.IndexByte(" \t\r\n", s.raw[s.pos]) >= 0 {
		s.pos++
	}
}

// value reads one value of valid JSON, and returns its node.
func (s *scanner) value(path, class, key string, parent int) int {
	s.space()
	at := s.add(node{path: path, class: class, key: key, start: s.pos, from: s.pos, parent: parent})
	switch c := s.raw[s.pos]; c {
	case '{', '[':
		s.nodes[at].kind = inner
		s.members(at, path, class, key, c == '[')
	case '"':
		s.nodes[at].kind = quoted
		s.text()
	default:
		for s.pos < len(s.raw) && strings.IndexByte(",]} \t\r\n", s.raw[s.pos]) < 0 {
			s.pos++
		}
		s.nodes[at].kind = map[byte]kind{'t': boolean, 'f': boolean, 'n': null}[c]
		if s.nodes[at].kind == 0 {
			s.nodes[at].kind = number
		}
	}
	s.nodes[at].end, s.nodes[at].to = s.pos, s.pos
	return at
}

func (s *scanner) text() string {
	start := s.pos
	for s.pos++; s.raw[s.pos] != '"'; s.pos++ {
		if s.raw[s.pos] == '\\' {
			s.pos++
		}
	}
	s.pos++
	return string(s.raw[start+1 : s.pos-1])
}

// members reads what is in an object or a list, and widens each to what goes with
// it when it is dropped.
func (s *scanner) members(of int, path, class, key string, list bool) {
	s.pos++
	last := -1
	for i := 0; ; i++ {
		s.space()
		if c := s.raw[s.pos]; c == ']' || c == '}' {
			s.pos++
			return
		}
		if s.raw[s.pos] == ',' {
			s.pos++
			s.space()
		}
		begin := s.pos
		var at int
		if list {
			at = s.value(fmt.Sprintf("%s[%d]", path, i), class+"[]", key, of)
			s.nodes[at].element, s.nodes[at].joint = true, ","
		} else {
			name := s.text()
			s.space()
			s.pos++ // the colon
			at = s.value(strings.TrimPrefix(path+"."+name, "."), strings.TrimPrefix(class+"."+name, "."), name, of)
		}
		s.nodes[at].from = begin
		if last >= 0 {
			if s.nodes[last].next = begin; i == 1 {
				s.nodes[last].to = begin // the first takes the comma behind it
			}
			s.nodes[at].from = s.nodes[last].end // the others the one before them
		}
		last = at
	}
}

var (
	statistic = regexp.MustCompile(`^([^ ]+): (\d+)$`)
	word      = regexp.MustCompile(`[^ \t\r\n]+`)
)

func (s *scanner) lines() {
	n, body := 0, -1
	for line := range bytes.Lines(s.raw) {
		n++
		start := s.pos
		bare := bytes.TrimRight(line, "\r\n")
		if s.cut == bodies && !bytes.Contains(line, []byte(`"http_code"`)) {
			if body < 0 {
				body = s.add(node{path: fmt.Sprintf("body from line %d on", n), class: "body", key: "body", kind: text, start: start, from: start, parent: -1})
			}
			s.pos = start + len(line)
			s.nodes[body].end, s.nodes[body].to = start+len(bare), s.pos
			continue
		}
		body = -1
		if s.cut == message && !bytes.HasPrefix(bare, []byte("{")) {
			s.add(node{path: "the text", class: "text", key: "text", kind: text, start: start, end: start + len(bare), from: start, to: start + len(bare), parent: -1})
			s.pos = start + len(line)
			continue
		}
		path, class := "line "+strconv.Itoa(n), "line"
		if m := statistic.FindSubmatch(bare); m != nil {
			path, class = string(m[1]), "statistic "+lastPart(string(m[1]))
			at := s.add(node{path: path + " (line)", class: class, kind: inner, start: start, end: start + len(line), from: start, to: start + len(line), parent: -1, element: true})
			s.add(node{path: path, class: class, key: lastPart(path), kind: number, start: start + len(m[1]) + 2, end: start + len(bare), from: start + len(m[1]) + 2, to: start + len(bare), parent: at})
		} else if at := s.add(node{path: path, class: class, kind: inner, start: start, end: start + len(line), from: start, to: start + len(line), parent: -1, element: true}); bytes.HasPrefix(bare, []byte("{")) && json.Valid(bare) {
			s.value(path, "json", "", at)
			s.nodes[at+1].element = false
		} else {
			s.words(bare, start, at, path)
		}
		s.pos = start + len(line)
	}
}

func (s *scanner) words(bare []byte, start, parent int, path string) {
	for i, w := range word.FindAllIndex(bare, -1) {
		k := text
		if _, err := strconv.ParseUint(string(bare[w[0]:w[1]]), 10, 64); err == nil {
			k = number
		}
		s.add(node{path: fmt.Sprintf("%s, word %d", path, i+1), class: fmt.Sprintf("word %d", min(i+1, 12)), key: fmt.Sprintf("word %d", i+1),
			kind: k, start: start + w[0], end: start + w[1], from: start + w[0], to: min(start+w[1]+1, start+len(bare)), parent: parent})
	}
}

func lastPart(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }
