package analysis

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// egress.json is istioctl 1.31's word on the fixtures' gateway namespace.
func TestParse(t *testing.T) {
	raw, err := os.ReadFile("testdata/egress.json")
	if err != nil {
		t.Fatal(err)
	}
	all, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"IST0102 Namespace twohop-egress-5", "IST0129 DestinationRule twohop-egress-5/partner-originate-mtls"}
	if diff := cmp.Diff(want, Codes(all)); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
	if got := About(all, "twohop-egress-5"); len(got) != 2 {
		t.Errorf("about the namespace: %v", got)
	}
	if got := About(all, "twohop-egress"); len(got) != 0 {
		t.Errorf("about another namespace whose name is a prefix: %v", got)
	}
	if got := Beyond(all, all[:1]); len(got) != 1 || got[0] != all[1] {
		t.Errorf("beyond the first: %v", got)
	}
}

func TestParseEdges(t *testing.T) {
	for name, c := range map[string]struct {
		raw  string
		want int
		fail bool
	}{
		"no findings":    {raw: "[]\n"},
		"null":           {raw: "null\n"},
		"nothing":        {raw: "\n", fail: true},
		"not JSON":       {raw: "Error: no", fail: true},
		"an object":      {raw: `{"code":"IST0101"}`, fail: true},
		"without a code": {raw: `[{"level":"Info"}]`, fail: true},
	} {
		got, err := Parse([]byte(c.raw))
		if (err != nil) != c.fail || len(got) != c.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
