// Package trial proves one claim: it makes the claim's check in the state that
// the claim speaks of and once more after one deliberate change, and brings
// home the facts, their evidence and a script that shows the same by hand. The
// judgement is verdict.Fold's; the observing is the lab's witnesses'.
package trial

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/onsi/gomega/types"

	"twohop/internal/claim"
	"twohop/internal/lab"
	"twohop/internal/verdict"
)

// Experiment is how a claim is proven. The same Check is made twice; one time
// it has to hold and the other not, and Cause then shows why it does not.
type Experiment struct {
	// Arrange brings about the state that the claim speaks of; empty means the
	// baseline.
	Arrange []lab.Variation
	// Check states facts. A fact that is not so makes the check negative; an
	// error means that nothing could be learnt.
	Check func(ctx context.Context, t *T) error
	// Cause states facts about why the check came out negative. It is called
	// for that trial only, after its Check, in the same state.
	Cause func(ctx context.Context, t *T) error
	// Control is the one deliberate change, on top of Arrange, after which the
	// check has to come out the other way.
	Control []lab.Variation
}

// Keeper keeps what a trial brings home; a run's folder does.
type Keeper interface {
	SaveEvidence(id claim.ID, name, kind, witness, command string, raw []byte) (verdict.Evidence, error)
	SaveScript(id claim.ID, script []byte) (path string, err error)
	Record(verdict.Finding) error
}

// T is the trial under way. Its methods observe and state facts.
type T struct {
	*lab.Lab
	claim   claim.ID
	keeper  Keeper
	finding verdict.Finding
	facts   *[]verdict.Fact
	script  script
	// nth counts saved observations, so that names tell check from control.
	stage string
}

// Run makes the experiment, records the finding and returns it. It leaves the
// lab varied: the caller restores it, whatever happened here.
func Run(ctx context.Context, l *lab.Lab, id claim.ID, keeper Keeper, experiment func(*T) Experiment) verdict.Finding {
	t := &T{Lab: l, claim: id, keeper: keeper}
	t.finding = verdict.Finding{Claim: id, Start: time.Now().UTC(), Attempts: 1}
	if err := t.guard(ctx, experiment); err != nil {
		t.failed(err)
	}
	t.finding.DurationMillis = time.Since(t.finding.Start).Milliseconds()
	if path, err := keeper.SaveScript(id, t.script.render(id, l)); err != nil {
		t.failed(err)
	} else {
		t.finding.Reproduce = path
	}
	if err := keeper.Record(t.finding); err != nil {
		t.failed(err)
	}
	return t.finding
}

// failed adds to what kept the finding from being obtained.
func (t *T) failed(err error) {
	if t.finding.Error != "" {
		err = fmt.Errorf("%s; %w", t.finding.Error, err)
	}
	t.finding.Error = err.Error()
}

// guard turns a panic of a check into an error: the finding is recorded.
func (t *T) guard(ctx context.Context, experiment func(*T) Experiment) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the check panicked: %v\n%s", r, debug.Stack())
		}
	}()
	return t.prove(ctx, experiment(t))
}

func (t *T) prove(ctx context.Context, e Experiment) error {
	if err := t.vary(ctx, e.Arrange); err != nil {
		return err
	}
	t.stage = "check"
	check, err := t.once(ctx, e)
	check.Change = ""
	t.finding.Check = check
	if err != nil {
		return err
	}
	t.stage = "control"
	if err := t.vary(ctx, e.Control); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	control, err := t.once(ctx, e)
	control.Change = changes(e.Control)
	t.finding.Control = control
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}

func (t *T) once(ctx context.Context, e Experiment) (*verdict.Trial, error) {
	trial := &verdict.Trial{}
	t.facts = &trial.Facts
	if err := e.Check(ctx, t); err != nil {
		return trial, err
	}
	if trial.Holds() {
		return trial, nil
	}
	t.facts = &trial.Cause
	if e.Cause == nil {
		return trial, nil // Fold says that the cause is missing
	}
	if err := e.Cause(ctx, t); err != nil {
		return trial, fmt.Errorf("look for the cause: %w", err)
	}
	return trial, nil
}

// vary makes changes and writes them into the script.
func (t *T) vary(ctx context.Context, variations []lab.Variation) error {
	if len(variations) == 0 {
		return nil
	}
	applied, err := t.Vary(ctx, variations...)
	if keepErr := t.applied(variations, applied); keepErr != nil {
		return keepErr
	}
	return err
}

// applied writes into the script what was changed, and keeps the documents.
func (t *T) applied(variations []lab.Variation, applied []lab.Applied) error {
	for i, a := range applied {
		t.script.add(variations[i].Change, a.Command, a.YAML)
		if len(a.YAML) > 0 {
			if _, saveErr := t.Save("applied.yaml", verdict.KindYAML, verdict.WitnessAPI, a.Command, a.YAML); saveErr != nil {
				return saveErr
			}
		}
	}
	return nil
}

// Save keeps raw bytes as evidence, before anything parses them.
func (t *T) Save(name, kind, witness, command string, raw []byte) (string, error) {
	if t.stage != "" {
		name = t.stage + "-" + name
	}
	e, err := t.keeper.SaveEvidence(t.claim, name, kind, witness, command, raw)
	if err != nil {
		return "", fmt.Errorf("save evidence: %w", err)
	}
	t.finding.Evidence = append(t.finding.Evidence, e)
	return e.Path, nil
}

// Fact states one fact: what was looked at, what was seen there, and what had
// to be. It reports whether the fact is so.
func (t *T) Fact(name string, seen any, want types.GomegaMatcher, evidence ...string) bool {
	seen = plain(seen)
	ok, err := want.Match(seen)
	fact := verdict.Fact{Name: name, Expected: expectation(want, seen), Seen: show(seen), OK: ok && err == nil, Evidence: evidence}
	if err != nil && seen != nil { // that nothing is there needs no matcher's comment
		fact.Seen = fmt.Sprintf("%s (%v)", fact.Seen, err)
	}
	*t.facts = append(*t.facts, fact)
	return fact.OK
}

// Step notes a command for the script that reproduces the claim.
func (t *T) Step(what, command string) { t.script.add(what, command, nil) }

// Table is the claim's own table, for verdict.json and result.txt.
func (t *T) Table(title string, header ...string) *verdict.Table {
	t.finding.Table = &verdict.Table{Title: title, Header: header}
	return t.finding.Table
}

func changes(variations []lab.Variation) string {
	text := ""
	for i, v := range variations {
		if i > 0 {
			text += "; "
		}
		text += v.Change
	}
	return text
}
