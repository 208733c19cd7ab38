package mutation

import (
	"regexp"

	"twohop/internal/claim"
)

// Exemption excuses cases that a claim does not notice, and facts that no case makes
// fail. Each must excuse something: the test says which do not.
type Exemption struct {
	// Claim, Doc, Field and Op are regular expressions that match as a whole. For
	// facts, Doc is "facts", Field the fact and Op "fails".
	Claim, Doc, Field, Op string
	Reason                string
	// Open marks a weakness of the claim, which is to be mended.
	Open bool
}

// unnoticed is what is done without a fact telling.
const unnoticed = ", and no fact tells"

// exemptions that are right: what was done changes nothing that the claim speaks of.
var exemptions = append([]Exemption{
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
	{Claim: "F-dns-stale-2|H2-rotation", Doc: ".*, curl.txt", Field: "all of it", Op: "cut in half",
		Reason: "The client is stopped in the middle of its requests, so its report ends anywhere."},
	{Claim: "P-connect-timeout.*|P-idle-keepalive|G3", Doc: ".*-(netstat.txt|hosts.json|sockets.txt)", Field: "all of it", Op: "answered with the (check|control)'s answer",
		Reason: "A counter, a timer or a sum of the other trial is another number beyond the same limit; that it grew in between is another fact."},
	{Claim: "P-keepalive-socket", Doc: ".*-sockets.txt", Field: `line \d+(, word \d)?`, Op: "altered|dropped|doubled",
		Reason: "One of several connections of the hop: how many there are is not the claim, and each that is listed has to have its timer."},
	{Claim: "P-keepalive-socket|P-idle-keepalive", Doc: ".*-sockets.txt", Field: "all of it", Op: "cut in half" + unnoticed,
		Reason: "The sockets of the hop are in the first half; ss prints no end."},
	{Claim: "P-overflow.*", Doc: ".*, curl.txt", Field: `.*time_total`, Op: "altered",
		Reason: "One of several calls: the longest one counts, and without a time of any the claim turns (curl took no time)."},
	{Claim: "F-analyze-noise", Doc: ".*, analyze.json", Field: `\[\d+\](\.origin)?`, Op: "altered|dropped",
		Reason: "One of several messages about the rule; the claim is that there are some."},
	{Claim: "G2-rbac|F-expired", Doc: "gateway's log", Field: "the lines about requests", Op: "(lost|kept back .*)" + unnoticed,
		Reason: "A trial that has to fail: without its line the same facts fail, and what is true there is stated by its cause, from the partner's log and the gateway's secrets."},
	{Claim: "H2-rbac-.*", Doc: ".*, pods.json", Field: `.*\.namespace`, Op: "dropped" + unnoticed,
		Reason: "The namespace is part of what is searched for in istiod's log: without it the search is wider, and finds the same line."},
	{Claim: ".*", Doc: "facts", Field: `.*: (accepts a server of an unknown CA|has a revocation list|SNI|DestinationRule( that shaped it)?|tcpKeepalive|settings that no rule asks for)`, Op: "fails",
		Reason: "The fact states that something is absent, so failing takes a field that no recording of the claim has: mutants in the subject plant it."},
	{Claim: "H1-domain", Doc: "facts", Field: ".*homelab.local: present", Op: "fails",
		Reason: "The fact states that a cluster of another mesh domain is absent; no recording of this domain has one."},
	{Claim: "H2-rbac-.*|H2-secret-ns", Doc: "facts", Field: ".*istiod's (refusal|log about the Secret)", Op: "fails",
		Reason: "Failing takes a line of istiod's about another service account, or none at all of several that say it: the latter turns the claim before the fact is stated."},
	{Claim: "P-idle-(keepalive|precedence)", Doc: "facts", Field: ".*: (time|partner: time) .*", Op: "fails",
		Reason: "The time is that between two lines of one window of the partner's log; altering either makes the cause of the other trial the one that fails."},
}, open...)

