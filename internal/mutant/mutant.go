// Package mutant is the harness's own proof on a live cluster: faults that are
// planted, one at a time, in what the claims rest on, and the claims that have to
// turn then, each for the reason that was planted. A claim that stays as expected
// on a broken subject, or turns for another reason, is a defect of the claim. The
// package is a list and its bookkeeping: it judges nothing and opens no connection;
// the suite plants and judges.
package mutant

import (
	"fmt"
	"regexp"

	"twohop/internal/claim"
	"twohop/internal/experiment"
	"twohop/internal/manifest"
	"twohop/internal/verdict"
)

// Where a fault is planted.
const (
	Fixtures     = "fixtures"
	Partner      = "partner's nginx.conf"
	Certificates = "certificates"
	RBAC         = "RBAC"
	Mesh         = "mesh policy"
	Workloads    = "workloads"
	Experiments  = "the claim's own experiment"
	Harmless     = "harmless"
)

// Mutant is one planted fault, or one harmless change.
type Mutant struct {
	Name, Where string
	Plant       []manifest.Variation
	// Spoil plants the fault in the experiment that proves the claim.
	Spoil func(experiment.Plan) experiment.Plan
	// Kills are the claims that must not come out as expected, with why. Of a
	// harmless change they are the claims that have to stay.
	Kills []Kill
}

// Kill is a claim that a mutant has to turn.
type Kill struct {
	Claim claim.ID
	// Because matches one of the ways in which the claim's facts fail that its
	// expected verdict does not allow, "NAME: expected WHAT, saw WHAT", or the
	// error that ends its check.
	Because string
}

// kills makes one list of claims that turn for one reason.
func kills(because string, ids ...claim.ID) []Kill {
	list := make([]Kill, len(ids))
	for i, id := range ids {
		list[i] = Kill{id, because}
	}
	return list
}

// Failures are the facts of a finding that must not be as they are if the claim
// is to come out as expected.
func Failures(f verdict.Finding, expected claim.Verdict) (failures []string) {
	if f.Error != "" {
		failures = append(failures, "error: "+f.Error)
	}
	holds, fails := f.Check, f.Control
	if expected == claim.Refuted {
		holds, fails = fails, holds
	}
	say := func(f verdict.Fact, how string) {
		failures = append(failures, fmt.Sprintf("%s: expected %s, saw %s%s", f.Name, f.Expected, f.Seen, how))
	}
	if holds != nil {
		for _, fact := range holds.Facts {
			if !fact.OK {
				say(fact, "")
			}
		}
	}
	if fails != nil {
		for _, fact := range fails.Facts {
			switch {
			case fact.Flips && fact.OK:
				say(fact, ", and did not flip")
			case !fact.Flips && !fact.OK:
				say(fact, "")
			}
		}
		for _, fact := range fails.Cause {
			if !fact.OK {
				say(fact, "")
			}
		}
	}
	return failures
}

// Killed says whether a claim turned for the reason that was planted. why is the
// failure that shows it or, of a claim that turned for another reason, what did.
func (k Kill) Killed(f verdict.Finding, expected, got claim.Verdict) (killed bool, why string) {
	failures := Failures(f, expected)
	if got == expected {
		return false, "stayed " + string(got)
	}
	because := regexp.MustCompile(k.Because)
	for _, failure := range failures {
		if because.MatchString(failure) {
			return true, failure
		}
	}
	if len(failures) == 0 {
		return false, "turned without a failing fact"
	}
	return false, "turned for another reason: " + failures[0]
}

// fault plants one variation, whose words are the mutant's name.
func fault(where string, plant manifest.Variation, turns ...[]Kill) Mutant {
	m := Mutant{Name: plant.Change, Where: where, Plant: []manifest.Variation{plant}}
	for _, list := range turns {
		m.Kills = append(m.Kills, list...)
	}
	return m
}
