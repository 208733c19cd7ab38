package experiment

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/subject"
	"twohop/internal/verdict"
)

// source is a cluster of which nothing is to be learnt: it answers each Get with
// its path, has the harness's inputs made, and notes what was asked.
type source struct {
	asked   []string
	derived []string
	fail    string // in the question's key: that one is not given
}

func (s *source) Begin(_ context.Context, at observe.Slot, q observe.Question, _ observe.Meta) observe.Pending {
	s.asked = append(s.asked, at.String()+" "+q.Key())
	if s.fail != "" && strings.Contains(q.Key(), s.fail) {
		return given{err: errors.New("no answer")}
	}
	switch q := q.(type) {
	case observe.Pods:
		return given{answer: observe.Answer{Raw: []byte(`{"pods":[{"role":"sidecar","name":"client-1"},{"role":"gateway","name":"gateway-1"}]}`), Path: "pods"}}
	case observe.Input:
		raw, err := q.Make()
		return given{observe.Answer{Raw: raw}, err}
	case observe.Get:
		return given{answer: observe.Answer{Raw: []byte(q.Path), Path: "evidence" + q.Path}}
	}
	return given{err: fmt.Errorf("nobody answers %s", q.Key())}
}

func (*source) Lines(observe.Window) ([]observe.LogLine, error) { return nil, nil }

func (s *source) Derive(at observe.Slot, m observe.Meta, raw []byte) (string, error) {
	s.derived = append(s.derived, fmt.Sprintf("%s %s %d", at, m.Name, len(raw)))
	return "evidence/" + m.Name, nil
}

type given struct {
	answer observe.Answer
	err    error
}

func (a given) Answer(context.Context) (observe.Answer, error) { return a.answer, a.err }

// world notes what is carried out.
type world struct {
	done []string
	fail string // the change that cannot be made
}

func (w *world) Vary(_ context.Context, variations ...manifest.Variation) error {
	w.done = append(w.done, manifest.Changes(variations))
	if w.fail != "" && strings.Contains(manifest.Changes(variations), w.fail) {
		return errors.New("the API server is gone")
	}
	return nil
}

func (w *world) Return(context.Context, *manifest.Set) error {
	w.done = append(w.done, "return")
	return nil
}

func environment(t *testing.T) (Environment, *source, *world) {
	t.Helper()
	certificates, err := manifest.NewCertificates(subject.Default())
	if err != nil {
		t.Fatal(err)
	}
	baseline, err := manifest.Baseline(1, "", manifest.Images{}, certificates)
	if err != nil {
		t.Fatal(err)
	}
	key, err := observe.NewKey("nonce", "header")
	if err != nil {
		t.Fatal(err)
	}
	s, w := &source{}, &world{}
	clock := time.Date(2026, 11, 24, 2, 4, 46, 0, time.UTC)
	return Environment{World: w, Source: s, Key: key, Editor: manifest.NewEditor(baseline, certificates), Now: func() time.Time {
		clock = clock.Add(time.Second)
		return clock
	}}, s, w
}

func config(name string) manifest.Variation {
	return manifest.Add("add "+name, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}})
}

// status is an experiment whose check sees the statuses given, one each time,
// and wants 200.
func status(statuses ...int) Experiment[int] {
	at := 0
	return Experiment[int]{
		Check: func(t *T) int {
			raw := t.Asking(observe.Get{Path: "/status"}, "status.txt", verdict.KindText)()
			saw := statuses[at]
			t.Fact("status", saw, gomega.Equal(200), "evidence"+string(raw))
			t.Fact("path", string(raw), gomega.Equal("/status"), "evidence"+string(raw))
			at++
			return saw
		},
		Cause: func(t *T, saw int) {
			t.Because("flags", "UF", gomega.Equal("UF"))
			t.Fact("the check's status", saw, gomega.Equal(503))
		},
		Arrange: []manifest.Variation{config("a")},
		Control: []manifest.Variation{config("b"), config("c")},
		Flips:   []string{"status"},
	}
}