// open are weaknesses that the mutants found and that are not mended yet.
var open = []Exemption{
	{Open: true, Claim: "F-dns-stale-2|H2-rotation|P-max-duration|P-overflow", Doc: "gateway's log, line .*", Field: "path|the line|line.*|duration|upstream_connection_id|response_.*", Op: "altered|dropped",
		Reason: "Of many requests one may lack its gateway line, or have another one: the claim does not count them."},
	{Open: true, Claim: "P-max-duration", Doc: "gateway log", Field: "duration in all .*", Op: "altered",
		Reason: "The control takes any duration."},
	{Open: true, Claim: "F-idle-race|F-partner-lax|F-retry-count-2|P-outlier-single(-2)?", Doc: "partner's log, line .*", Field: "the line", Op: "dropped",
		Reason: "The claim does not count the partner's lines, or wants more than none."},
	{Open: true, Claim: "F-dns-stale(-2)?|P-idle-keepalive|P-not-retroactive|P-outlier-single(-2)?", Doc: "partner's log(, line .*)?", Field: "the lines?( about requests)?", Op: "(doubled|there twice)(" + unnoticed + ")?",
		Reason: "A request that reaches the partner twice is not noticed."},
	{Open: true, Claim: "P-outlier-single(-2)?", Doc: "partner's log", Field: "a line about the request of .*", Op: "added",
		Reason: "A request that reaches the partner although it was refused before is not noticed."},
	{Open: true, Claim: "F-partner-lax", Doc: "gateway's log", Field: "the lines about requests", Op: "(lost|kept back .*)" + unnoticed,
		Reason: "No response flags is true of a line that is lost: the cause is to count the gateway's lines."},
	{Open: true, Claim: "F-retry-count-2|F-two-gateways", Doc: "(gateway|second)'s log, line .*", Field: "the line", Op: "doubled" + unnoticed,
		Reason: "The gateways' lines are not counted for each request."},
	{Open: true, Claim: "H2-rotation(-bound)?", Doc: ".*, gateway-secrets.json", Field: `all of it|.*dynamic_active_secrets\[\d+\](\.last_updated)?`, Op: "dropped|answered with the check's answer",
		Reason: "A secret that is absent was last updated at no time, and all later times hold: its presence is to be a fact."},
	{Open: true, Claim: "H2-rbac-(names|verbs)", Doc: ".*-secrets.json", Field: `.*dynamic_warming_secrets\[\d+\]`, Op: "dropped",
		Reason: "The refused gateway's secret may be absent as well as WARMING: it is to be WARMING."},
	{Open: true, Claim: "H2-rbac-(names|verbs)", Doc: "facts", Field: ".*: state", Op: "fails",
		Reason: "The same: it holds for whatever is not ACTIVE."},
	{Open: true, Claim: "A-align-target", Doc: ".*, gateway-listeners.json", Field: "all of it|.*port_value", Op: "(empty|dropped)" + unnoticed,
		Reason: "The filter chain is to be absent, and an answer without listeners is taken for that: the list has no anchor."},
	{Open: true, Claim: "H2-san-pin", Doc: ".*, curl.txt", Field: "body .*", Op: "altered|dropped",
		Reason: "The response is to lack a text, so any other body will do."},
	{Open: true, Claim: "H2-san-pin", Doc: "facts", Field: ".*: the reason in the response", Op: "fails",
		Reason: "The same: no other response of the recording has the text."},
	{Open: true, Claim: "P-overflow", Doc: "all of them", Field: "all calls came on one connection of the partner's", Op: "fault",
		Reason: "Two connections are allowed, and one is not noticed."},
	{Open: true, Claim: "F-dns-stale|F-two-gateways|H1-http|H2-rotation(-bound)?|P-not-retroactive|P-overflow(-[23])?", Doc: "facts",
		Field: ".*(upstream host.*|calls in the second gateway's log|connections of (hop 1 for four requests|the application's).*|number of connections|none twice|partner's connections|is the old one|connections used|lines with the flag UO)", Op: "fails",
		Reason: "The fact is about many requests. The cases alter one line, or all lines alike; that several are altered differently is not tried."},
	{Open: true, Claim: "F-partner-lax", Doc: "facts", Field: ".*sidecar: response flags", Op: "fails",
		Reason: "No flags are null in the log and flags a list: no case puts a list there."},
	{Open: true, Claim: "F-expired", Doc: "facts", Field: ".*after: partner's response", Op: "fails",
		Reason: "No case makes it fail, and why not was not looked into yet."},
	{Open: true, Claim: "P-wrong-proxy", Doc: "facts", Field: ".*: connections opened", Op: "fails",
		Reason: "No case makes it fail, and why not was not looked into yet."},
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

// exempt marks the exemption that is used, and says which it is. The score is locked.
func (s *Score) exempt(id claim.ID, doc, field, op string) (e Exemption, ok bool) {
	for i, of := range compiled {
		if of[0].MatchString(string(id)) && of[1].MatchString(doc) && of[2].MatchString(field) && of[3].MatchString(op) {
			s.used[i] = true
			return exemptions[i], true
		}
	}
	return Exemption{}, false
}
