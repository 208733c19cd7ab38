package mutation

import (
	"regexp"

	"twohop/internal/claim"
)

// Exemption excuses cases that a claim rightly does not notice. Each must excuse
// something: the test says which do not.
type Exemption struct {
	// Claim, Doc, Field and Op are regular expressions that match as a whole.
	Claim, Doc, Field, Op string
	Reason                string
}

var exemptions = []Exemption{
	{Claim: ".*", Doc: ".*\\.json", Field: ".*\\]", Op: "doubled, and no fact tells",
		Reason: "A resource that is listed twice says the same twice: it is looked up by its name. What is counted is counted in logs and statistics."},
	{Claim: ".*", Doc: ".* log, line .*", Field: "the line that ends a window", Op: "doubled, and no fact tells",
		Reason: "The line is the harness's own. That it is there says that all before it was read; how often does not matter."},
	{Claim: ".*", Doc: "gateway's log, line .*", Field: "the line about a connection without a request", Op: "doubled, and no fact tells",
		Reason: "Envoy tries again, so there may be any number of refused connections: the last one gives the reason."},
}

var compiled = func() (all [][4]*regexp.Regexp) {
	for _, e := range exemptions {
		var of [4]*regexp.Regexp
		for i, p := range []string{e.Claim, e.Doc, e.Field, e.Op} {
			of[i] = regexp.MustCompile("^(?:" + p + ")$")
		}
		all = append(all, of)
	}
	return all
}()

// exempt marks the exemption that is used. The score is locked.
func (s *Score) exempt(id claim.ID, doc, field, op string) bool {
	for i, of := range compiled {
		if of[0].MatchString(string(id)) && of[1].MatchString(doc) && of[2].MatchString(field) && of[3].MatchString(op) {
			s.used[i] = true
			return true
		}
	}
	return false
}
