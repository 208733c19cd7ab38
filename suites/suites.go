// Package suites holds the experiments that prove the claims: one file for each
// chapter, one experiment for each claim of the registry. They observe through
// whatever source they are given, so that a run makes them on a cluster and
// verify-run makes them again over what the run has kept. suite_test.go is
// Ginkgo's lifecycle. An experiment deploys nothing and must not import the lab.
package suites

import (
	"fmt"
	"maps"
	"slices"

	"twohop/internal/check"
	"twohop/internal/claim"
	"twohop/internal/experiment"
	"twohop/internal/manifest"
)

// The words that experiments are written in.
type (
	// T is a stage under way: it observes and states facts.
	T = experiment.T
	// Setup names the subject, and makes names and certificates.
	Setup = experiment.Setup
	// Experiment is a check, its control and its cause.
	Experiment[O any] = experiment.Experiment[O]
	// Variation is one deliberate change of the subject.
	Variation = manifest.Variation
	// Call is one request with what every witness wrote about it.
	Call = check.Call
)

// vary lists variations.
func vary(v ...Variation) []Variation { return v }

// nothing is what a check saw that hands nothing on to its cause.
type nothing struct{}

var defined = map[claim.ID]experiment.Definition{}

// Claim names the experiment that proves a claim.
func Claim[O any](id claim.ID, design func(*Setup) Experiment[O]) bool {
	if _, err := claim.ByID(id); err != nil {
		panic(fmt.Sprintf("suites: %v", err)) // an experiment for something that nobody claims
	}
	if _, twice := defined[id]; twice {
		panic(fmt.Sprintf("suites: claim %s has two experiments", id))
	}
	defined[id] = experiment.Define(id, design)
	return true
}

// ByID finds a claim's experiment.
func ByID(id claim.ID) (experiment.Definition, error) {
	if d, ok := defined[id]; ok {
		return d, nil
	}
	return experiment.Definition{}, fmt.Errorf("claim %s has no experiment in suites/", id)
}

// IDs are the claims that have an experiment, in the order of their names.
func IDs() []claim.ID { return slices.Sorted(maps.Keys(defined)) }

// given is what the check sends where a variation says so, and otherwise what is
// given here.
func given[V any](t *T, name string, otherwise V) V { return experiment.Given(t, name, otherwise) }
