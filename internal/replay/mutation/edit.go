package mutation

import (
	"bytes"
	"slices"
)

// operator is what is done to a node.
type operator byte

const (
	alter  operator = 'a'
	drop   operator = 'd'
	double operator = '2'
	add    operator = '+' // a member, to an object
)

func (o operator) String() string {
	return map[operator]string{alter: "altered", drop: "dropped", double: "doubled", add: "given a field that it lacks"}[o]
}

// change is what is done to one node of a document.
type change struct {
	node int
	op   operator
	to   string // what an altered value becomes, as the document spells it
}

// splice carries out changes of nodes that do not overlap. Of two that do, the one
// that begins first is carried out.
func splice(raw []byte, nodes []node, changes []change) []byte {
	changes = slices.Clone(changes)
	first := func(c change) int {
		switch c.op {
		case drop:
			return nodes[c.node].from
		case add:
			return nodes[c.node].end - len("}")
		}
		return nodes[c.node].start
	}
	slices.SortFunc(changes, func(a, b change) int { return first(a) - first(b) })
	out := make([]byte, 0, len(raw)+64)
	at := 0
	for _, c := range changes {
		n := nodes[c.node]
		if first(c) < at {
			if c.op == drop && n.start >= at { // the one before it took the comma between them
				at = max(n.next, n.end)
			}
			continue
		}
		out = append(out, raw[at:first(c)]...)
		switch c.op {
		case alter:
			out = append(out, c.to...)
			at = n.end
		case drop:
			at = n.to
		case add:
			if len(bytes.TrimSpace(raw[n.start+1:n.end-1])) > 0 {
				out = append(out, ',')
			}
			out = append(out, c.to...)
			at = first(c)
		case double:
			out = append(append(append(out, raw[n.start:n.end]...), n.joint...), raw[n.start:n.end]...)
			at = n.end
		}
	}
	return append(out, raw[at:]...)
}