func try[O any](env Environment, e Experiment[O]) Outcome {
	return Define("G1", func(*Setup) Experiment[O] { return e }).Run(context.Background(), env)
}

func TestTheSameCheckIsMadeTwice(t *testing.T) {
	path := verdict.Fact{Name: "path", Expected: "/status", Seen: "/status", OK: true}
	held := []verdict.Fact{{Name: "status", Expected: "200", Seen: "200", OK: true, Flips: true}, path}
	failed := []verdict.Fact{{Name: "status", Expected: "200", Seen: "503", Flips: true}, path}
	cause := []verdict.Fact{{Name: "flags", Expected: "UF", Seen: "UF", OK: true, Because: true}, {Name: "the check's status", Expected: "503", Seen: "503", OK: true}}
	const change = "add b; add c"
	for _, tt := range []struct {
		name           string
		statuses       []int
		check, control verdict.Trial
	}{
		{"the control comes out negative", []int{200, 503}, verdict.Trial{Facts: held}, verdict.Trial{Change: change, Facts: failed, Cause: cause}},
		{"the check does", []int{503, 200}, verdict.Trial{Facts: failed, Cause: cause}, verdict.Trial{Change: change, Facts: held}},
		{"neither does", []int{200, 200}, verdict.Trial{Facts: held}, verdict.Trial{Change: change, Facts: held}},
		{"both do", []int{503, 503}, verdict.Trial{Facts: failed, Cause: cause}, verdict.Trial{Change: change, Facts: failed, Cause: cause}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env, s, w := environment(t)
			got := try(env, status(tt.statuses...)).Finding
			want := verdict.Finding{Claim: "G1", Attempts: 1, Lab: 1, Start: time.Date(2026, 11, 24, 2, 4, 47, 0, time.UTC), DurationMillis: 1000, Check: &tt.check, Control: &tt.control}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(verdict.Fact{}, "Evidence")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff([]string{"add a", change}, w.done); diff != "" {
				t.Errorf("changes: -want +got:\n%s", diff)
			}
			wantAsked := []string{
				"G1/setup/01 pods",
				"G1/check/02 input change: add a", "G1/check/03 pods", "G1/check/04 get /status",
				"G1/control/03 input change: add b; add c", "G1/control/04 pods", "G1/control/05 get /status",
			}
			if diff := cmp.Diff(wantAsked, s.asked); diff != "" {
				t.Errorf("questions: -want +got:\n%s", diff)
			}
			if len(s.derived) != 3 || !strings.HasPrefix(s.derived[2], "G1/control/02 applied.yaml ") {
				t.Errorf("what was applied is not kept: %q", s.derived)
			}
		})
	}
}

func TestWithoutACauseNothingIsStated(t *testing.T) {
	env, _, _ := environment(t)
	e := status(200, 503)
	e.Cause = nil
	if got := try(env, e).Finding; got.Error != "" || got.Control == nil || len(got.Control.Cause) != 0 {
		t.Errorf("%+v", got)
	}
}

