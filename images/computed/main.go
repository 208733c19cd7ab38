// Computed prints what istiod of its line would send to proxies, given Istio's and
// Kubernetes' objects: no cluster, no container, no network. It reads questions in
// JSON from its standard input and writes an answer in JSON to each.
// internal/computed has both formats and explains them.
//
// It is istiod's own code. Of what surrounds that code, the Kubernetes client and
// the store of configuration are Istio's fakes, which hold what they are given.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/test"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "computed:", err)
		os.Exit(1)
	}
}

func run() error {
	quiet := log.DefaultOptions()
	quiet.SetDefaultOutputLevel(log.OverrideScopeName, log.NoneLevel)
	quiet.OutputPaths = []string{"stderr"}
	if err := log.Configure(quiet); err != nil {
		return err
	}
	in := json.NewDecoder(os.Stdin)
	in.DisallowUnknownFields()
	out := json.NewEncoder(os.Stdout)
	crds := schemas{}
	// The process ends inside: the fakes' clean-up waits for informers to end, one after
	// the other, and there is nothing to clean up.
	return test.Wrap(func(t test.Failer) {
		for {
			var q question
			err := in.Decode(&q)
			if errors.Is(err, io.EOF) {
				os.Exit(0)
			}
			if err != nil {
				err = fmt.Errorf("the question: %w", err)
			}
			var a answer
			if err == nil {
				a, err = compute(t, crds, q)
			}
			if err == nil {
				err = out.Encode(a)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "computed:", err)
				os.Exit(1)
			}
		}
	})
}
