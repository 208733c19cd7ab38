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

// Header is what is said of a run before its first observation. Every token of
// the run is derived from it (observe.NewKey), so that the logs of one run answer
// to no other header.
type Header struct {
	ID            string    `json:"id"`
	Start         time.Time `json:"start"`
	Nonce         string    `json:"nonce,omitempty"` // hex, made at random
	Seed          int64     `json:"seed"`            // of the order of the specs
	Selection     string    `json:"selection"`
	HarnessCommit string    `json:"harnessCommit,omitempty"`
	// Rules is the hash of the sources that judge (package twohop): only a program
	// with the same rules can work the verdict out again.
	Rules   string `json:"rules,omitempty"`
	Lane    string `json:"lane,omitempty"` // official or source
	Engine  string `json:"engine,omitempty"`
	Cluster string `json:"cluster,omitempty"`
	// Lab numbers the first of the run's labs, and Labs counts them. Claims are made in
	// all of them at the same time.
	Lab    int    `json:"lab,omitempty"`
	Labs   int    `json:"labs,omitempty"`
	Domain string `json:"domain,omitempty"` // istiod's --domain
	// Asked is what the run was to be made with; what it was made with is observed.
	Asked Asked `json:"asked,omitzero"`
}

// MostLabs is how many labs a run may have.
const MostLabs = 16

// Asked names the versions and images that a run asks for.
type Asked struct {
	Istio         string            `json:"istio,omitempty"`         // line or release
	IstioRevision string            `json:"istioRevision,omitempty"` // module version, source lane
	Kubernetes    string            `json:"kubernetes,omitempty"`
	Envoy         string            `json:"envoy,omitempty"`
	Images        map[string]string `json:"images,omitempty"` // name: digest
}

// Run says what was judged, on what, when and by which harness. A field that
// is empty was not known when the run ended.
type Run struct {
	Header
	// DurationMillis is measured: nobody can work it out again.
	DurationMillis int64 `json:"durationMillis"`
	// Istio, its revision, Kubernetes, Envoy and ImageIDs are observations: what
	// istiod, the nodes, Envoy and the pods' status say.
	Istio         string            `json:"istio,omitempty"`
	IstioRevision string            `json:"istioRevision,omitempty"`
	Kubernetes    string            `json:"kubernetes,omitempty"`
	Envoy         string            `json:"envoy,omitempty"`
	ImageIDs      map[string]string `json:"imageIDs,omitempty"` // container: image id
	ClusterReused bool              `json:"clusterReused"`
	Notes         []string          `json:"notes,omitempty"`
	// Evidence are the observations of the run as a whole.
	Evidence []Evidence `json:"evidence,omitempty"`
	// Logs are the whole logs that the claims' windows are on.
	Logs []LogFile `json:"logs,omitempty"`
}

// LogFile is a container's log as it was followed, numbered line by line.
type LogFile struct {
	Path   string `json:"path"` // within the run's folder
	SHA256 string `json:"sha256"`
	Lines  int    `json:"lines"`
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
	// Lab is the lab in which the claim was judged.
	Lab int `json:"lab,omitempty"`
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
	// Flips marks a fact that has to come out the other way in the other trial;
	// every other fact has to hold in both.
	Flips bool `json:"flips,omitempty"`
	// Negative marks a fact that states a failure (a call that did not succeed);
	// Because marks one that states the reason for it.
	Negative bool `json:"negative,omitempty"`
	Because  bool `json:"because,omitempty"`
	// Evidence lists the paths of the files that show it, within the run's folder.
	Evidence []string `json:"evidence,omitempty"`
}

// Evidence is one observation of a claim: raw bytes, saved before they were
// parsed, or windows on logs, or an error; or bytes that were derived from these
// for people to read.
type Evidence struct {
	// Path of the file within the run's folder; empty where there were no bytes.
	Path    string `json:"path,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
	Command string `json:"command,omitempty"` // what a person would run to see the same
	// Kind tells how the bytes parse: clusters, secrets, curl, access-log,
	// partner-log, text, yaml, json.
	Kind string `json:"kind"`
	// Witness is who saw it: client, sidecar, gateway, partner, istiod, api.
	Witness string `json:"witness,omitempty"`
	// Stage and Ordinal are the observation's place: setup, check or control, of the
	// run itself lab-1, lab-2, …, and
	// which of the stage's observations it is.
	Stage   string `json:"stage"`
	Ordinal int    `json:"ordinal"`
	// Question is what was asked, in the words of observe.Question; empty for
	// derived bytes.
	Question string   `json:"question,omitempty"`
	Windows  []Window `json:"windows,omitempty"`
	// Error is the observation where the question brought none.
	Error string `json:"error,omitempty"`
	// TookMillis is measured: nobody can work it out again.
	TookMillis int64 `json:"tookMillis,omitempty"`
	// Chain is the SHA-256 of the entry before it and of this one.
	Chain string `json:"chain"`
}

// Window is a part of a log: lines From to To-1, the last of which holds Flush.
type Window struct {
	Role  string `json:"role"`
	Log   string `json:"log"`
	From  int    `json:"from"`
	To    int    `json:"to"`
	Flush string `json:"flush,omitempty"`
}

// Table is rows of cells under a header.
type Table struct {
	Title  string     `json:"title"`
	Header []string   `json:"header"`
	Rows   [][]string `json:"rows"`
}

// Span is how long the claims took, from the first one's start to the last one's end.
func (v *Verdict) Span() time.Duration {
	var first, last time.Time
	for _, c := range v.Claims {
		if c.Start.IsZero() {
			continue
		}
		if first.IsZero() || c.Start.Before(first) {
			first = c.Start
		}
		if end := c.Start.Add(time.Duration(c.DurationMillis) * time.Millisecond); end.After(last) {
			last = end
		}
	}
	return last.Sub(first)
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
