// Package check turns observations into facts: what a proxy's configuration, the
// logs of a call, a kernel's sockets say, and what had to be. A check asks for
// what it needs and gets it, or is aborted; it knows neither a lab nor a cluster
// and must not import the lab.
package check

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/onsi/gomega/types"

	"twohop/internal/observe"
	"twohop/internal/subject"
	"twohop/internal/verdict"
)

// Proxy is an Envoy that plays a role.
type Proxy struct {
	observe.Pod
	Workload subject.Workload
}

// T is a stage of a claim under way: its methods observe and state facts. A
// method that cannot go on ends the check with an Abort.
type T struct {
	Subject subject.Subject
	// The proxies by their roles; nil where nobody plays the role.
	Sidecar, Gateway, SecondSidecar, SecondGateway *Proxy
	// Partner is the partner's pod, PartnerService the address of its Service.
	Partner        observe.Pod
	PartnerService string
	Limits         observe.Limits

	ctx     context.Context
	session *Session
	cast    observe.Cast
	facts   *[]verdict.Fact
}

// Session is what the stages of one claim share.
type Session struct {
	Source observe.Source
	Key    observe.Key
	Limits observe.Limits
	Claim  string
	Stage  string
	// Script notes a step of the script that reproduces the claim: shell commands
	// in the words of experiment/reproduce.sh, and what they read.
	Script func(what, command string, stdin []byte)
	// Tables gets the claim's own table.
	Table func(*verdict.Table)

	ordinal int
	marks   map[subject.Role]observe.Window // where the logs stood when the claim began
}

// Enter begins a stage.
func (s *Session) Enter(stage string) { s.Stage, s.ordinal = stage, 0 }

// Next takes the stage's next slot.
func (s *Session) Next() observe.Slot {
	s.ordinal++
	return observe.Slot{Claim: s.Claim, Stage: s.Stage, Ordinal: s.ordinal}
}

// Abort ends a check that cannot go on. The runner turns it into the finding's error.
type Abort struct{ Err error }

// Recover turns an Abort that is under way into an error; any other panic goes on.
func Recover(err *error) {
	switch r := recover().(type) {
	case nil:
	case Abort:
		*err = r.Err
	default:
		panic(r)
	}
}

// Abort ends the check with an error.
func (t *T) Abort(format string, args ...any) { panic(Abort{fmt.Errorf(format, args...)}) }

func (t *T) must(err error) {
	if err != nil {
		panic(Abort{err})
	}
}

// New begins a stage's check: it asks who plays the roles now.
func New(ctx context.Context, session *Session, s subject.Subject) (t *T, err error) {
	defer Recover(&err)
	t = &T{Subject: s, Limits: session.Limits, ctx: ctx, session: session}
	t.Meet()
	return t, nil
}

// Meet asks who plays the roles now: a change may have replaced a pod.
func (t *T) Meet() {
	a := t.ask(observe.Pods{}, observe.Meta{Name: "pods.json", Kind: verdict.KindJSON, Witness: verdict.WitnessAPI, Command: "kubectl get pods -A -o wide"})
	t.cast = observe.Cast{}
	if err := json.Unmarshal(a.Raw, &t.cast); err != nil {
		t.Abort("who plays the roles: %w", err)
	}
	if t.session.marks == nil {
		t.session.marks = map[subject.Role]observe.Window{}
		for _, w := range a.Windows {
			t.session.marks[w.Role] = w
		}
	}
	t.Sidecar = t.proxy(subject.Sidecar, t.Subject.Client)
	t.Gateway = t.proxy(subject.Gateway, t.Subject.Gateway)
	t.SecondSidecar = t.proxy(subject.SecondSidecar, t.Subject.SecondClient())
	t.SecondGateway = t.proxy(subject.SecondGateway, t.Subject.SecondGateway())
	t.Partner, _ = t.cast.Find(subject.Partner)
	t.PartnerService = t.cast.PartnerService
	if t.Sidecar == nil || t.Gateway == nil {
		t.Abort("nobody plays the client's sidecar or the gateway")
	}
}

func (t *T) proxy(role subject.Role, w subject.Workload) *Proxy {
	p, ok := t.cast.Find(role)
	if !ok {
		return nil
	}
	return &Proxy{Pod: p, Workload: w}
}

// ask makes an observation; an error of it ends the check.
func (t *T) ask(q observe.Question, meta observe.Meta) observe.Answer {
	_, a := t.askAt(q, meta)
	return a
}

// Asking makes an observation beside others: it starts now, and the function that it
// returns has to be called for its bytes.
func (t *T) Asking(q observe.Question, name, kind string) func() []byte {
	pending := t.session.Source.Begin(t.ctx, t.session.Next(), q, observe.Meta{Name: name, Kind: kind, Command: q.Key()})
	return func() []byte {
		a, err := pending.Answer(t.ctx)
		t.must(err)
		return a.Raw
	}
}

func (t *T) askAt(q observe.Question, meta observe.Meta) (observe.Slot, observe.Answer) {
	at := t.session.Next()
	a, err := t.session.Source.Begin(t.ctx, at, q, meta).Answer(t.ctx)
	t.must(err)
	return at, a
}

