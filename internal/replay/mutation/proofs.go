package mutation

import (
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"
)

// Proof makes a fact fail that no single alteration does: a fact about many requests,
// or about what must be absent. It alters several fields at once, to different values or
// to one, drops or doubles elements of a list, or adds a field that was absent.
type Proof struct {
	Fact    int       `json:"f"`
	Changes []Changed `json:"c"`
}

// Changed is one change of a proof.
type Changed struct {
	Doc  int    `json:"d"`
	Node int    `json:"n"`
	Op   string `json:"o"`
	To   string `json:"t,omitempty"`
}

func (p Proof) mutant() mutant {
	e := edits{}
	for _, c := range p.Changes {
		e[c.Doc] = append(e[c.Doc], change{node: c.Node, op: operator(c.Op[0]), to: c.To})
	}
	return mutant{edits: e}
}

// proofCases are those that Find has found.
func (s *subject) proofCases(found *ClaimReads) (all []aCase) {
	for _, p := range found.Proofs {
		first := p.Changes[0]
		d := s.docs[first.Doc]
		c := aCase{doc: d.name, field: d.nodes[first.Node].path, op: operator(first.Op[0]).String(), ways: []mutant{p.mutant()}}
		if more := len(p.Changes) - 1; more > 0 {
			c.field += fmt.Sprintf(" and %d more", more)
		}
		all = append(all, c)
	}
	return all
}

// mostBulks are tried of a claim: what they do not make fail, nothing is likely to.
const mostBulks = 2000

// proofs looks for some that make facts fail.
func (s *subject) proofs(facts []int, known fields) (found []Proof) {
	left := mostBulks
	for together := range s.bulks(s.evident(facts), known) {
		if left--; left < 0 || len(facts) == 0 {
			return found
		}
		now := s.turned(Proof{Changes: together}.mutant())
		if !s.turns(now) || now.panicked() {
			continue
		}
		for _, i := range s.flipped(now) {
			if at := slices.Index(facts, i); at >= 0 {
				found = append(found, Proof{i, s.narrow(together, i)})
				facts = slices.Delete(facts, at, at+1)
			}
		}
	}
	return found
}

// evident are the sorts of documents that facts name as their evidence.
func (s *subject) evident(facts []int) map[string]bool {
	sorts := map[string]bool{}
	for _, i := range facts {
		for _, file := range s.base.facts[i].Evidence {
			name := path.Base(file)
			if parts := strings.SplitN(name, "-", 3); len(parts) == 3 { // stage, number, name
				name = parts[2]
			}
			sorts[name] = true
			if role, _, _ := strings.Cut(strings.TrimSuffix(name, ".log"), "-"); !strings.HasSuffix(name, ".json") {
				sorts[role+" log"] = true
			}
		}
	}
	return sorts
}

// narrow leaves out what a proof does not need.
func (s *subject) narrow(together []Changed, fact int) []Changed {
	for len(together) > 1 {
		middle := len(together) / 2
		half := slices.IndexFunc([][]Changed{together[:middle], together[middle:]}, func(half []Changed) bool {
			now := s.turned(Proof{Changes: half}.mutant())
			return s.turns(now) && slices.Contains(s.flipped(now), fact)
		})
		switch half {
		case 0:
			together = together[:middle]
		case 1:
			together = together[middle:]
		default:
			return together
		}
	}
	return together
}

// bulks are changes of the fields of one name, of the documents of one sort and
// stage: each field gets another value, or all get the same, or the last alone does, or
// all go, every other one goes, all are doubled; and then what none of them has.
func (s *subject) bulks(sorts map[string]bool, known fields) iter.Seq[[]Changed] {
	return func(yield func([]Changed) bool) {
		groups := s.groups(sorts)
		for by := -1; by < fewValues; by++ {
			for _, group := range groups {
				for _, part := range [][]ref{group, group[len(group)-1:]} {
					if all := s.valued(part, by); len(all) > 0 && !yield(all) {
						return
					}
				}
				if by < 0 && !s.lists(group, yield) {
					return
				}
			}
		}
		for _, group := range groups {
			if !s.more(group, known, yield) {
				return
			}
		}
	}
}

