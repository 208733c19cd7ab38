package corpus

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"twohop/internal/objects"
)

var operators = []string{
	DeleteField, DeleteItem, TypoSwap, TypoDrop, TypoKey, OtherEnum, OtherPort, OtherNumber, OtherBool, Untyped,
	DeleteObject, Move, Newer, Older, NewerExport, SetExport, Swap,
	AddMirror, AddAbort, AddRewrite, AddRetries, AddBypassRoute, AddBypassWeight, AddAnnotation, AddHostNetwork, AddNoInjection,
	AddInsecure, AddHTTP2, AddCallerExport, AddRuleForHost, AddRuleForGateway, AddOlderEntry, AddNewerEntry, AddScope, AddDenyAll,
}

func TestFaults(t *testing.T) {
	ids, byOperator, byHarm := map[string]bool{}, map[string]int{}, map[string]int{}
	for _, s := range loaded(t, "correct") {
		whole := documents(s.Docs)
		known := map[string]bool{}
		for _, doc := range whole {
			known[string(doc)] = true
		}
		faults := Faults(s)
		for _, f := range faults {
			if ids[f.ID] {
				t.Errorf("%s is there twice", f.ID)
			}
			ids[f.ID] = true
			byOperator[f.Operator]++
			if harm, _, ok := Known(f); ok {
				byHarm["known: "+string(harm)]++
			} else {
				byHarm["for a rehearsal to say"]++
			}
			if !slices.Contains(operators, f.Operator) {
				t.Errorf("%s: operator %q is not in the list", f.ID, f.Operator)
			}
			if f.Setup != s.Name || f.Object.Kind == "" || f.Object.Name == "" {
				t.Errorf("%s does not say what it changes", f.ID)
			}
			changed(t, f, known, len(whole))
		}
		if again, err := s.with(change{}); err != nil || !bytes.Equal(again, s.Docs) || !bytes.Equal(rendered(t, s), s.Docs) {
			t.Errorf("%s: making its faults has changed the setup (%v)", s.Name, err)
		}
		t.Logf("%6d %s, of %d objects", len(faults), s.Name, len(s.Objects))
	}
	for _, o := range operators {
		if byOperator[o] == 0 {
			t.Errorf("no setup has a fault of operator %s", o)
		}
	}
	counted(t, byOperator)
	counted(t, byHarm)
	t.Logf("%d faults", len(ids))
	if len(ids) < 5000 {
		t.Errorf("%d faults; want thousands", len(ids))
	}
}

// changed checks that a fault's documents are YAML that differs from the setup's. Only
// those that differ are parsed: the others were, with the setup.
func changed(t *testing.T, f Fault, known map[string]bool, before int) {
	t.Helper()
	docs := documents(f.Docs)
	differs := len(docs) != before
	for _, doc := range docs {
		if known[string(doc)] {
			continue
		}
		differs = true
		set := &objects.Set{}
		if err := set.Parse(f.ID, doc); err != nil {
			t.Errorf("%s: %v", f.ID, err)
		}
		if len(set.All) != 1 {
			t.Errorf("%s: a document of %d objects", f.ID, len(set.All))
		}
	}
	if !differs {
		t.Errorf("%s changes nothing", f.ID)
	}
}

// documents are those of Docs. A PEM block's last line ends as a separator does.
func documents(docs []byte) [][]byte {
	return bytes.Split(bytes.TrimPrefix(docs, []byte(separator)), []byte("\n"+separator))
}

