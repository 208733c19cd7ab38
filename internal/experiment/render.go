package experiment

import (
	"context"
	"errors"
	"fmt"

	"twohop/internal/check"
	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/subject"
)

// Stage is what is changed of the subject before a check or its control.
type Stage struct {
	Name    string // "check" or "control"
	Changes []Change
}

// Change is one variation as a person would make it. Nothing is applied where
// only what the check sends or looks at is another.
type Change struct {
	Words   string
	Applied []manifest.Applied
}

// Render works out, without a cluster, what an experiment changes before its
// check and, on top of that, before its control. Names and certificates are made
// for the occasion. What a check changes while it is under way is not in it: only
// the check knows when.
func (d Definition) Render() (stages []Stage, err error) {
	defer check.Recover(&err)
	editor, err := onPaper()
	if err != nil {
		return nil, err
	}
	key, err := observe.NewKey("render", d.ID)
	if err != nil {
		return nil, err
	}
	session := &check.Session{Source: inputs{}, Key: key, Claim: string(d.ID)}
	session.Enter("setup")
	// Addresses of the documentation's (RFC 5737), where a cluster has its own.
	cast := &check.T{PartnerService: "192.0.2.1"}
	cast.Partner.IP = "192.0.2.2"
	plan := d.design(&Setup{Editor: editor, ctx: context.Background(), session: session, cast: cast, material: newMaterial(editor)})
	set := editor.Baseline
	for _, s := range []struct {
		name       string
		variations []manifest.Variation
	}{{"check", plan.Arrange}, {"control", plan.Control}} {
		stage := Stage{Name: s.name}
		for _, v := range s.variations {
			next, err := v.Apply(set)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			all, err := applied(set, next)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", s.name, v.Change, err)
			}
			stage.Changes, set = append(stage.Changes, Change{v.Change, all}), next
		}
		stages = append(stages, stage)
	}
	return stages, nil
}

// onPaper edits the subject of the fixtures, with certificates of its own.
func onPaper() (*manifest.Editor, error) {
	certificates, err := manifest.NewCertificates(subject.Default())
	if err != nil {
		return nil, err
	}
	// The images have the names that stand for them in the fixtures.
	baseline, err := manifest.Baseline(1, "", manifest.Images{Client: "twohop/client", Partner: "twohop/partner"}, certificates)
	if err != nil {
		return nil, err
	}
	return manifest.NewEditor(baseline, certificates), nil
}

// applied is what makes the one set the other.
func applied(from, to *manifest.Set) ([]manifest.Applied, error) {
	diff, err := manifest.Diff(from, to)
	if err != nil {
		return nil, err
	}
	return diff.Applied()
}

// inputs is a source that makes what the harness contributes, and observes nothing.
type inputs struct{}

func (inputs) Begin(_ context.Context, at observe.Slot, q observe.Question, _ observe.Meta) observe.Pending {
	in, ok := q.(observe.Input)
	if !ok {
		return answered{err: fmt.Errorf("%s asks %q, and there is no cluster to ask", at, q.Key())}
	}
	raw, err := in.Make()
	return answered{raw, err}
}

func (inputs) Lines(observe.Window) ([]observe.LogLine, error) {
	return nil, errors.New("there is no cluster that has logs")
}

func (inputs) Derive(observe.Slot, observe.Meta, []byte) (string, error) { return "", nil }

type answered struct {
	raw []byte
	err error
}

func (a answered) Answer(context.Context) (observe.Answer, error) {
	return observe.Answer{Raw: a.raw}, a.err
}
