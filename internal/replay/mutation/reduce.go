package mutation

import (
	"slices"
	"strings"
)

// longDocument has so many nodes that resources nobody misses are left out of it.
const longDocument = 300

// reduce leaves out, of long documents, the named resources (clusters, secrets)
// without which all facts stay as they are: a proxy has dozens that no fact looks
// at, and every replay would parse them.
func (s *subject) reduce() {
	named := map[string][]ref{}
	for i, d := range s.docs {
		if d.line() || len(d.nodes) < longDocument {
			continue
		}
		for name, elements := range d.resources() {
			for _, at := range elements {
				named[name] = append(named[name], ref{i, at})
			}
		}
	}
	var names []string
	for name := range named {
		names = append(names, name)
	}
	slices.Sort(names)
	gone := edits{}
	for _, name := range s.unmissed(named, nil, names) {
		for _, r := range named[name] {
			gone[r.doc] = append(gone[r.doc], change{node: r.node, op: drop})
		}
	}
	for i, changes := range gone {
		d := s.docs[i]
		d.raw = splice(d.raw, d.nodes, changes)
		d.nodes = scanAs(d.raw, cutOf(d.sort))
		e := s.entries[d.slot]
		e.Raw = d.raw
		s.entries[d.slot] = e
	}
}

// unmissed adds to names those of resources that can be left out as well.
func (s *subject) unmissed(named map[string][]ref, gone, more []string) []string {
	if len(more) == 0 {
		return gone
	}
	all := append(gone[:len(gone):len(gone)], more...)
	e := edits{}
	for _, name := range all {
		for _, r := range named[name] {
			e[r.doc] = append(e[r.doc], change{node: r.node, op: drop})
		}
	}
	if _, otherwise := s.moved(s.replay(e)); !otherwise {
		return all
	}
	if len(more) == 1 {
		return gone
	}
	middle := len(more) / 2
	return s.unmissed(named, s.unmissed(named, gone, more[:middle]), more[middle:])
}

// resources are the outermost elements of lists that have a name, by it.
func (d *document) resources() map[string][]int {
	found := map[string][]int{}
	end := 0
	for i, n := range d.nodes {
		if !n.element || n.kind != inner || n.start < end {
			continue
		}
		if name, ok := d.named(i); ok {
			found[name], end = append(found[name], i), n.end
		}
	}
	return found
}

// named is the name of an object, or of the one right inside it.
func (d *document) named(i int) (name string, ok bool) {
	n := d.nodes[i]
	for j := i + 1; j < len(d.nodes) && d.nodes[j].start < n.end; j++ {
		in := d.nodes[j]
		if in.key != "name" || in.kind != quoted {
			continue
		}
		value := string(d.raw[in.start:in.end])
		switch inside := strings.TrimPrefix(in.class, n.class); {
		case inside == ".name":
			return value, true
		case strings.Count(inside, ".") == 2 && !strings.Contains(inside, "[]") && !ok:
			name, ok = value, true
		}
	}
	return name, ok
}
