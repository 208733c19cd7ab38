package check

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"twohop/internal/envoy"
	"twohop/internal/verdict"
)

func pointer[V any](v V) *V { return &v }

func TestShow(t *testing.T) {
	for _, tt := range []struct {
		name string
		v    any
		want string
	}{
		{"nothing", nil, "absent"},
		{"a nil pointer", (*uint32)(nil), "absent"},
		{"a pointer", pointer(uint32(77)), "77"},
		{"zero is not absent", pointer(uint32(0)), "0"},
		{"text", "UF", "UF"},
		{"no text is not absent", "", `"" (empty)`},
		{"bytes", []byte("400"), "400"},
		{"a list", []string{"UF", "URX"}, "UF, URX"},
		{"a list of numbers", []uint64{1, 2}, "1, 2"},
		{"an empty list", []string{}, "empty"},
		{"no list", []string(nil), "absent"},
		{"no map", map[string]string(nil), "absent"},
		{"an empty map", map[string]string{}, "empty"},
		{"a duration", 3 * time.Second, "3s"},
		{"a long duration", 300 * time.Second, "300s"},
		{"a short duration", 1500 * time.Microsecond, "0.0015s"},
		{"a pointer to a duration", pointer(90 * time.Second), "90s"},
		{"a time", time.Date(2026, 11, 23, 16, 0, 0, 0, time.FixedZone("KST", 9*3600)), "2026-11-23T07:00:00Z"},
		{"a struct that its pointer can name", &envoy.Keepalive{Time: pointer(300 * time.Second), Probes: pointer(uint32(3))}, "300/-/3"},
		{"a time with milliseconds", time.Date(2026, 11, 23, 16, 0, 0, 120*1e6, time.UTC), "2026-11-23T16:00:00.12Z"},
		{"an error", errors.New("refused"), "refused"},
		{"a truth", true, "true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := show(plain(tt.v)); got != tt.want {
				t.Errorf("show: %q, want %q", got, tt.want)
			}
		})
	}
}

