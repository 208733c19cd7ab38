// Package replay makes a run's checks again, over what the run has kept: it works
// every fact, cause, table, reason and version out anew from the bytes and holds
// the verdict against them. It knows no cluster, and must not import the lab or the
// live source.
package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"

	"twohop"
	"twohop/internal/claim"
	"twohop/internal/experiment"
	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/observe/recorded"
	"twohop/internal/verdict"
)

// options are what a test may ask for, and nobody else: it replays recordings
// (package recording), which are of the rules of their day and of which the logs
// are trimmed.
type options struct {
	otherRules, gaps bool
	// made keeps checks that were made again: many recordings that differ in one
	// claim are replayed in the time of one. nil: nothing is kept.
	made *sync.Map
}

// Verify works a run's verdict out again. The error is for a folder that cannot be
// read at all; what does not agree is a problem of the verification.
func Verify(dir string) (*verdict.Verification, error) {
	run, err := verdict.OpenRun(dir)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	return verify(run, options{})
}

func verify(run verdict.Files, o options) (*verdict.Verification, error) {
	raw, err := run.ReadFile(verdict.VerdictFile)
	if err != nil {
		return nil, fmt.Errorf("no verdict: %w", err)
	}
	r := newReplay(run, o)
	if !r.decode(raw) {
		return &r.Verification, nil
	}
	if rules := twohop.Rules(); !o.otherRules && r.v.Run.Rules != rules && (r.v.Run.Rules != "" || r.judged()) {
		r.Problem("%s", otherRules(r.v.Run.Header, rules))
		return &r.Verification, nil
	}
	if r.key, err = observe.NewKey(r.v.Run.Nonce, r.v.Run.Header); err != nil {
		return nil, err
	}
	r.readObservations()
	r.leftOver()
	r.findings()
	r.times()
	r.order()
	if !r.header() {
		return &r.Verification, nil // every token would be another one
	}
	r.hidden()
	r.identify()
	if len(r.editors) < r.v.Run.Labs && r.judged() {
		return &r.Verification, nil // without the subject no check can be made
	}
	r.claims()
	if r.judged() {
		r.Note("Not worked out again: what was measured (when and how long things took) and what the harness says of itself (notes, clusterReused; and, bound to the requests' tokens, commit, lane, engine and cluster).")
	}
	return &r.Verification, nil
}

// replay is a verification under way.
type replay struct {
	verdict.Verification
	options
	run     verdict.Files
	v       *verdict.Verdict
	key     observe.Key
	logs    map[string]*observe.LogFile
	hashes  map[string]string // of the logs' files
	kept    map[claim.ID]*recorded.Source
	listed  map[string]claim.ID      // evidence path: the claim that lists it
	editors map[int]*manifest.Editor // of the labs, by their numbers
}

func newReplay(run verdict.Files, o options) *replay {
	r := &replay{options: o, run: run, logs: map[string]*observe.LogFile{}, hashes: map[string]string{}, kept: map[claim.ID]*recorded.Source{}, listed: map[string]claim.ID{}, editors: map[int]*manifest.Editor{}}
	r.Problems, r.Notes = []string{}, []string{}
	return r
}

// source is what was kept of a claim.
func (r *replay) source(id claim.ID) *recorded.Source {
	if r.kept[id] == nil {
		r.kept[id] = recorded.New(r.logs)
	}
	return r.kept[id]
}

// judged says that the run came to judge a claim.
func (r *replay) judged() bool {
	return slices.ContainsFunc(r.v.Claims, func(c verdict.Result) bool { return c.Finding.Claim != "" })
}

func (r *replay) decode(raw []byte) bool {
	schema, err := verdict.SchemaProblems(raw)
	if err != nil {
		r.Problem("%s: %v.", verdict.VerdictFile, err)
		return false
	}
	for _, p := range schema {
		r.Problem("%s does not follow its schema: %s.", verdict.VerdictFile, p)
	}
	if r.v, err = verdict.Decode(raw); err != nil {
		r.Problem("%s cannot be read as a verdict: %v.", verdict.VerdictFile, err)
		return false
	}
	r.Run, r.Claims = r.v.Run.ID, len(r.v.Claims)
	return true
}

