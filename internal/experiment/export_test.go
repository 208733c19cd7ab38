package experiment

import (
	"context"

	"twohop/internal/check"
	"twohop/internal/manifest"
	"twohop/internal/observe"
)

// OnPaper is the script of what a definition changes before its check and its
// control.
func (d Definition) OnPaper() (raw []byte, err error) {
	defer check.Recover(&err)
	editor, err := onPaper()
	if err != nil {
		return nil, err
	}
	key, err := observe.NewKey("paper", d.ID)
	if err != nil {
		return nil, err
	}
	session := &check.Session{Source: inputs{}, Key: key, Claim: string(d.ID)}
	session.Enter("setup")
	s := newScript(newMaterial(editor))
	cast := &check.T{PartnerService: "10.96.0.9", Partner: observe.Pod{IP: "10.244.0.9"}}
	s.meet(cast)
	plan := d.design(&Setup{Editor: editor, ctx: context.Background(), session: session, cast: cast, material: s.material})
	set := editor.Baseline
	for _, v := range append(append([]manifest.Variation{}, plan.Arrange...), plan.Control...) {
		next, err := v.Apply(set)
		if err != nil {
			return nil, err
		}
		if _, err := s.change(v, set, next); err != nil {
			return nil, err
		}
		set = next
	}
	return s.render(d.ID, editor.Subject), nil
}
