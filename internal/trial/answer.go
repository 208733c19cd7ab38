package trial

import (
	"context"
	"fmt"

	"github.com/onsi/gomega/types"

	"twohop/internal/probe"
	"twohop/internal/verdict"
)

// Answer is the API server's word on a document.
type Answer struct {
	Accepted bool
	// Message is why it was refused; empty if it was not.
	Message string
	t       *T
	path    []string
}

// TryApply asks the API server whether it would take a document; nothing is stored.
func (t *T) TryApply(ctx context.Context, document string) (*Answer, error) {
	const command = "kubectl create --dry-run=server -f -"
	t.script.add("does the API server take this?", command, []byte(document))
	written, err := t.Save("document.yaml", verdict.KindYAML, verdict.WitnessAPI, command, []byte(document))
	if err != nil {
		return nil, err
	}
	accepted, message, raw, err := t.Kube.TryCreate(ctx, document)
	if err != nil {
		return nil, err
	}
	path, err := t.Save("answer.json", verdict.KindJSON, verdict.WitnessAPI, fmt.Sprintf("%s (as JSON, from the API)", command), raw)
	if err != nil {
		return nil, err
	}
	return &Answer{Accepted: accepted, Message: message, t: t, path: []string{written, path}}, nil
}

// Fact states a fact about the answer.
func (a *Answer) Fact(name string, seen any, want types.GomegaMatcher) bool {
	return a.t.Fact("API server: "+name, seen, want, a.path...)
}

// Unique is a name that no earlier object had.
func Unique() string { return probe.NewToken() }
