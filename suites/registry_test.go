package suites

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/ginkgo/v2"

	"twohop/internal/claim"
	"twohop/internal/runconfig"
)

// Each claim of the registry has one spec, and each spec is of one claim. The
// specs that Ginkgo would run are compared, so a spec that was made in another
// way than by Claim shows as well.
func TestEachClaimHasOneSpec(t *testing.T) {
	if os.Getenv(runconfig.Env) != "" {
		t.Skip("this process is a run: TestSuites has Ginkgo to itself")
	}
	var labels [][]string
	for _, spec := range PreviewSpecs("Double mTLS egress").SpecReports {
		if spec.LeafNodeType.String() != "It" {
			continue
		}
		labels = append(labels, spec.Labels())
	}
	if len(labels) == 0 {
		t.Fatal("Ginkgo lists no spec at all: the preview does not work, and this test would pass whatever is missing")
	}
	for _, problem := range mismatches(claim.All(), labels) {
		t.Error(problem)
	}
}

// mismatches says what keeps claims and specs, given by their labels, from
// being one to one.
func mismatches(claims []claim.Claim, specs [][]string) []string {
	known, count := map[string]bool{}, map[string]int{}
	for _, c := range claims {
		known[string(c.ID)] = true
	}
	var problems []string
	for _, labels := range specs {
		labels = slices.Compact(slices.Sorted(slices.Values(labels)))
		named := slices.DeleteFunc(slices.Clone(labels), func(l string) bool { return !known[l] })
		if len(named) != 1 {
			problems = append(problems, fmt.Sprintf("the spec with the labels [%s] is of %d claims of the registry, not of one", strings.Join(labels, ", "), len(named)))
			continue
		}
		count[named[0]]++
	}
	for _, c := range claims {
		if n := count[string(c.ID)]; n != 1 {
			problems = append(problems, fmt.Sprintf("claim %s has %d specs: internal/claim/%s.go and suites/ have to agree", c.ID, n, c.Chapter))
		}
	}
	return problems
}

func TestMismatches(t *testing.T) {
	claims := []claim.Claim{{ID: "A", Chapter: claim.Hop1}, {ID: "B", Chapter: claim.Hop1}}
	for _, tt := range []struct {
		name  string
		specs [][]string
		says  []string
	}{
		{"one each", [][]string{{"A"}, {"B", "slow"}}, nil},
		{"a claim without a spec", [][]string{{"A"}}, []string{"claim B has 0 specs"}},
		{"a claim with two", [][]string{{"A"}, {"B"}, {"B"}}, []string{"claim B has 2 specs"}},
		{"a spec without a claim", [][]string{{"A"}, {"B"}, {"C"}}, []string{"labels [C] is of 0 claims"}},
		{"a spec without a label", [][]string{{"A"}, {"B"}, nil}, []string{"labels [] is of 0 claims"}},
		{"a spec of two claims", [][]string{{"A", "B"}}, []string{"labels [A, B] is of 2 claims", "claim A has 0 specs", "claim B has 0 specs"}},
		{"no specs", nil, []string{"claim A has 0 specs", "claim B has 0 specs"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := mismatches(claims, tt.specs)
			if len(got) != len(tt.says) {
				t.Fatalf("%d problems, want %d: %q", len(got), len(tt.says), got)
			}
			for i, part := range tt.says {
				if !strings.Contains(got[i], part) {
					t.Errorf("%q does not say %q", got[i], part)
				}
			}
		})
	}
}
