package mutation

import (
	"fmt"
	"regexp"
	"slices"

	"twohop/internal/claim"
)

// Exemption excuses one of two things: cases that a claim does not notice, and facts
// that no case makes fail. Each must excuse something in every claim that it names; the
// test lists those that do not.
type Exemption struct {
	// Claims are the claims that it applies to; none means all.
	Claims []claim.ID
	// Doc, Field and Op are regular expressions that match as a whole. For a case they
	// match its document, its field and what was done. For a fact, Doc is "facts", Field
	// the fact's name and Op "fails".
	Doc, Field, Op string
	Reason         string
}

// unnoticed ends the Op of a case that moves no fact at all.
const unnoticed = ", and no fact tells"

// exemptions of cases come first: what was done changes nothing that the claim speaks
// of. Those of facts follow: nothing that a recording could say makes the fact fail.
var exemptions = []Exemption{
	{Doc: `.*\.json`, Field: `.*\]`, Op: "doubled" + unnoticed,
		Reason: "A resource that is listed twice says the same twice: it is looked up by its name. What is counted is counted in logs and statistics."},
	{Doc: ".*-stats.txt", Field: `.* \(line\)`, Op: "doubled" + unnoticed,
		Reason: "A statistic that is printed twice with one value is that value."},
	{Doc: ".*-hosts.json", Field: `.*\]`, Op: "doubled",
		Reason: "Envoy lists a host once; if a sum of connections is more than none, so is twice the sum."},
	{Doc: ".* log, line .*", Field: "the line that ends a window", Op: "doubled" + unnoticed,
		Reason: "The line is the harness's own. It shows that everything before it was read; how often it is there does not matter."},
	{Doc: "gateway's log, line .*", Field: "the line about a connection without a request", Op: "doubled" + unnoticed,
		Reason: "The sidecar's Envoy tries again, so there may be any number of refused connections: the last one gives the reason."},
	{Doc: "(istiod|partner)'s log, line .*", Field: "the message", Op: "doubled(" + unnoticed + ")?",
		Reason: "istiod and nginx may say a thing more than once; a claim needs it said."},
	{Claims: []claim.ID{"F-analyze-blind", "H2-secret-keys", "H2-secret-ns"}, Doc: "istiod's log, line .*", Field: "the (message|text)", Op: "altered|dropped",
		Reason: "istiod says it several times in the window; without all of them the claim turns (istiod's log, all of before the claim)."},
	{Claims: []claim.ID{"F-dns-stale", "F-dns-stale-2", "H2-rotation"}, Doc: ".*, curl.txt", Field: "all of it", Op: "cut in half",
		Reason: "The client is stopped in the middle of its requests, so its report may end anywhere."},
	{Claims: []claim.ID{"P-connect-timeout", "P-connect-timeout-2", "P-connect-timeout-3", "P-idle-keepalive"}, Doc: ".*-(netstat|sockets).txt", Field: "all of it", Op: "answered with the (check|control)'s answer",
		Reason: "The other trial's counter or timer is another number within the same limit; how much a counter grew is a fact of its own."},
	{Claims: []claim.ID{"G3"}, Doc: ".*-hosts.json", Field: "all of it", Op: "answered with the (check|control)'s answer",
		Reason: "A sum of the other trial's connections is more than none as well."},
	{Claims: []claim.ID{"P-keepalive-socket"}, Doc: ".*-sockets.txt", Field: `line \d+(, word [145])?`, Op: "altered|dropped|doubled",
		Reason: "One of several connections of the hop, or its state and addresses (words 1, 4 and 5): the claim does not say how many there are, and each of the others still needs its timer (word 6)."},
	{Claims: []claim.ID{"P-overflow", "P-overflow-2", "P-overflow-3"}, Doc: ".*, curl.txt", Field: `.*time_total`, Op: "altered",
		Reason: "One of several calls: the longest one counts, and if none took any time the claim turns (curl took no time)."},
	{Claims: []claim.ID{"P-overflow"}, Doc: "all of them", Field: "all calls came on one connection of the partner's", Op: "fault",
		Reason: "With a limit of one connection each of the two workers may open one; one in all is within what the claim says."},
	{Claims: []claim.ID{"P-max-duration"}, Doc: "gateway('s)? log(, line .*)?", Field: "duration( in all of the (check|control))?", Op: "altered",
		Reason: "Nothing bounds a request from above: a longer duration is as good. With none, or one that ends before the bound, the claim turns (gateway: end of that request)."},
	{Claims: []claim.ID{"F-analyze-noise"}, Doc: ".*, analyze.json", Field: `\[\d+\](\.origin)?`, Op: "altered|dropped",
		Reason: "One of several messages about the rule; the claim is that there are some."},
	{Claims: []claim.ID{"H2-rbac-names", "H2-rbac-verbs"}, Doc: ".*, pods.json", Field: `.*\.namespace`, Op: "dropped" + unnoticed,
		Reason: "The namespace is part of what is searched for in istiod's log: without it the search is wider, and finds the same line."},

	{Claims: []claim.ID{"A-align-rest"}, Doc: "facts", Field: ".*: Gateway, selector broken: none at the gateway", Op: "fails",
		Reason: "A gateway without a listener can log nothing: its window is empty, and no line can be put into it."},
	{Claims: []claim.ID{"H2-rotation-bound"}, Doc: "facts", Field: "control, cause .*: certificate at the end is the old one", Op: "fails",
		Reason: "It is about the last request that was over when the client was stopped, and the log has later ones. Another serial in all lines ends the check before: no request presents the old certificate."},
	{Claims: []claim.ID{"H1-domain"}, Doc: "facts", Field: ".*homelab.local: present", Op: "fails",
		Reason: "The fact states that a cluster of another mesh domain is absent; no recording of this domain has one."},
	{Claims: []claim.ID{"H2-rbac-names", "H2-rbac-verbs"}, Doc: "facts", Field: ".*: istiod's refusal", Op: "fails",
		Reason: "The fact is that istiod refused this gateway nothing. To fail, it takes a refusal of this gateway's service account, and the only one in the log is of the other gateway's."},
	{Claims: []claim.ID{"H2-secret-ns"}, Doc: "facts", Field: "control .*: istiod's log about the Secret", Op: "fails",
		Reason: "The control's window on istiod's log begins where the check's does. So it holds the line that the check found, and without that line the check ends before there is a control."},
}

