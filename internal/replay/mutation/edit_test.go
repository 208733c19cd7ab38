package mutation

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/claim"
)

func TestSplice(t *testing.T) {
	const short = `{"a": [1, 2, {"b": "x\"y"}], "c": true, "d": null}`
	for _, tt := range []struct {
		path string
		op   operator
		to   string
		want string
	}{
		{"a[0]", alter, "7", `{"a":[7,2,{"b":"x\"y"}],"c":true,"d":null}`},
		{"a[0]", drop, "", `{"a":[2,{"b":"x\"y"}],"c":true,"d":null}`},
		{"a[1]", drop, "", `{"a":[1,{"b":"x\"y"}],"c":true,"d":null}`},
		{"a[2]", drop, "", `{"a":[1,2],"c":true,"d":null}`},
		{"a[2]", double, "", `{"a":[1,2,{"b":"x\"y"},{"b":"x\"y"}],"c":true,"d":null}`},
		{"a[2].b", drop, "", `{"a":[1,2,{}],"c":true,"d":null}`},
		{"a[2].b", alter, `"z"`, `{"a":[1,2,{"b":"z"}],"c":true,"d":null}`},
		{"a", drop, "", `{"c":true,"d":null}`},
		{"d", drop, "", `{"a":[1,2,{"b":"x\"y"}],"c":true}`},
		{"a[2]", add, `"e": 5`, `{"a":[1,2,{"b":"x\"y","e":5}],"c":true,"d":null}`},
		{"e", add, `"f": 6`, `{"a":[1,2,{"b":"x\"y"}],"c":true,"d":null,"e":{"f":6}}`},
		{"c", alter, "false", `{"a":[1,2,{"b":"x\"y"}],"c":false,"d":null}`},
	} {
		raw := short
		if tt.path == "e" {
			raw = strings.TrimSuffix(short, "}") + `, "e": { }}`
		}
		nodes := scan([]byte(raw))
		at := -1
		for i, n := range nodes {
			if n.path == tt.path {
				at = i
			}
		}
		if at < 0 {
			t.Fatalf("no node %s", tt.path)
		}
		var v any
		got := splice([]byte(raw), nodes, []change{{at, tt.op, tt.to}})
		if err := json.Unmarshal(got, &v); err != nil {
			t.Errorf("%s %v: %v in %s", tt.path, tt.op, err, got)
			continue
		}
		compact, _ := json.Marshal(v)
		if string(compact) != tt.want {
			t.Errorf("%s %v: %s, not %s", tt.path, tt.op, compact, tt.want)
		}
	}
}

func TestReadsPack(t *testing.T) {
	want := &Reads{Recording: "x", Claims: map[claim.ID]*ClaimReads{"G1": {Read: []Read{{1, 2, "a", []int{3}, true}}, Unexamined: [][2]int{{4, 5}}, Harmless: [][3]int{{6, 7, 8}},
		Proofs: []Proof{{3, []Changed{{1, 2, "a", "x"}, {1, 3, "+", `"y": 1`}}}}}}}
	packed, err := want.Pack()
	if err != nil {
		t.Fatal(err)
	}
	got, err := UnpackReads(packed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestScanText(t *testing.T) {
	raw := []byte("cluster.x;.hits: 3\nESTAB 0 1.2.3.4:5\n{\"a\":1}\n")
	nodes := scan(raw)
	var values []string
	for _, n := range nodes {
		if n.kind.alterable() {
			values = append(values, string(raw[n.start:n.end]))
		}
	}
	if got, _ := json.Marshal(values); string(got) != `["3","ESTAB","0","1.2.3.4:5","1"]` {
		t.Errorf("values %s", got)
	}
	if got := splice(raw, nodes, []change{{node: 0, op: drop}, {node: 2, op: double}}); string(got) != "ESTAB 0 1.2.3.4:5\nESTAB 0 1.2.3.4:5\n{\"a\":1}\n" {
		t.Errorf("spliced to %q", got)
	}
}

func TestValuesDiffer(t *testing.T) {
	for _, raw := range []string{`"10s"`, `"abc"`, `""`, `7`, `1.5`, `true`, `"2026-11-25T01:02:03.004Z"`} {
		n := scan([]byte("[" + raw + "]"))[1]
		for _, v := range append((words{}).like([]byte("["+raw+"]"), n), drastic([]byte("["+raw+"]"), n)...) {
			if v == raw || !json.Valid([]byte(v)) {
				t.Errorf("%s becomes %s", raw, v)
			}
		}
	}
}

func TestSpliceDropsSeveral(t *testing.T) {
	raw := []byte(`{"a": [1, 2, 3, 4]}`)
	nodes := scan(raw)
	for _, tt := range []struct {
		drop []int
		want string
	}{
		{[]int{0, 1}, "[3,4]"}, {[]int{0, 1, 2, 3}, "[]"}, {[]int{1, 2}, "[1,4]"}, {[]int{0, 2}, "[2,4]"}, {[]int{2, 3}, "[1,2]"},
	} {
		var changes []change
		for _, i := range tt.drop {
			changes = append(changes, change{node: 2 + i, op: drop})
		}
		var v map[string]any
		got := splice(raw, nodes, changes)
		if err := json.Unmarshal(got, &v); err != nil {
			t.Errorf("%v: %v in %s", tt.drop, err, got)
			continue
		}
		if compact, _ := json.Marshal(v["a"]); string(compact) != tt.want {
			t.Errorf("%v: %s, not %s", tt.drop, compact, tt.want)
		}
	}
}

func TestExemptions(t *testing.T) {
	const doc = "check 3, sidecar-sockets.txt"
	for _, tt := range []struct {
		id    claim.ID
		field string
		want  bool
	}{
		{"P-keepalive-socket", "line 2, word 5", true},
		{"P-keepalive-socket", "line 2, word 6", false}, // the timer
		{"P-idle-keepalive", "line 2, word 5", false},
	} {
		if got := exemptionOf(tt.id, doc, tt.field, "altered") >= 0; got != tt.want {
			t.Errorf("%s, %s: excused %v", tt.id, tt.field, got)
		}
	}
	named := 0
	for _, e := range exemptions {
		named += max(1, len(e.Claims))
	}
	if got := unused(nil); len(got) != named {
		t.Errorf("%d of %d unused exemptions are reported", len(got), named)
	}
	score := &Score{used: map[exemptionUse]bool{}}
	if !score.exempt("P-keepalive-socket", doc, "line 2", "dropped") || len(unused(score.used)) != named-1 {
		t.Errorf("used: %v", score.used)
	}
}
