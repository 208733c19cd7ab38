package agreement

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/computed"
	"twohop/internal/replay/recording"
	"twohop/internal/state"
	"twohop/internal/upgrade"
)

var (
	compute = flag.Bool("computed", false, "compute all states with istiod's code, which is compiled if need be, and compare")
	update  = flag.Bool("update", false, "with -computed: write "+Document)
	helpers = flag.String("helpers", "", "folder with twohop-computed-LINE, instead of the cache")
)

const root = "../../.."

func file(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The comparison takes a helper and half a minute, so `make test` does not make it. What
// it checks is that the comparison was made of these sources: whoever changes one of
// them has to make it.
func TestTheDocumentIsOfTheseSources(t *testing.T) {
	if *compute {
		t.Skip("they are compared")
	}
	sources, err := Sources(root)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(file(t, Document), []byte(of(sources))) {
		t.Errorf("%s was made of other sources than %s: run make agreement", Document, sources)
	}
}

func TestAgreement(t *testing.T) {
	if !*compute {
		t.Skip("not compared: make agreement does, with -computed")
	}
	files, err := recording.Unpack(file(t, Recording))
	if err != nil {
		t.Fatal(err)
	}
	run, err := ReadRun(files)
	if err != nil {
		t.Fatal(err)
	}
	r := &Report{By: map[string]int{}}
	for _, line := range Lines() {
		rec, err := upgrade.Unpack(file(t, Baselines(line)))
		if err != nil {
			t.Fatal(err)
		}
		c := NewComputer(t.Context(), helper(t, line))
		if err := r.Baseline(c, line, rec); err != nil {
			t.Fatal(err)
		}
		if line == run.Istio {
			if err := r.Catalogue(c, run); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Errorf("the helper of %s: %v", line, err)
		}
	}
	for i, u := range r.Unexplained {
		if i == 50 {
			t.Errorf("and %d more", len(r.Unexplained)-i)
			break
		}
		t.Error("unexplained: " + u)
	}
	for _, name := range r.Unused() {
		t.Errorf("the rule %q explains nothing any more: take it out", name)
	}
	if t.Failed() {
		return // the document would say so only in other numbers
	}
	sources, err := Sources(root)
	if err != nil {
		t.Fatal(err)
	}
	text := r.Markdown(sources)
	if *update {
		if err := os.WriteFile(filepath.Join(root, Document), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(file(t, Document)), string(text)); diff != "" {
		t.Errorf("%s is not of today: make agreement writes it\n%s", Document, diff)
	}
}

// helper is the program of a line. One that cannot be made is a failure.
func helper(t *testing.T, line string) string {
	t.Helper()
	if *helpers != "" {
		return filepath.Join(*helpers, "twohop-computed-"+line)
	}
	cache, err := state.Dir()
	if err != nil {
		t.Fatal(err)
	}
	program, err := computed.Program(context.WithoutCancel(t.Context()), root, cache, line, func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// What counts as explained must not be more than the rule says.
func TestRulesExplainNoMoreThanTheySay(t *testing.T) {
	c := Context{Role: "sidecar", Former: map[string]bool{"outbound|443||gone": true}, Waiting: map[string]bool{"outbound|443||waits": true}}
	c.Subject.Client.Deployment, c.Subject.TrustDomain = "client", "cluster.local"
	for _, tt := range []struct {
		d    Difference
		want string
	}{
		{Difference{clusters, "agent", "", "", "given"}, "bootstrap"},
		{Difference{clusters, "agent", "", "given", ""}, ""},
		{Difference{clusters, "agent", "type", "", "STATIC"}, ""},
		{Difference{clusters, "outbound|443||x", "", "", "given"}, ""},
		{Difference{listeners, "0.0.0.0_15090", "", "", "given"}, "bootstrap"},
		{Difference{endpoints, "c", addresses, "api.example.com:443", "another:443"}, "DNS"},
		{Difference{endpoints, "c", addresses, "api.example.com:443", "another:444"}, ""},
		{Difference{endpoints, "c", addresses, "gateway:443", "another:443"}, ""},
		{Difference{endpoints, "c", addresses, "another:443", ""}, ""},
		{Difference{endpoints, "outbound|443||gone", "", "", without}, "port that was"},
		{Difference{endpoints, "outbound|443||gone", "", "", "gateway:443"}, ""},
		{Difference{endpoints, "outbound|443||new", "", "", without}, ""},
		{Difference{endpoints, "outbound|443||kubernetes.default.svc.cluster.local", addresses, "", "another:6443"}, "API server"},
		{Difference{ofRequests, "x:80", "leads to", "route r, cluster outbound|443||waits", "route r, no cluster"}, "secret that never comes"},
		{Difference{ofRequests, "x:80", "leads to", "route r, cluster outbound|443||waits", "route s, no cluster"}, ""},
		{Difference{ofRequests, "x:80", "leads to", "route r, cluster outbound|443||ready", "route r, no cluster"}, ""},
	} {
		if got := explain(c, []Difference{tt.d}); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%+v is explained by %q, not %q", tt.d, got, tt.want)
		}
	}
}

// A field that differs, or a resource that one side lacks, is found.
func TestCompare(t *testing.T) {
	dump := func(clusters string) []byte {
		return []byte(`{"configs": [{"@type": "x.ClustersConfigDump", "dynamic_active_clusters": [` + clusters + `]}]}`)
	}
	ours, err := normalised(dump(`{"cluster": {"name": "a", "type": "EDS", "t": {"name": "s", "sds_config": {}}}}, {"cluster": {"name": "b"}}`))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := parsed(dump(`{"last_updated": "x", "cluster": {"@type": "y", "name": "a", "type": "STATIC", "t": {"name": "s", "sds_config": {}}}}, {"cluster": {"name": "c"}}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range compare(ours, theirs, func(string, string) bool { return true }) {
		for _, d := range r.Differences {
			got = append(got, d.Kind+" "+d.Name+" "+d.Path+": "+d.Computed+"/"+d.Live)
		}
	}
	want := []string{"cluster a type: EDS/STATIC", "cluster b : given/", "cluster c : /given", "secret s : given/"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
