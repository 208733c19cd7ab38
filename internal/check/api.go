package check

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/analysis"
	"twohop/internal/observe"
	"twohop/internal/verdict"
)

// Admission is the API server's word on a document.
type Admission struct {
	Accepted bool
	// Message is why it was refused; empty if it was not.
	Message string
	t       *T
	path    []string
}

// DryRunCreate asks the API server whether it would create a document; nothing
// is stored.
func (t *T) DryRunCreate(document string) *Admission {
	const command = "kubectl create --dry-run=server -f -"
	t.session.Script("does the API server take this?", command, []byte(document))
	at, a := t.askAt(observe.DryRunCreate{Document: document},
		observe.Meta{Name: "admission.json", Kind: verdict.KindJSON, Witness: verdict.WitnessAPI, Command: command + " (as JSON, from the API)"})
	written := t.derive(at, observe.Meta{Name: "document.yaml", Kind: verdict.KindYAML, Witness: verdict.WitnessAPI, Command: command}, []byte(document))
	var status metav1.Status
	if err := json.Unmarshal(a.Raw, &status); err != nil {
		t.Abort("the API server's answer to a dry run: %w", err)
	}
	d := &Admission{Accepted: status.Kind != "Status", t: t, path: []string{written, a.Path}}
	if !d.Accepted {
		d.Message = status.Message
	}
	return d
}

// Fact states a fact about the admission.
func (a *Admission) Fact(name string, seen any, want types.GomegaMatcher) bool {
	return a.t.Fact("API server: "+name, seen, want, a.path...)
}

// Analysis is what `istioctl analyze` said about the subject's namespaces.
type Analysis struct {
	Messages []analysis.Message
	t        *T
	path     string
}

// analyzeArgs ask about the whole cluster: a finding about one namespace may have
// its reason in another. With JSON output the exit status says only whether
// istioctl worked.
var analyzeArgs = []string{"analyze", "--all-namespaces", "--output", "json"}

// Analyze asks `istioctl analyze` for its opinion of the cluster as it is now,
// and keeps what is about the subject.
func (t *T) Analyze() *Analysis { return t.Analyzing()() }

// Analyzing is Analyze that runs beside other observations: it starts now, and
// the function that it returns has to be called for the result.
func (t *T) Analyzing() func() *Analysis {
	command := "istioctl " + strings.Join(analyzeArgs, " ")
	t.Step("what the analyzer says", command)
	pending := t.session.Source.Begin(t.ctx, t.session.Next(), observe.Istioctl{Args: analyzeArgs},
		observe.Meta{Name: "analyze.json", Kind: verdict.KindJSON, Witness: verdict.WitnessAPI, Command: command})
	return func() *Analysis {
		a, err := pending.Answer(t.ctx)
		t.must(err)
		all, err := analysis.Parse(a.Raw)
		t.must(err)
		return &Analysis{Messages: analysis.About(all, t.Subject.Namespaces()...), t: t, path: a.Path}
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
