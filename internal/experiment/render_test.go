package experiment

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networking "istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1"

	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/subject"
)

// rendered are stages in short: each change's words, and what is done for it.
func rendered(t *testing.T, d Definition) map[string][]string {
	t.Helper()
	stages, err := d.Render()
	if err != nil {
		t.Fatal(err)
	}
	short := map[string][]string{}
	for _, s := range stages {
		short[s.Name] = []string{}
		for _, c := range s.Changes {
			line := c.Words + ":"
			for _, a := range c.Applied {
				line += " " + a.Command
			}
			short[s.Name] = append(short[s.Name], line)
		}
	}
	return short
}

func TestRender(t *testing.T) {
	for _, tt := range []struct {
		name           string
		design         func(*Setup) Experiment[int]
		check, control []string
	}{
		{"the baseline, and an input", func(*Setup) Experiment[int] {
			return Experiment[int]{Control: []manifest.Variation{manifest.Input("send more", "n", 2)}}
		}, []string{}, []string{"send more:"}},
		{"an edit, and a deletion on top of it", func(s *Setup) Experiment[int] {
			return Experiment[int]{
				Arrange: []manifest.Variation{s.VirtualService("no mesh route", func(vs *networking.VirtualService) { manifest.DropRoute(vs, manifest.MeshRouteName) })},
				Control: []manifest.Variation{s.RemoveDestinationRule("no rule", s.Subject.Hop2Rule)},
			}
		}, []string{"no mesh route: kubectl apply -f -"}, []string{"no rule: kubectl delete -n twohop-egress destinationrule partner-originate-mtls"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(map[string][]string{"check": tt.check, "control": tt.control}, rendered(t, Define("G1", tt.design))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRenderSaysWhatCannotBeChanged(t *testing.T) {
	d := Define("G1", func(s *Setup) Experiment[int] {
		return Experiment[int]{Control: []manifest.Variation{manifest.Remove("none", s.SecretNamed("made-up"))}}
	})
	if _, err := d.Render(); err == nil || !strings.Contains(err.Error(), "control: none: there is no Secret twohop-egress/made-up") {
		t.Errorf("error %v", err)
	}
}

func TestRenderLeavesKeysOutAndKeepsNames(t *testing.T) {
	d := Define("G1", func(s *Setup) Experiment[int] {
		return Experiment[int]{Arrange: []manifest.Variation{manifest.Add("another Secret", s.CredentialSecret(s.Unique("other"), s.NewPair()))}}
	})
	var names []string
	for range 2 {
		stages, err := d.Render()
		if err != nil {
			t.Fatal(err)
		}
		text := string(stages[0].Changes[0].Applied[0].YAML)
		if !strings.Contains(text, "tls.key: bGVmdCBvdXQ6") { // "left out:"
			t.Errorf("the private key is not left out:\n%s", text)
		}
		_, name, _ := strings.Cut(text, "name: other-")
		names = append(names, name[:12])
	}
	if names[0] != names[1] {
		t.Errorf("two renderings of one claim name the Secret %v", names)
	}
}

func TestRenderAsksNobody(t *testing.T) {
	d := Define("G1", func(s *Setup) Experiment[int] {
		answer, err := s.session.Source.Begin(s.ctx, s.session.Next(), observe.Pods{}, observe.Meta{}).Answer(s.ctx)
		if err == nil {
			t.Errorf("there is an answer: %v", answer)
		}
		_, err = s.session.Source.Lines(observe.Window{})
		if err == nil {
			t.Error("there are logs")
		}
		return Experiment[int]{}
	})
	if _, err := d.Render(); err != nil {
		t.Error(err)
	}
}

// stage is a cluster with a sidecar and a gateway in which nothing else is seen.
type stage struct{ inputs }

func (s stage) Begin(ctx context.Context, at observe.Slot, q observe.Question, meta observe.Meta) observe.Pending {
	if _, ok := q.(observe.Pods); !ok {
		return s.inputs.Begin(ctx, at, q, meta)
	}
	raw, err := json.Marshal(observe.Cast{Pods: []observe.Pod{{Role: subject.Sidecar}, {Role: subject.Gateway}}})
	return answered{raw, err}
}

// still is a world in which every change succeeds.
type still struct{}

func (still) Vary(context.Context, ...manifest.Variation) error { return nil }
func (still) Return(context.Context, *manifest.Set) error       { return nil }

func TestInsteadIsInTheScript(t *testing.T) {
	editor, err := onPaper()
	if err != nil {
		t.Fatal(err)
	}
	rule := func(host string) manifest.Variation {
		return editor.Hop2DestinationRule("host "+host, func(dr *networking.DestinationRule) { dr.Host = host })
	}
	var hosts []string
	host := func(t *T) {
		raw, err := manifest.YAML(t.Checkpoint().Find(manifest.Key{Kind: "DestinationRule", Namespace: t.Subject.Gateway.Namespace, Name: t.Subject.Hop2Rule}))
		if err != nil {
			t.Abort("%w", err)
		}
		_, after, _ := strings.Cut(string(raw), "  host: ")
		name, _, _ := strings.Cut(after, "\n")
		hosts = append(hosts, name)
	}
	d := Define("G1", func(s *Setup) Experiment[int] {
		return Experiment[int]{
			Arrange: []manifest.Variation{rule("arranged")},
			Check: func(t *T) int {
				from := t.Checkpoint()
				t.Instead(from, manifest.Remove("no VirtualService", &istio.VirtualService{ObjectMeta: editor.InGateway(t.Subject.VirtualService)}))
				t.Instead(from, rule("varied"))
				host(t)
				t.Instead(from)
				host(t)
				return 0
			},
			Control: []manifest.Variation{manifest.Input("an input", "n", 1)},
		}
	})
	out := d.Run(t.Context(), Environment{World: still{}, Source: stage{}, Editor: editor, Now: time.Now})
	if out.Finding.Error != "" {
		t.Fatal(out.Finding.Error)
	}
	if diff := cmp.Diff([]string{"varied", "arranged", "varied", "arranged"}, hosts); diff != "" {
		t.Errorf("the rule's host after each step, check and control: %s", diff)
	}
	_, check, _ := strings.Cut(string(out.Script), "step 'no VirtualService'\n")
	_, back, ok := strings.Cut(check, "step 'take back what was changed since'\n")
	if !ok || !strings.Contains(strings.Split(back, "\nstep ")[0], "kind: VirtualService") {
		t.Errorf("the script does not put the VirtualService back:\n%s", out.Script)
	}
}