// lines are the texts of a window's lines that match.
func (t *T) lines(w observe.Window, match func([]byte) bool) [][]byte {
	var found [][]byte
	for _, l := range t.stamped(w, match) {
		found = append(found, l.Text)
	}
	return found
}

func (t *T) stamped(w observe.Window, match func([]byte) bool) (found []observe.LogLine) {
	all, err := t.session.Source.Lines(w)
	t.must(err)
	for _, l := range all {
		if match(l.Text) {
			found = append(found, l)
		}
	}
	return found
}

// derive keeps bytes that follow from an observation, for people to read.
func (t *T) derive(at observe.Slot, meta observe.Meta, raw []byte) string {
	path, err := t.session.Source.Derive(at, meta, raw)
	t.must(err)
	return path
}

// since is where a role's log stood when the claim began: 0 for a log that came later.
func (t *T) since(role subject.Role) int {
	pod, _ := t.cast.Find(role)
	if mark := t.session.marks[role]; mark.Log == pod.Log {
		return mark.From
	}
	return 0
}

// Context is the stage's.
func (t *T) Context() context.Context { return t.ctx }

// Unique is a name that no earlier object had, the same in a replay.
func (t *T) Unique(prefix string) string { return t.session.Unique(prefix) }

// Unique is a name that no earlier object had, the same in a replay.
func (s *Session) Unique(prefix string) string {
	return prefix + "-" + s.Key.Token(s.Next(), 0)[1:13]
}

// Input is what the harness itself contributes: made in a run, recorded for its
// replay.
func (s *Session) Input(ctx context.Context, what, name string, make func() ([]byte, error)) ([]byte, error) {
	a, err := s.Source.Begin(ctx, s.Next(), observe.Input{What: what, Make: make},
		observe.Meta{Name: name, Kind: verdict.KindText}).Answer(ctx)
	return a.Raw, err
}

// Table is the claim's own table, for verdict.json and result.txt.
func (t *T) Table(title string, header ...string) *verdict.Table {
	table := &verdict.Table{Title: title, Header: header}
	t.session.Table(table)
	return table
}

// State makes facts go into a list from now on.
func (t *T) State(facts *[]verdict.Fact) { t.facts = facts }

// Fact states one fact: what was looked at, what was seen there, and what had
// to be. It returns whether the fact is so.
func (t *T) Fact(name string, seen any, want types.GomegaMatcher, evidence ...string) bool {
	return t.fact(verdict.Fact{Name: name, Evidence: evidence}, seen, want)
}

// Because states the reason for a failure, as some witness gives it.
func (t *T) Because(name string, seen any, want types.GomegaMatcher, evidence ...string) bool {
	return t.fact(verdict.Fact{Name: name, Because: true, Evidence: evidence}, seen, want)
}

func (t *T) fact(f verdict.Fact, seen any, want types.GomegaMatcher) bool {
	seen = plain(seen)
	ok, err := match(want, seen)
	f.Expected, f.Seen, f.OK = expectation(want, seen), show(seen), ok && err == nil
	if err != nil && seen != nil { // that nothing is there needs no matcher's comment
		f.Seen = fmt.Sprintf("%s (%v)", f.Seen, err)
	}
	*t.facts = append(*t.facts, f)
	return f.OK
}

// match is the matcher's word. Some of Gomega's panic on nil, which stands for
// what is absent here: that is no match.
func match(want types.GomegaMatcher, seen any) (ok bool, err error) {
	if seen == nil {
		defer func() {
			if r := recover(); r != nil {
				ok, err = false, fmt.Errorf("%v", r)
			}
		}()
	}
	return want.Match(seen)
}

// Who names a proxy in facts. The gateway pods without traffic share a name: a
// check looks at one of them and its control at another, and a fact has to be
// called the same in both. The evidence says which pod it is of.
func (t *T) Who(p *Proxy) string {
	switch p.Role {
	case subject.Sidecar:
		return "client sidecar"
	case subject.SecondSidecar:
		return "second client's sidecar"
	case subject.SecondGateway:
		return "second gateway"
	case subject.Gateway:
		return "gateway"
	}
	return "extra gateway"
}

// witness is who saw what a proxy says, in the verdict's terms.
func witness(role subject.Role) string {
	switch role {
	case subject.Sidecar, subject.SecondSidecar:
		return verdict.WitnessSidecar
	case subject.Partner:
		return verdict.WitnessPartner
	case subject.Istiod:
		return verdict.WitnessIstiod
	}
	return verdict.WitnessGateway
}

// fileOf begins the name of a role's evidence files.
func fileOf(role subject.Role) string {
	if name, ok := role.ExtraGatewayPod(); ok {
		return name
	}
	return string(role)
}

func logCommand(p observe.Pod, container string) string {
	return fmt.Sprintf("kubectl logs -n %s %s -c %s", p.Namespace, p.Name, container)
}

func join(lines [][]byte) []byte {
	if len(lines) == 0 {
		return nil
	}
	return append(bytes.Join(lines, []byte("\n")), '\n')
}

func first[E any](list []E) (zero E) {
	if len(list) == 0 {
		return zero
	}
	return list[0]
}