// rendered is a setup's YAML made anew from its trees.
func rendered(t *testing.T, s Setup) []byte {
	t.Helper()
	c := change{replace: map[int]map[string]any{}}
	for i, o := range s.Objects {
		c.replace[i] = o.Tree
	}
	docs, err := s.with(c)
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

func TestFaultsAreTheSameEachTime(t *testing.T) {
	one, two := Faults(named(t, "fixtures")), Faults(named(t, "fixtures"))
	if len(one) != len(two) {
		t.Fatalf("%d faults, then %d", len(one), len(two))
	}
	for i := range one {
		if one[i].ID != two[i].ID || !bytes.Equal(one[i].Docs, two[i].Docs) {
			t.Fatalf("fault %d is %s, then %s", i, one[i].ID, two[i].ID)
		}
	}
}

// Each field of the kinds that are Istio's is deleted once, whatever it is called.
func TestNoFieldIsForgotten(t *testing.T) {
	s := named(t, "fixtures")
	deleted := map[string]bool{}
	for _, f := range Faults(s) {
		if f.Operator == DeleteField || f.Operator == DeleteItem {
			deleted[f.Object.String()+" "+f.Field] = true
		}
	}
	for _, o := range s.Objects {
		if !strings.Contains(o.APIVersion, "istio.io/") {
			continue
		}
		visit(o.Tree["spec"], func(steps []any, _ any) {
			if field := path(append([]any{"spec"}, steps...)...); !deleted[o.String()+" "+field] {
				t.Errorf("%s: nothing deletes %s", o, field)
			}
		})
	}
}

// A label that a workload's own selector asks for changes in both places.
func TestPodLabels(t *testing.T) {
	for _, f := range Faults(named(t, "fixtures")) {
		if f.Object.String() != "Deployment twohop-egress/partner-egressgateway" || f.Field != "spec.template.metadata.labels.app" {
			continue
		}
		set := &objects.Set{}
		if err := set.Parse(f.ID, f.Docs); err != nil {
			t.Fatal(err)
		}
		var d struct {
			Spec struct {
				Selector struct{ MatchLabels map[string]string }
				Template struct {
					Metadata struct{ Labels map[string]string }
				}
			}
		}
		if err := set.Find(f.Object).Decode(&d); err != nil {
			t.Fatal(err)
		}
		if len(d.Spec.Selector.MatchLabels) == 0 {
			t.Errorf("%s: the selector chooses nothing", f.ID)
		}
		for k, v := range d.Spec.Selector.MatchLabels {
			if d.Spec.Template.Metadata.Labels[k] != v {
				t.Errorf("%s: the selector does not choose the pods", f.ID)
			}
		}
	}
}

func TestTrees(t *testing.T) {
	tree := map[string]any{"a": []any{map[string]any{"b": 1.0}, map[string]any{"b": 2.0}}, "c.d": "e"}
	cut := edited(tree, gone, "a", 0)
	if at(cut, "a", 0, "b") != 2.0 || len(list(at(tree, "a"))) != 2 {
		t.Errorf("an item taken away: %v, of %v", cut, tree)
	}
	if set := edited(tree, to("x"), "new", "way"); at(set, "new", "way") != "x" || tree["new"] != nil {
		t.Errorf("a field that was not there: %v", set)
	}
	if p := path("a", 0, "b", "c.d", "e"); p != "a[0].b[c.d].e" {
		t.Errorf("path %q", p)
	}
	if s, ok := swap("aab", "seed"); !ok || s != "aba" {
		t.Errorf("swapped: %q, %v", s, ok)
	}
	if _, ok := swap("aa", "seed"); ok {
		t.Error("letters that are alike were swapped")
	}
	if _, ok := drop(".", "seed"); ok {
		t.Error("the only letter was dropped")
	}
}

// Every state that a claim measured is a fault here, and every claim is in the catalogue.
func TestKnown(t *testing.T) {
	catalogue, err := os.ReadFile("../../../docs/claims.md")
	if err != nil {
		t.Fatal(err)
	}
	used, refused := map[int]bool{}, map[int]bool{}
	byClaim := map[string]int{}
	for _, name := range append(slices.Clone(eitherOne), "tls-top-level") {
		for _, f := range Faults(named(t, name)) {
			harm, claim, ok := Known(f)
			if !ok {
				continue
			}
			byClaim[string(harm)+" by "+claim]++
			if !bytes.Contains(catalogue, []byte("\n### "+claim+"\n")) {
				t.Errorf("%s: claim %s is not in the catalogue", f.ID, claim)
			}
			for i, m := range states {
				if slices.Contains(m.setups, f.Setup) && slices.Contains(m.operators, f.Operator) && m.object == f.Object.String() && m.field == f.Field {
					used[i] = true
				}
			}
			for i, r := range refusals {
				if harm == Refused && slices.Contains(r.operators, f.Operator) && strings.HasSuffix(f.Field, r.field) {
					refused[i] = true
				}
			}
		}
	}
	for i, m := range states {
		if !used[i] {
			t.Errorf("no fault is %v", m)
		}
	}
	for i, r := range refusals {
		if !refused[i] {
			t.Errorf("no fault is %v", r)
		}
	}
	counted(t, byClaim)
}
