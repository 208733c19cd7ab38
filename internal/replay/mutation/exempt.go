package mutation

import (
	"regexp"
	"slices"

	"twohop/internal/claim"
)

// Exemption excuses cases that a claim does not notice, and facts that no case makes
// fail. Each must excuse something: the test says which do not.
type Exemption struct {
	// Claim, Doc, Field and Op are regular expressions that match as a whole. For
	// facts, Doc is "facts", Field the fact and Op "fails".
	Claim, Doc, Field, Op string
	Reason                string
}

// unnoticed is what is done without a fact telling.
const unnoticed = ", and no fact tells"

// exemptions are those of which what was done changes nothing that the claim speaks of.
var exemptions = []Exemption{
	{Claim: ".*", Doc: `.*\.json`, Field: `.*\]`, Op: "doubled" + unnoticed,
		Reason: "A resource that is listed twice says the same twice: it is looked up by its name. What is counted is counted in logs and statistics."},
	{Claim: ".*", Doc: ".*-stats.txt", Field: `.* \(line\)`, Op: "doubled" + unnoticed,
		Reason: "A statistic that is printed twice with one value is that value."},
	{Claim: ".*", Doc: ".*-hosts.json", Field: `.*\]`, Op: "doubled",
		Reason: "Envoy lists a host once; that a sum of connections is more than none holds for twice the sum."},
	{Claim: ".*", Doc: ".* log, line .*", Field: "the line that ends a window", Op: "doubled" + unnoticed,
		Reason: "The line is the harness's own. That it is there says that all before it was read; how often does not matter."},
	{Claim: ".*", Doc: "gateway's log, line .*", Field: "the line about a connection without a request", Op: "doubled" + unnoticed,
		Reason: "Envoy tries again, so there may be any number of refused connections: the last one gives the reason."},
	{Claim: ".*", Doc: "(istiod|partner)'s log, line .*", Field: "the message", Op: "doubled(" + unnoticed + ")?",
		Reason: "istiod and nginx may say a thing more than once; a claim wants that it was said."},
	{Claim: "F-analyze-blind|H2-secret-keys|H2-secret-ns", Doc: "istiod's log, line .*", Field: "the (message|text)", Op: "altered|dropped",
		Reason: "istiod says it several times in the window; without all of them the claim turns (istiod's log, all of before the claim)."},
	{Claim: ".*", Doc: ".*-cluster.json", Field: `.*\.thresholds\[\d\]\.max_(pending_requests|requests|retries)`, Op: "dropped" + unnoticed,
		Reason: "The fact is about settings that are there beyond those asked for; one that is left out is none."},
	{Claim: "F-dns-stale(-2)?|H2-rotation", Doc: ".*, curl.txt", Field: "all of it", Op: "cut in half",
		Reason: "The client is stopped in the middle of its requests, so its report ends anywhere."},
	{Claim: "P-connect-timeout.*|P-idle-keepalive|G3", Doc: ".*-(netstat.txt|hosts.json|sockets.txt)", Field: "all of it", Op: "answered with the (check|control)'s answer",
		Reason: "A counter, a timer or a sum of the other trial is another number beyond the same limit; that it grew in between is another fact."},
	{Claim: "P-keepalive-socket", Doc: ".*-sockets.txt", Field: `line \d+(, word \d)?`, Op: "altered|dropped|doubled",
		Reason: "One of several connections of the hop: how many there are is not the claim, and each that is listed has to have its timer."},
	{Claim: "P-keepalive-socket|P-idle-keepalive", Doc: ".*-sockets.txt", Field: "all of it", Op: "cut in half(" + unnoticed + ")?",
		Reason: "The half that is left has sockets of the hop, and what the claim says is true of each of them; ss prints no end."},
	{Claim: "P-overflow.*", Doc: ".*, curl.txt", Field: `.*time_total`, Op: "altered",
		Reason: "One of several calls: the longest one counts, and without a time of any the claim turns (curl took no time)."},
	{Claim: "P-overflow", Doc: "all of them", Field: "all calls came on one connection of the partner's", Op: "fault",
		Reason: "With a limit of one connection each of the two workers may open one; one in all is within what the claim says."},
	{Claim: "P-max-duration", Doc: "gateway('s)? log(, line .*)?", Field: "duration( in all of the control)?", Op: "altered",
		Reason: "Without the bound a request may take any time, so another duration is as good; without any, and below the bound, the claim turns (gateway: end of that request)."},
	{Claim: "F-analyze-noise", Doc: ".*, analyze.json", Field: `\[\d+\](\.origin)?`, Op: "altered|dropped",
		Reason: "One of several messages about the rule; the claim is that there are some."},
	{Claim: "G2-rbac|F-expired", Doc: "gateway's log", Field: "the lines about requests of the .*", Op: "(lost|kept back .*)" + unnoticed,
		Reason: "A trial that has to fail: without its line the same facts fail, and what is true there is stated by its cause, from the partner's log and the gateway's secrets."},
	{Claim: "H2-rbac-.*", Doc: ".*, pods.json", Field: `.*\.namespace`, Op: "dropped" + unnoticed,
		Reason: "The namespace is part of what is searched for in istiod's log: without it the search is wider, and finds the same line."},
	{Claim: "A-align-rest", Doc: "facts", Field: ".*: Gateway, selector broken: none at the gateway", Op: "fails",
		Reason: "A gateway without a listener can log nothing: its window is empty, and no line can be put into it."},
	{Claim: "G3", Doc: "facts", Field: ".*17: client sidecar, .*: tcpKeepalive", Op: "fails",
		Reason: "A keepalive that is not set is left out. P-wrong-proxy states the same of the same cluster, and a field that is added makes it fail there; G3's documents are so large that the search ends before it adds one."},
	{Claim: "H2-rotation-bound", Doc: "facts", Field: "control, cause 2: certificate at the end is the old one", Op: "fails",
		Reason: "It is about the last request that was over when the client was stopped, and the log has later ones. Another serial in all lines ends the check before: no request presents the old certificate."},
	{Claim: "H1-domain", Doc: "facts", Field: ".*homelab.local: present", Op: "fails",
		Reason: "The fact states that a cluster of another mesh domain is absent; no recording of this domain has one."},
	{Claim: "H2-rbac-(names|verbs)|H2-secret-ns", Doc: "facts", Field: ".*istiod's (refusal|log about the Secret)", Op: "fails",
		Reason: "Failing takes a line of istiod's about another service account, or none at all of several that say it: the latter turns the claim before the fact is stated."},
	{Claim: "P-idle-precedence", Doc: "facts", Field: ".*: partner: time that the connection lay idle.*", Op: "fails",
		Reason: "The time is that between two lines of one window of the partner's log; altering either makes the cause of the other trial the one that fails."},
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

// exemptionOf is the first exemption that fits, by its place in the list, or -1.
func exemptionOf(id claim.ID, doc, field, op string) int {
	return slices.IndexFunc(compiled, func(of [4]*regexp.Regexp) bool {
		return of[0].MatchString(string(id)) && of[1].MatchString(doc) && of[2].MatchString(field) && of[3].MatchString(op)
	})
}

// exempt marks the exemption that is used, and says whether there is one. The score is locked.
func (s *Score) exempt(id claim.ID, doc, field, op string) bool {
	i := exemptionOf(id, doc, field, op)
	if i >= 0 {
		s.used[i] = true
	}
	return i >= 0
}
