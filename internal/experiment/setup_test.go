package experiment

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/onsi/gomega"

	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/subject"
)

// castSource knows who plays the roles, and nothing else.
type castSource struct{ asked []string }

func (s *castSource) Begin(_ context.Context, at observe.Slot, q observe.Question, _ observe.Meta) observe.Pending {
	s.asked = append(s.asked, at.String()+" "+q.Key())
	return s
}

func (s *castSource) Answer(context.Context) (observe.Answer, error) {
	raw, err := json.Marshal(observe.Cast{PartnerService: "10.96.0.9", Pods: []observe.Pod{
		{Role: subject.Sidecar}, {Role: subject.Gateway}, {Role: subject.Partner, IP: "10.244.0.9"}}})
	return observe.Answer{Raw: raw}, err
}

func (s *castSource) Lines(observe.Window) ([]observe.LogLine, error) { return nil, nil }

func (s *castSource) Derive(observe.Slot, observe.Meta, []byte) (string, error) { return "", nil }

// The addresses are an observation of the setup, before anything is arranged: a
// replay finds them there.
func TestPartnerAddresses(t *testing.T) {
	var pod, service string
	d := Define("G1", func(s *Setup) Experiment[int] {
		pod, service = s.PartnerAddresses()
		return Experiment[int]{
			Check:   func(t *T) int { t.Fact("a", Given(t, "a", 1), gomega.Equal(1)); return 0 },
			Control: []manifest.Variation{manifest.Input("another a", "a", 2)},
			Flips:   []string{"a"},
		}
	})
	source := &castSource{}
	out := d.Run(t.Context(), Environment{Set: manifest.NewSet(subject.Subject{}), Source: source, Editor: &manifest.Editor{}, Now: time.Now})
	if out.Finding.Error != "" {
		t.Fatal(out.Finding.Error)
	}
	if pod != "10.244.0.9" || service != "10.96.0.9" {
		t.Errorf("the pod has %q and the Service %q", pod, service)
	}
	if want := []string{"G1/setup/01 pods", "G1/check/01 pods", "G1/control/01 input change: another a", "G1/control/02 pods"}; fmt.Sprint(source.asked) != fmt.Sprint(want) {
		t.Errorf("it asked %v, want %v", source.asked, want)
	}
}