// Whatever goes wrong, there is a finding, and it says so.
func TestTroubleIsAFinding(t *testing.T) {
	boom := errors.New("boom")
	second := func(f func(*T)) func(*Environment, *Experiment[int]) {
		return func(_ *Environment, e *Experiment[int]) {
			check, nth := e.Check, 0
			e.Check = func(t *T) int {
				if nth++; nth == 2 {
					f(t)
				}
				return check(t)
			}
		}
	}
	for _, tt := range []struct {
		name    string
		arrange func(*Environment, *Experiment[int])
		control bool // whether it came so far
		says    []string
	}{
		{"the check aborts", func(_ *Environment, e *Experiment[int]) {
			e.Check = func(t *T) int { t.Abort("no line: %w", boom); return 0 }
		}, false, []string{"no line: boom"}},
		{"the control aborts", second(func(t *T) { t.Abort("%w", boom) }), true, []string{"control: boom"}},
		{"the cause aborts", func(_ *Environment, e *Experiment[int]) {
			e.Cause = func(t *T, _ int) { t.Abort("%w", boom) }
		}, true, []string{"control: look for the cause: boom"}},
		{"a getter of the check aborts", func(env *Environment, _ *Experiment[int]) { env.Source.(*source).fail = "/status" }, false, []string{"no answer"}},
		{"nobody plays a role", func(env *Environment, _ *Experiment[int]) { env.Source.(*source).fail = "pods" }, false, []string{"no answer"}},
		{"a change is not made", func(env *Environment, _ *Experiment[int]) { env.World.(*world).fail = "add b" }, true, []string{"control: the API server is gone"}},
		{"a change finds nothing", func(_ *Environment, e *Experiment[int]) {
			e.Control = []manifest.Variation{manifest.Remove("remove x", &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "x"}})}
		}, true, []string{"control: remove x: there is no Secret ns/x to remove"}},
		{"a panic", second(func(*T) { var none []int; _ = none[len(none)] }), false, []string{"the check panicked", "index out of range", "experiment_test.go"}},
		{"a fact that is to flip and that nobody stated", func(_ *Environment, e *Experiment[int]) { e.Flips = []string{"status", "curl: *"} }, true,
			[]string{`no fact is called "curl: *", which is said to flip`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env, _, _ := environment(t)
			e := status(200, 503)
			tt.arrange(&env, &e)
			out := try(env, e)
			for _, part := range tt.says {
				if !strings.Contains(out.Finding.Error, part) {
					t.Errorf("the error %q does not say %q", out.Finding.Error, part)
				}
			}
			if out.Finding.Claim != "G1" || (out.Finding.Check == nil) != (tt.name == "nobody plays a role") || (out.Finding.Control != nil) != tt.control || len(out.Script) == 0 {
				t.Errorf("%+v", out.Finding)
			}
		})
	}
	env, _, _ := environment(t)
	out := Define("G1", func(*Setup) Experiment[int] { panic("no fixture") }).Run(t.Context(), env)
	if !strings.Contains(out.Finding.Error, "the check panicked: no fixture") {
		t.Errorf("a panic of the design: %+v", out.Finding)
	}
}

func TestFlips(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"status", "status", true}, {"status", "status 2", false}, {"*", "anything", true}, {"*: status", "curl: status", true},
		{"curl: *", "curl: status", true}, {"curl: *", "not curl: status", false}, {"a*b*c", "a1b2c", true}, {"a*b*c", "acb", false},
		{"client sidecar, outbound|8443|*: maxConnections", "client sidecar, outbound|8443|partner|h: maxConnections", true},
		{"a*a", "a", false}, {"", "", true},
	} {
		if got := like(tt.pattern, tt.name); got != tt.want {
			t.Errorf("like(%q, %q) is %v", tt.pattern, tt.name, got)
		}
	}
	// A pattern marks all that it names, in both trials.
	fact := func(names ...string) *verdict.Trial {
		trial := &verdict.Trial{}
		for _, n := range names {
			trial.Facts = append(trial.Facts, verdict.Fact{Name: n})
		}
		return trial
	}
	check, control := fact("a: 1", "a: 2", "b"), fact("a: 1", "c")
	if err := mark([]string{"a: *", "c"}, check, control); err != nil {
		t.Fatal(err)
	}
	var flipping []string
	for _, f := range append(check.Facts, control.Facts...) {
		if f.Flips {
			flipping = append(flipping, f.Name)
		}
	}
	if diff := cmp.Diff([]string{"a: 1", "a: 2", "a: 1", "c"}, flipping); diff != "" {
		t.Error(diff)
	}
}

