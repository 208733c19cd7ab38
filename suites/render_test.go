package suites_test

import (
	"testing"

	"twohop/suites"
)

// Every experiment can be rendered without a cluster, and has a control.
func TestEveryExperimentRenders(t *testing.T) {
	for _, id := range suites.IDs() {
		d, err := suites.ByID(id)
		if err != nil {
			t.Fatal(err)
		}
		stages, err := d.Render()
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		if len(stages) != 2 || len(stages[1].Changes) == 0 {
			t.Errorf("%s has no control: %+v", id, stages)
		}
		for _, s := range stages {
			for _, c := range s.Changes {
				if c.Words == "" {
					t.Errorf("%s: a change of the %s has no words", id, s.Name)
				}
			}
		}
	}
}