// A fact is what people read: what had to be, what was seen, and whether the
// one is the other.
func TestFact(t *testing.T) {
	var absent *uint32
	for _, tt := range []struct {
		name string
		seen any
		want types.GomegaMatcher
		fact verdict.Fact
	}{
		{"equal", 200, gomega.Equal(200), verdict.Fact{Expected: "200", Seen: "200", OK: true}},
		{"unequal", 503, gomega.Equal(200), verdict.Fact{Expected: "200", Seen: "503"}},
		{"a pointer equals what it points at", pointer(uint32(77)), gomega.Equal(uint32(77)), verdict.Fact{Expected: "77", Seen: "77", OK: true}},
		{"absent is not zero", absent, gomega.Equal(uint32(0)), verdict.Fact{Expected: "0", Seen: "absent"}},
		{"absent is expected", absent, gomega.BeNil(), verdict.Fact{Expected: "absent", Seen: "absent", OK: true}},
		{"zero is not absent", pointer(uint32(0)), gomega.BeNil(), verdict.Fact{Expected: "absent", Seen: "0"}},
		{"absent is not greater", absent, gomega.BeNumerically(">", 1), verdict.Fact{Expected: "> 1", Seen: "absent"}},
		{"greater", 3, gomega.BeNumerically(">", 1), verdict.Fact{Expected: "> 1", Seen: "3", OK: true}},
		{"later", time.Unix(2, 0), gomega.BeTemporally(">", time.Unix(1, 0)), verdict.Fact{Expected: "> 1970-01-01T00:00:01Z", Seen: "1970-01-01T00:00:02Z", OK: true}},
		{"not later", time.Unix(1, 0), gomega.BeTemporally(">", time.Unix(1, 0)), verdict.Fact{Expected: "> 1970-01-01T00:00:01Z", Seen: "1970-01-01T00:00:01Z"}},
		{"the wrong type", "3", gomega.BeNumerically(">", 1), verdict.Fact{Expected: "> 1", Seen: "3 (Expected a number.  Got:\n    <string>: 3)"}},
		{"starts with", "outbound|443||x;", gomega.HavePrefix("outbound|443||%s", "x"), verdict.Fact{Expected: `starts with "outbound|443||x"`, Seen: "outbound|443||x;", OK: true}},
		{"does not start with", "PassthroughCluster", gomega.HavePrefix("outbound|"), verdict.Fact{Expected: `starts with "outbound|"`, Seen: "PassthroughCluster"}},
		{"ends with", "exact:a.example", gomega.HaveSuffix("a.example"), verdict.Fact{Expected: `ends with "a.example"`, Seen: "exact:a.example", OK: true}},
		{"contains", "no required SSL certificate", gomega.ContainSubstring("required"), verdict.Fact{Expected: `contains "required"`, Seen: "no required SSL certificate", OK: true}},
		{"matches", "t0ff", gomega.MatchRegexp("^t[0-9a-f]+$"), verdict.Fact{Expected: `matches "^t[0-9a-f]+$"`, Seen: "t0ff", OK: true}},
		{"has", []string{"UF", "URX"}, gomega.ContainElement("UF"), verdict.Fact{Expected: "has UF", Seen: "UF, URX", OK: true}},
		{"has one that", []string{"exact:a.example"}, gomega.ContainElement(gomega.HaveSuffix("a.example")), verdict.Fact{Expected: `has one that ends with "a.example"`, Seen: "exact:a.example", OK: true}},
		{"no list has nothing", []string(nil), gomega.ContainElement("UF"), verdict.Fact{Expected: "has UF", Seen: "absent"}},
		{"no list lacks", []string(nil), gomega.Not(gomega.ContainElement("UF")), verdict.Fact{Expected: "lacks UF", Seen: "absent", OK: true}},
		{"nothing has nothing", absent, gomega.ContainElement("UF"), verdict.Fact{Expected: "has UF", Seen: "absent"}},
		{"exactly", []string{"b", "a"}, gomega.ConsistOf("a", "b"), verdict.Fact{Expected: "exactly a, b", Seen: "b, a", OK: true}},
		{"exactly a list", []string{"a"}, gomega.ConsistOf([]string{"a"}), verdict.Fact{Expected: "exactly a", Seen: "a", OK: true}},
		{"exactly none", []string{}, gomega.ConsistOf(), verdict.Fact{Expected: "empty", Seen: "empty", OK: true}},
		{"exactly, of no list", []string(nil), gomega.ConsistOf("default"), verdict.Fact{Expected: "exactly default", Seen: "absent"}},
		{"exactly, of nothing", absent, gomega.ConsistOf("default"), verdict.Fact{Expected: "exactly default", Seen: "absent"}},
		{"empty", "", gomega.BeEmpty(), verdict.Fact{Expected: "empty", Seen: `"" (empty)`, OK: true}},
		{"no list is empty", []string(nil), gomega.BeEmpty(), verdict.Fact{Expected: "empty", Seen: "absent", OK: true}},
		{"how many", []string{"a"}, gomega.HaveLen(2), verdict.Fact{Expected: "2 of them", Seen: "a"}},
		{"not", 503, gomega.Not(gomega.Equal(200)), verdict.Fact{Expected: "not 200", Seen: "503", OK: true}},
		{"has none that", []string{"a"}, gomega.Not(gomega.ContainElement(gomega.HavePrefix("b"))), verdict.Fact{Expected: `lacks one that starts with "b"`, Seen: "a", OK: true}},
		{"does not contain", "a", gomega.Not(gomega.ContainSubstring("b")), verdict.Fact{Expected: `does not contain "b"`, Seen: "a", OK: true}},
		{"and", "ab", gomega.And(gomega.HavePrefix("a"), gomega.HaveSuffix("b")), verdict.Fact{Expected: `starts with "a" and ends with "b"`, Seen: "ab", OK: true}},
		{"a value between", pointer(uint64(2)), gomega.HaveValue(gomega.And(gomega.BeNumerically(">=", 1), gomega.BeNumerically("<=", 3))), verdict.Fact{Expected: ">= 1 and <= 3", Seen: "2", OK: true}},
		{"or", 503, gomega.Or(gomega.Equal(503), gomega.Equal(504)), verdict.Fact{Expected: "503 or 504", Seen: "503", OK: true}},
		{"true", true, gomega.BeTrue(), verdict.Fact{Expected: "true", Seen: "true", OK: true}},
		{"false", true, gomega.BeFalse(), verdict.Fact{Expected: "false", Seen: "true"}},
		{"a matcher that is not known here", map[string]int{"a": 1}, gomega.HaveKey("b"), verdict.Fact{Expected: "have key <string>: b", Seen: "map[a:1]"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var facts []verdict.Fact
			trial := &T{facts: &facts}
			tt.fact.Name, tt.fact.Evidence = "name", []string{"file"}
			if ok := trial.Fact("name", tt.seen, tt.want, "file"); ok != tt.fact.OK {
				t.Errorf("Fact reports %v", ok)
			}
			if diff := cmp.Diff([]verdict.Fact{tt.fact}, facts); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Gomega's BeTrue panics on nil.
func TestAbsentIsNoMatch(t *testing.T) {
	var none *bool
	var facts []verdict.Fact
	c := &T{facts: &facts}
	if c.Fact("requires a client certificate", none, gomega.BeTrue(), "file") || facts[0].Seen != "absent" || facts[0].OK {
		t.Errorf("%+v", facts)
	}
}