var compiled = func() (all [][3]*regexp.Regexp) {
	for _, e := range exemptions {
		var of [3]*regexp.Regexp
		for i, p := range []string{e.Doc, e.Field, e.Op} {
			of[i] = regexp.MustCompile("^(?:" + p + ")$")
		}
		all = append(all, of)
	}
	return all
}()

// exemptionOf is the first exemption that fits, by its place in the list, or -1.
func exemptionOf(id claim.ID, doc, field, op string) int {
	for i, of := range compiled {
		if e := exemptions[i]; (e.Claims == nil || slices.Contains(e.Claims, id)) &&
			of[0].MatchString(doc) && of[1].MatchString(field) && of[2].MatchString(op) {
			return i
		}
	}
	return -1
}

// exemptionUse is an exemption and a claim in which it excuses something.
type exemptionUse struct {
	at int
	id claim.ID
}

// exempt marks the exemption that is used, and says whether there is one. The score is locked.
func (s *Score) exempt(id claim.ID, doc, field, op string) bool {
	i := exemptionOf(id, doc, field, op)
	if i < 0 {
		return false
	}
	s.used[exemptionUse{i, id}] = true
	return true
}

// unused are the exemptions, and the claims of each, that excuse nothing.
func unused(used map[exemptionUse]bool) (all []string) {
	anywhere := map[int]bool{}
	for use := range used {
		anywhere[use.at] = true
	}
	for i, e := range exemptions {
		what := fmt.Sprintf("%s | %s | %s (%s)", e.Doc, e.Field, e.Op, e.Reason)
		if e.Claims == nil && !anywhere[i] {
			all = append(all, "any claim | "+what)
		}
		for _, id := range e.Claims {
			if !used[exemptionUse{i, id}] {
				all = append(all, string(id)+" | "+what)
			}
		}
	}
	return all
}
