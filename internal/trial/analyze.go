package trial

import (
	"context"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"twohop/internal/analysis"
	"twohop/internal/observe"
	"twohop/internal/verdict"
)

// Analysis is what `istioctl analyze` said about the subject's namespaces.
type Analysis struct {
	Messages []analysis.Message
	t        *T
	path     string
}

// Analyze asks `istioctl analyze` for its opinion of the cluster as it is now,
// and keeps what is about the subject.
func (t *T) Analyze(ctx context.Context) (*Analysis, error) {
	return t.Analyzing(ctx)()
}

// Analyzing is Analyze that runs beside other observations: it starts now, and
// the function that it returns has to be called for the result.
func (t *T) Analyzing(ctx context.Context) func() (*Analysis, error) {
	type answer struct {
		raw []byte
		err error
	}
	done := make(chan answer, 1)
	go func() {
		raw, err := observe.Analyze(ctx, t.Istioctl, t.Kube.Kubeconfig)
		done <- answer{raw, err}
	}()
	return func() (*Analysis, error) {
		got := <-done
		if got.err != nil {
			return nil, got.err
		}
		t.Step("what the analyzer says", observe.AnalyzeCommand)
		path, err := t.Save("analyze.json", verdict.KindJSON, verdict.WitnessAPI, observe.AnalyzeCommand, got.raw)
		if err != nil {
			return nil, err
		}
		all, err := analysis.Parse(got.raw)
		if err != nil {
			return nil, err
		}
		return &Analysis{Messages: analysis.About(all, t.Subject.Namespaces()...), t: t, path: path}, nil
	}
}

// Of is the messages about one object of the gateway's namespace, by kind and name.
func (a *Analysis) Of(kind, name string) []analysis.Message {
	origin := kind + " " + a.t.Subject.Gateway.Namespace + "/" + name
	return slices.DeleteFunc(slices.Clone(a.Messages), func(m analysis.Message) bool { return m.Origin != origin })
}

// Naming is the messages whose text holds a word.
func (a *Analysis) Naming(word string) []analysis.Message {
	return slices.DeleteFunc(slices.Clone(a.Messages), func(m analysis.Message) bool { return !strings.Contains(m.Text, word) })
}

// Fact states a fact about the analysis.
func (a *Analysis) Fact(name string, seen any, want types.GomegaMatcher) bool {
	return a.t.Fact("istioctl analyze: "+name, seen, want, a.path)
}