func TestMutantsSpoilThePlan(t *testing.T) {
	env, _, w := environment(t)
	env.Spoil = func(p Plan) Plan {
		for i, v := range p.Control {
			p.Control[i] = v.Undone()
		}
		return p
	}
	out := try(env, status(200, 503))
	if out.Finding.Error != "" || strings.Contains(string(out.Script), "name: b") || w.done[1] != "add b; add c" {
		t.Errorf("%q, %v\n%s", out.Finding.Error, w.done, out.Script)
	}
}

// During makes changes of the check's own, which the next stage starts from;
// Instead takes back what came after a checkpoint.
func TestChangesMidway(t *testing.T) {
	env, s, w := environment(t)
	var seen []string
	note := func(t *T) {
		var names []string
		for _, name := range []string{"a", "b", "c", "d"} {
			if t.Checkpoint().Find(manifest.Key{Kind: "ConfigMap", Namespace: "ns", Name: name}) != nil {
				names = append(names, name)
			}
		}
		seen = append(seen, strings.Join(names, ""))
	}
	nth := 0
	out := try(env, Experiment[int]{
		Arrange: []manifest.Variation{config("a")},
		Check: func(t *T) int {
			note(t)
			if nth++; nth == 2 {
				return 0
			}
			from := t.Checkpoint()
			t.During(config("b"))
			note(t)
			t.Instead(from, config("c"))
			note(t)
			t.Instead(from)
			note(t)
			return 0
		},
		Control: []manifest.Variation{config("d")},
	})
	if out.Finding.Error != "" {
		t.Fatal(out.Finding.Error)
	}
	if diff := cmp.Diff([]string{"a", "ab", "ac", "a", "ad"}, seen); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"add a", "add b", "return", "add c", "return", "nothing else", "add d"}, w.done); diff != "" {
		t.Error(diff)
	}
	pods := 0
	for _, q := range s.asked {
		if strings.HasSuffix(q, " pods") {
			pods++
		}
	}
	if pods != 6 { // once before anything is arranged
		t.Errorf("asked %d times who plays the roles: each change may replace a pod", pods)
	}
}

func TestDuringThatFails(t *testing.T) {
	env, _, w := environment(t)
	w.fail = "add b"
	out := try(env, Experiment[int]{Check: func(t *T) int { t.During(config("b")); return 0 }})
	if out.Finding.Error != "the API server is gone" || out.Finding.Control != nil {
		t.Errorf("%+v", out.Finding)
	}
}

func TestGiven(t *testing.T) {
	env, _, _ := environment(t)
	var sent []string
	out := try(env, Experiment[int]{
		Check: func(t *T) int {
			sent = append(sent, Given(t, "time", "300"))
			return 0
		},
		Control: []manifest.Variation{manifest.Input("write 300s", "time", "300s")},
	})
	if diff := cmp.Diff([]string{"300", "300s"}, sent); diff != "" || out.Finding.Error != "" {
		t.Errorf("%s\n%s", out.Finding.Error, diff)
	}
}

// What is made at random is an input: recorded, and without its key.
func TestSetupMakesCertificates(t *testing.T) {
	env, s, _ := environment(t)
	Define("G1", func(s *Setup) Experiment[int] {
		pair := s.NewPair()
		if pair.Cert.Subject.CommonName != manifest.ClientName || !strings.Contains(string(pair.KeyPEM), "PRIVATE KEY") {
			t.Errorf("%v", pair.Cert.Subject)
		}
		if crl := s.CRL(pair.Cert); !strings.Contains(string(crl), "X509 CRL") {
			t.Errorf("%s", crl)
		}
		if a, b := s.Unique("x"), s.Unique("x"); a == b || !strings.HasPrefix(a, "x-") {
			t.Errorf("%s and %s", a, b)
		}
		if s.PartnerCertificate() == nil {
			t.Error("the partner has no certificate")
		}
		return status(200, 503)
	}).Run(t.Context(), env)
	if diff := cmp.Diff([]string{"G1/setup/01 pods", "G1/setup/02 input certificate of egress-client", "G1/setup/03 input revocation list"}, s.asked[:3]); diff != "" {
		t.Error(diff)
	}
}