// otherRules says how to get a program that judges as the run's did.
func otherRules(h verdict.Header, have string) string {
	if h.Rules == "" {
		return "The run does not say by which rules it was judged, so nothing was worked out again."
	}
	why := fmt.Sprintf("The run was judged by other rules (%s) than this program has (%s), so nothing was worked out again.", h.Rules, have)
	commit, dirty := strings.CutSuffix(h.HarnessCommit, "-dirty")
	switch {
	case commit == "":
		return why + " The run does not say which commit judged it."
	case dirty:
		return why + fmt.Sprintf(" It was judged by a changed work tree on top of commit %s, which no commit has.", commit)
	}
	return why + fmt.Sprintf(" To build the program that judged it: git worktree add ../twohop-%s %s && cd ../twohop-%s && make build && bin/twohop verify-run RUN.", commit, commit, commit)
}

// identify works out anew what the run was made on.
func (r *replay) identify() {
	if len(r.v.Run.Evidence) == 0 {
		if r.judged() {
			r.Problem("Nothing shows what the run was made on, so no check was made again.")
		}
		return
	}
	var first experiment.Identity
	h := r.v.Run.Header
	for n := h.Lab; n < h.Lab+min(h.Labs, verdict.MostLabs); n++ {
		id := r.identifyLab(n)
		if n == h.Lab {
			first = id
			r.madeOn(id)
		} else if err := id.Alike(first); err != nil {
			r.Problem("What the run was made on: %v.", err)
		}
	}
}

// madeOn holds what the run says that it was made on against the first lab's own word.
func (r *replay) madeOn(id experiment.Identity) {
	want := r.v.Run
	id.SetRun(&want)
	for _, f := range differing(r.v.Run, want) {
		r.Problem("The run's %s says %s, and the observations %s.", f.name, f.got, f.want)
	}
	if r.editors[r.v.Run.Lab] != nil {
		r.manifest()
	}
}

// identifyLab works out anew what a lab is made of.
func (r *replay) identifyLab(n int) experiment.Identity {
	h := r.v.Run.Header
	s, _ := manifest.Numbered(n, h.Domain)
	id, err := experiment.Identify(context.Background(), r.source(experiment.RunID), r.key, observe.DefaultLimits(), s, h.Asked,
		func() experiment.Ground { return experiment.Ground{} })
	if err != nil {
		if r.ended() || r.judged() {
			r.Problem("What lab %d was made of: %v.", n, err)
		}
		return id
	}
	if id.Ground.Lab != n {
		r.Problem("The observations of lab %d are of lab %d.", n, id.Ground.Lab)
	}
	editor, err := id.Ground.Editor()
	if err != nil {
		r.Problem("The subject cannot be made again: %v.", err)
	} else {
		r.editors[n] = editor
	}
	return id
}

// manifest holds manifest.yaml against the subject.
func (r *replay) manifest() {
	want, err := manifest.YAML(r.editors[r.v.Run.Lab].Baseline.Objects()...)
	if err != nil {
		r.Problem("The subject cannot be rendered again: %v.", err)
		return
	}
	got, err := r.run.ReadFile(verdict.ManifestFile)
	if err != nil {
		r.Problem("%s cannot be read: %v.", verdict.ManifestFile, err)
	} else if !bytes.Equal(got, want) {
		r.Problem("%s is not the subject that the run deployed.", verdict.ManifestFile)
	}
}

