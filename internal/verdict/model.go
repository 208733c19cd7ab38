// Package verdict is the run's result: its model, how it is folded from the
// registry and the outcomes of specs, its JSON Schema, and how it is rendered.
// It is pure but for reading and writing a run's folder, and it imports
// nothing of the project but the claim registry.
package verdict

import (
	"time"

	"twohop/internal/claim"
)

// APIVersion names the shape of verdict.json.
const APIVersion = "twohop/v1"

// Verdict is verdict.json, the result of one run.
type Verdict struct {
	APIVersion string   `json:"apiVersion"`
	Run        Run      `json:"run"`
	Phases     []Phase  `json:"phases"`
	Claims     []Result `json:"claims"`
	Totals     Totals   `json:"totals"`
	Result     Outcome  `json:"result"`
	ExitCode   int      `json:"exitCode"`
	// Message is one sentence on why the run ended as it did; empty when green.
	Message string `json:"message,omitempty"`
}

// Run says what was judged, on what, when and by which harness. A field that
// is empty was not known when the run ended.
type Run struct {
	ID             string            `json:"id"`
	Start          time.Time         `json:"start"`
	DurationMillis int64             `json:"durationMillis"`
	Seed           int64             `json:"seed"`
	Selection      string            `json:"selection"`
	HarnessCommit  string            `json:"harnessCommit,omitempty"`
	Lane           string            `json:"lane,omitempty"` // official or source
	Engine         string            `json:"engine,omitempty"`
	Istio          string            `json:"istio,omitempty"`
	Kubernetes     string            `json:"kubernetes,omitempty"`
	Envoy          string            `json:"envoy,omitempty"`
	Images         map[string]string `json:"images,omitempty"` // name: digest
	Cluster        string            `json:"cluster,omitempty"`
	ClusterReused  bool              `json:"clusterReused"`
	Domain         string            `json:"domain,omitempty"` // istiod's --domain
	Notes          []string          `json:"notes,omitempty"`
}

// Phase is one timed part of a run: engine, images, cluster, istio, lab, claims, down.
type Phase struct {
	Name           string    `json:"name"`
	Start          time.Time `json:"start"`
	DurationMillis int64     `json:"durationMillis"`
}

// Outcome is the result of a whole run.
type Outcome string

// How a run can end, with the exit code of each.
const (
	Green        Outcome = "as-expected"  // 0
	Different    Outcome = "different"    // 1: a verdict is not the expected one
	Failed       Outcome = "failed"       // 3: the environment failed
	Inconclusive Outcome = "inconclusive" // 4
	Interrupted  Outcome = "interrupted"  // 130
	Running      Outcome = "running"      // not ended yet, or killed
)

// Totals counts claims by verdict.
type Totals struct {
	Claims       int `json:"claims"`
	Supported    int `json:"supported"`
	Refuted      int `json:"refuted"`
	Inconclusive int `json:"inconclusive"`
	NotRun       int `json:"notRun"`
	Unexpected   int `json:"unexpected"`
}

// Result is a claim's line in the verdict: the registry's words and, where its
// spec ran, what was found.
type Result struct {
	ID        claim.ID      `json:"id"`
	Chapter   claim.Chapter `json:"chapter"`
	Section   string        `json:"section,omitempty"`
	Statement string        `json:"statement"`
	Lesson    string        `json:"lesson,omitempty"`
	Expected  claim.Verdict `json:"expected"`
	Verdict   claim.Verdict `json:"verdict"`
	// Reason says why the verdict is what it is, in one or two sentences.
	Reason  string `json:"reason"`
	Finding        // empty where the spec did not run
}

// Finding is what one spec brings home. Specs write it; Fold judges it.
type Finding struct {
	Claim          claim.ID  `json:"claim,omitempty"`
	Start          time.Time `json:"start,omitzero"`
	DurationMillis int64     `json:"durationMillis,omitempty"`
	Attempts       int       `json:"attempts,omitempty"`
	// Error is why the evidence could not be obtained. With it, a claim is
	// inconclusive whatever the facts say.
	Error    string     `json:"error,omitempty"`
	Check    *Trial     `json:"check,omitempty"`
	Control  *Trial     `json:"control,omitempty"`
	Evidence []Evidence `json:"evidence,omitempty"`
	// Reproduce is the path, within the run's folder, of a script that a
	// person can follow.
	Reproduce string `json:"reproduce,omitempty"`
	// Table is a claim's own table (the alignment map, the rejected values).
	Table *Table `json:"table,omitempty"`
}

// Trial is the claim's check, made once: in the state the claim speaks of, or
// after the control's one deliberate change. It holds when every fact does.
type Trial struct {
	// Change is the deliberate change, in words; empty for the claim's own state.
	Change string `json:"change,omitempty"`
	Facts  []Fact `json:"facts"`
	// Cause holds the facts that show why the trial came out negative. It is
	// empty for a trial that holds.
	Cause []Fact `json:"cause,omitempty"`
}

// Fact is one thing that was looked at: where, what had to be there, what was.
type Fact struct {
	// Name says what was looked at and where ("client sidecar, hop-1 cluster: SNI").
	Name     string `json:"name"`
	Expected string `json:"expected"`
	Seen     string `json:"seen"`
	OK       bool   `json:"ok"`
	// Evidence lists the paths of the files that show it, within the run's folder.
	Evidence []string `json:"evidence,omitempty"`
}

// Evidence is one file of raw bytes, saved before it was parsed.
type Evidence struct {
	Path    string `json:"path"` // within the run's folder
	SHA256  string `json:"sha256"`
	Command string `json:"command"` // what a person would run to see the same
	// Kind tells how the bytes parse: clusters, secrets, curl, access-log,
	// partner-log, text, yaml, json.
	Kind string `json:"kind"`
	// Witness is who saw it: client, sidecar, gateway, partner, istiod, api.
	Witness string `json:"witness,omitempty"`
}

// Table is rows of cells under a header.
type Table struct {
	Title  string     `json:"title"`
	Header []string   `json:"header"`
	Rows   [][]string `json:"rows"`
}

// Holds reports whether every fact of the trial does. A trial without facts
// holds nothing.
func (t *Trial) Holds() bool {
	return t != nil && len(t.Facts) > 0 && allOK(t.Facts)
}

// Explained reports whether a negative trial shows its cause.
func (t *Trial) Explained() bool {
	return t != nil && len(t.Cause) > 0 && allOK(t.Cause)
}

func allOK(facts []Fact) bool {
	for _, f := range facts {
		if !f.OK {
			return false
		}
	}
	return true
}