// groups are the nodes of a class in the documents of a sort and stage.
func (s *subject) groups(sorts map[string]bool) (groups [][]ref) {
	at := map[string]int{}
	for i, d := range s.docs {
		if !sorts[d.sort] {
			continue
		}
		for j, n := range d.nodes {
			class := fmt.Sprint(d.sort, "\x00", n.class, "\x00", d.only == "check", d.slot.Stage, n.kind == inner)
			if _, known := at[class]; !known {
				at[class], groups = len(groups), append(groups, nil)
			}
			groups[at[class]] = append(groups[at[class]], ref{i, j})
		}
	}
	return groups
}

// valued gives each field of a group the value of one number, or, by -1, one after
// the other of its values.
func (s *subject) valued(group []ref, by int) (all []Changed) {
	for k, r := range group {
		if !s.docs[r.doc].nodes[r.node].kind.alterable() {
			return nil
		}
		values, at := s.others(r), by
		if by < 0 { // that no parser refuses
			values = s.natural(r)
			at = k % max(1, len(values))
		}
		if at < len(values) {
			all = append(all, Changed{r.doc, r.node, string(alter), values[at]})
		}
	}
	return all
}

// lists drops and doubles elements.
func (s *subject) lists(group []ref, yield func([]Changed) bool) bool {
	var all, some, twice []Changed
	for k, r := range group {
		if !s.docs[r.doc].nodes[r.node].element {
			return true
		}
		all, twice = append(all, Changed{r.doc, r.node, string(drop), ""}), append(twice, Changed{r.doc, r.node, string(double), ""})
		if k%2 == 0 {
			some = append(some, Changed{r.doc, r.node, string(drop), ""})
		}
	}
	for _, part := range [][]Changed{all, all[1:], all[:len(all)-1], all[len(all)/2:], some, twice} {
		if len(part) > 0 && !yield(part) {
			return false
		}
	}
	return true
}

// more gives objects fields that they lack.
func (s *subject) more(group []ref, known fields, yield func([]Changed) bool) bool {
	first := s.docs[group[0].doc]
	for _, f := range known.of(first, first.nodes[group[0].node]) {
		var all []Changed
		for _, r := range group {
			if d := s.docs[r.doc]; d.object(r.node) && !d.has(r.node, f.name) {
				all = append(all, Changed{r.doc, r.node, string(add), f.value})
			}
		}
		if len(all) > 0 && !yield(all) {
			return false
		}
	}
	return true
}

func (d *document) object(node int) bool {
	n := d.nodes[node]
	return n.kind == inner && n.end > n.start && d.raw[n.start] == '{'
}

func (d *document) has(of int, field string) bool {
	return slices.ContainsFunc(d.nodes, func(n node) bool { return n.parent == of && n.key == field && !n.element })
}

// fields are those that objects of a class have somewhere in a recording.
type fields map[string][]field

type field struct {
	name  string
	value string // as a member: "name": value
}

// longField is not put anywhere else.
const longField = 4000

func (f fields) note(d *document) {
	for i, n := range d.nodes {
		if n.parent < 0 || n.element || !d.object(n.parent) || n.end-n.start > longField {
			continue
		}
		class := witnessed(d.sort) + "\x00" + d.nodes[n.parent].class
		if !slices.ContainsFunc(f[class], func(known field) bool { return known.name == n.key }) {
			f[class] = append(f[class], field{n.key, `"` + n.key + `": ` + string(d.raw[d.nodes[i].start:n.end])})
		}
	}
}

// of are the fields that objects like this one have elsewhere, and those that no
// recording has and a check wants to be absent.
func (f fields) of(d *document, n node) []field {
	all := f[witnessed(d.sort)+"\x00"+n.class]
	if strings.HasSuffix(n.key, "validation_context") {
		all = append(all[:len(all):len(all)],
			field{"trust_chain_verification", `"trust_chain_verification": "ACCEPT_UNTRUSTED"`},
			field{"crl", `"crl": {"inline_string": "a list"}`})
	}
	return all
}

// witnessed is a document's sort, whoever it is of.
func witnessed(sort string) string {
	if _, what, ok := strings.Cut(sort, "-"); ok {
		return what
	}
	return sort
}