// claims makes every check again and folds anew.
func (r *replay) claims() {
	selection, err := claim.Select(r.v.Run.Selection)
	if err != nil {
		r.Problem("The selection %q is not one of the registry: %v.", r.v.Run.Selection, err)
		return
	}
	stored := map[claim.ID]verdict.Result{}
	for _, c := range r.v.Claims {
		if _, twice := stored[c.ID]; twice {
			r.Problem("%s: %s lists the claim twice.", c.ID, verdict.VerdictFile)
		}
		stored[c.ID] = c
	}
	late := r.late()
	findings := map[claim.ID]verdict.Finding{}
	for _, c := range selection {
		was, ok := stored[c.ID]
		if !ok {
			r.Problem("%s: the selection %q holds this claim, and the verdict does not list it.", c.ID, r.v.Run.Selection)
			continue
		}
		if reflect.ValueOf(was.Finding).IsZero() || len(r.editors) == 0 {
			continue
		}
		if r.editors[was.Lab] == nil {
			r.Problem("%s: the claim was judged in lab %d, and the run has no such lab.", c.ID, was.Lab)
			continue
		}
		f := r.again(c.ID, was)
		if text, ok := late[c.ID]; ok {
			f.Error = text
		}
		findings[c.ID] = f
	}
	results := verdict.Fold(selection, findings, r.v.Run.Istio)
	for i, want := range results {
		if i < len(r.v.Claims) && len(results) == len(r.v.Claims) && r.v.Claims[i].ID != want.ID {
			r.Problem("%s: the registry's order has %s in this place.", r.v.Claims[i].ID, want.ID)
			break
		}
	}
	for _, want := range results {
		if was, ok := stored[want.ID]; ok {
			r.compare(was, want)
			delete(stored, want.ID)
		}
	}
	for id := range stored {
		r.Problem("%s: the verdict lists this claim, and the selection %q does not hold it.", id, r.v.Run.Selection)
	}
	r.conclude(results)
}

// compare says where a claim's line is not what the observations make it.
func (r *replay) compare(was, want verdict.Result) {
	if want.Error != "" && was.Error != want.Error {
		for _, p := range differingSoFar(was.Finding, want.Finding) {
			r.Problem("%s: %s.", want.ID, p)
		}
		r.Problem("%s: the check cannot be made again: %s", want.ID, want.Error)
		return
	}
	for _, t := range []struct {
		name     string
		was, now *verdict.Trial
	}{{"check", was.Check, want.Check}, {"control", was.Control, want.Control}} {
		for _, p := range differingFacts(t.was, t.now) {
			r.Problem("%s: %s: %s.", want.ID, t.name, p)
		}
	}
	for _, f := range differing(was, want) {
		if f.name != "check" && f.name != "control" {
			r.Problem("%s: %s: the verdict says %s, and the observations make it %s.", want.ID, f.name, f.got, f.want)
		}
	}
}

// conclude holds the totals, the result and the exit code against the claims.
func (r *replay) conclude(results []verdict.Result) {
	if totals := verdict.Count(results); totals != r.v.Totals {
		r.Problem("The totals are %+v; counting the claims gives %+v.", r.v.Totals, totals)
	}
	outcome := verdict.Conclude(results, r.v.Result)
	if outcome != r.v.Result {
		r.Problem("The result says %s; the claims make it %s.", r.v.Result, outcome)
	}
	if code := outcome.ExitCode(); code != r.v.ExitCode {
		r.Problem("The exit code says %d; a run that is %s ends with %d.", r.v.ExitCode, outcome, code)
	}
	if message, ok := verdict.Message(results, outcome); ok && message != r.v.Message {
		r.Problem("The message says %q; it should be %q.", r.v.Message, message)
	}
	if r.v.Result == verdict.Running {
		r.Note("The run has not ended, or it was killed: its result says running.")
	}
}

// findings holds verdict.json against the files that the specs wrote.
func (r *replay) findings() {
	files, err := verdict.ReadFindings(r.run)
	if err != nil {
		r.Problem("The findings cannot be read: %v.", err)
		return
	}
	for _, c := range r.v.Claims {
		name := path.Join(verdict.FindingsDir, string(c.ID)+".json")
		file, onDisk := files[c.ID]
		inVerdict := !reflect.ValueOf(c.Finding).IsZero()
		switch {
		case onDisk != inVerdict:
			r.Problem("%s: %s and %s do not agree that there is a finding.", c.ID, name, verdict.VerdictFile)
		case onDisk && !same(file, c.Finding):
			r.Problem("%s: %s and %s differ.", c.ID, name, verdict.VerdictFile)
		}
		delete(files, c.ID)
	}
	for id := range files {
		r.Problem("%s: there is a finding of this claim, and %s does not list the claim.", id, verdict.VerdictFile)
	}
}

func same(a, b any) bool {
	rawA, errA := json.Marshal(a)
	rawB, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(rawA, rawB)
}
