package check

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/onsi/gomega/types"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/probe"
	"twohop/internal/subject"
	"twohop/internal/verdict"
)

// Call is one request and what every witness wrote about it, joined by its
// token. The lists are complete: each log was read up to a line that was caused
// after the call had ended, so an empty list is an absence and not a delay.
type Call struct {
	envoy.CurlResult
	Token string
	// From is the sidecar that the call left through.
	From *Proxy
	// SidecarLines and GatewayLines are the proxies' access log lines,
	// SecondGatewayLines those of a second gateway.
	SidecarLines, GatewayLines, SecondGatewayLines []envoy.AccessLog
	// RefusedLines are the gateway's lines about connections of the caller's pod,
	// during the call, that never came to a request.
	RefusedLines []envoy.AccessLog
	PartnerLines []envoy.PartnerLog
	// PartnerErrors are the lines of nginx's error log that name the token.
	PartnerErrors []envoy.NginxError

	t        *T
	evidence []string
}

// CallOption changes the request.
type CallOption func(*probe.Request)

// With adds arguments for curl.
func With(args ...string) CallOption {
	return func(r *probe.Request) { r.Args = append(r.Args, args...) }
}

// Call makes the application's request and gathers the witnesses.
func (t *T) Call(options ...CallOption) *Call { return t.CallFrom(t.Sidecar, options...) }

// CallFrom is Call from another application's pod, such as t.SecondSidecar's.
func (t *T) CallFrom(from *Proxy, options ...CallOption) *Call {
	q, at := t.requests(from, 1, options...)
	t.Step("the application calls the partner", probe.Command(q.Subject, q.Request))
	t.logs(q, q.Request.Token)
	return t.gather(at, q, t.begin(at, q))[0]
}

// AtOnce makes n requests of the application at the same time, each on a
// connection of its own, and gathers the witnesses. The calls have no bodies.
func (t *T) AtOnce(n int, options ...CallOption) []*Call {
	q, at := t.requests(t.Sidecar, n, options...)
	q.Request.AtOnce = true
	t.Step(fmt.Sprintf("the application makes %d calls at once", n), probe.Command(q.Subject, q.Request))
	t.logs(q, append([]string{q.Request.Token}, q.Request.More...)...)
	return t.gather(at, q, t.begin(at, q))
}

// requests prepares n requests of an application, with tokens of their own.
func (t *T) requests(from *Proxy, n int, options ...CallOption) (observe.Requests, observe.Slot) {
	at := t.session.Next()
	tokens := make([]string, n)
	for i := range tokens {
		tokens[i] = t.session.Key.Token(at, i)
	}
	r := probe.Request{Token: tokens[0], More: tokens[1:], Connect: t.PartnerService}
	for _, o := range options {
		o(&r)
	}
	caller := t.Subject
	caller.Client = from.Workload
	return observe.Requests{From: from.Role, Subject: caller, Request: r, Flush: t.session.Key.Token(at, n)}, at
}

func (t *T) begin(at observe.Slot, q observe.Requests) observe.Pending {
	kind := verdict.KindCurl
	if q.Stoppable || q.Held { // cut where it was stopped
		kind = verdict.KindText
	}
	return t.session.Source.Begin(t.ctx, at, q, observe.Meta{Name: "curl.txt", Kind: kind, Witness: verdict.WitnessClient, Command: probe.Command(q.Subject, q.Request)})
}

// gather waits for requests and joins what was written about each.
func (t *T) gather(at observe.Slot, q observe.Requests, pending observe.Pending) []*Call {
	a, err := pending.Answer(t.ctx)
	t.must(err)
	parse := envoy.ParseCurlMany
	if q.Stoppable {
		parse = envoy.ParseCurlStopped
	}
	results, err := parse(a.Raw)
	t.must(err)
	tokens := append([]string{q.Request.Token}, q.Request.More...)
	if len(results) > len(tokens) || !q.Stoppable && len(results) != len(tokens) {
		t.Abort("curl reports %d requests, and %d were made", len(results), len(tokens))
	}
	calls := make([]*Call, len(results))
	for i := range calls {
		calls[i] = &Call{Token: tokens[i], From: t.caller(q.From), t: t, CurlResult: t.report(results, tokens[i])}
	}
	evidence := []string{a.Path}
	for _, w := range a.Windows {
		evidence = append(evidence, t.read(at, q, w, calls)...)
	}
	for _, c := range calls {
		c.evidence = evidence
	}
	return calls
}

func (t *T) caller(role subject.Role) *Proxy {
	if role == subject.SecondSidecar {
		return t.SecondSidecar
	}
	return t.Sidecar
}

// report is curl's word on one of the requests.
func (t *T) report(results []envoy.CurlResult, token string) envoy.CurlResult {
	for _, r := range results {
		if strings.HasSuffix(r.URL, "/"+token) {
			return r
		}
	}
	t.Abort("curl reports %d requests, and none of them is %s", len(results), token)
	return envoy.CurlResult{}
}

// read joins one log's lines to the calls, and keeps them for people.
func (t *T) read(at observe.Slot, q observe.Requests, w observe.Window, calls []*Call) (paths []string) {
	switch w.Role {
	case subject.Partner:
		return t.readPartner(at, w, calls)
	case subject.Gateway, subject.SecondGateway:
		into := func(c *Call) *[]envoy.AccessLog { return &c.GatewayLines }
		if w.Role == subject.SecondGateway {
			into = func(c *Call) *[]envoy.AccessLog { return &c.SecondGatewayLines }
		}
		paths = append(paths, t.readProxy(at, w, calls, fileOf(w.Role)+".log", func(c *Call) (func([]byte) bool, *[]envoy.AccessLog) {
			return containing(c.Token), into(c)
		}))
		if w.Role == subject.SecondGateway {
			return paths
		}
		ip := t.caller(q.From).IP
		all := t.lines(w, func(line []byte) bool { return observe.Refused(line, ip) })
		if len(all) > 0 {
			for _, c := range calls {
				c.RefusedLines = t.accessLogs(w.Role, all)
			}
			paths = append(paths, t.derive(at, t.logMeta(w, "gateway-refused.log", verdict.KindAccessLog, ip+":"), join(all)))
		}
		return paths
	}
	return []string{t.readProxy(at, w, calls, fileOf(w.Role)+".log", func(c *Call) (func([]byte) bool, *[]envoy.AccessLog) {
		address := ""
		if len(calls) == 1 && c.LocalPort != 0 {
			address = net.JoinHostPort(c.LocalIP, strconv.Itoa(c.LocalPort))
		}
		return func(line []byte) bool { return observe.OfCall(line, c.Token, address) }, &c.SidecarLines
	})}
}

func (t *T) readProxy(at observe.Slot, w observe.Window, calls []*Call, name string, of func(*Call) (func([]byte) bool, *[]envoy.AccessLog)) string {
	var all [][]byte
	for _, c := range calls {
		match, into := of(c)
		lines := t.lines(w, match)
		*into = t.accessLogs(w.Role, lines)
		all = append(all, lines...)
	}
	return t.derive(at, t.logMeta(w, name, verdict.KindAccessLog, tokensOf(calls)...), join(all))
}

func (t *T) accessLogs(role subject.Role, lines [][]byte) []envoy.AccessLog {
	var all []envoy.AccessLog
	for _, line := range lines {
		entry, err := envoy.ParseAccessLog(line)
		if err != nil {
			t.Abort("the log of the %s: %w", role, err)
		}
		all = append(all, entry)
	}
	return all
}

func (t *T) readPartner(at observe.Slot, w observe.Window, calls []*Call) []string {
	var access, failures [][]byte
	for _, c := range calls {
		for _, line := range t.lines(w, containing(c.Token)) {
			if envoy.IsPartnerLog(line) {
				entry, err := envoy.ParsePartnerLog(line)
				t.must(err)
				c.PartnerLines, access = append(c.PartnerLines, entry), append(access, line)
				continue
			}
			entry, err := envoy.ParseNginxError(line)
			t.must(err)
			c.PartnerErrors, failures = append(c.PartnerErrors, entry), append(failures, line)
		}
	}
	paths := []string{t.derive(at, t.logMeta(w, "partner.log", verdict.KindPartnerLog, tokensOf(calls)...), join(access))}
	if len(failures) > 0 {
		paths = append(paths, t.derive(at, t.logMeta(w, "partner-errors.txt", verdict.KindText, tokensOf(calls)...), join(failures)))
	}
	return paths
}

// logMeta says how a person finds the same lines.
func (t *T) logMeta(w observe.Window, name, kind string, texts ...string) observe.Meta {
	const most = 8 // more do not fit a command line that a person reads
	p, _ := t.cast.Find(w.Role)
	container := t.Subject.Gateway.Proxy
	if w.Role == subject.Partner {
		container = t.Subject.Partner.Container
	}
	command := fmt.Sprintf("%s | grep -E '%s'", logCommand(p, container), strings.Join(texts[:min(most, len(texts))], "|"))
	if len(texts) == 1 {
		command = fmt.Sprintf("%s | grep %s", logCommand(p, container), texts[0])
	}
	return observe.Meta{Name: name, Kind: kind, Witness: witness(w.Role), Command: command}
}

func tokensOf(calls []*Call) []string {
	tokens := make([]string, len(calls))
	for i, c := range calls {
		tokens[i] = c.Token
	}
	return tokens
}

func containing(text string) func([]byte) bool {
	part := []byte(text)
	return func(line []byte) bool { return bytes.Contains(line, part) }
}

// Fact states a fact about the call; the evidence is all that was kept of it.
func (c *Call) Fact(name string, seen any, want types.GomegaMatcher) bool {
	return c.t.Fact(name, seen, want, c.evidence...)
}

// Evidence is all that was kept of the call, for facts about several things.
func (c *Call) Evidence() []string { return c.evidence }

// Because states why the call failed, as a witness gives the reason.
func (c *Call) Because(name string, seen any, want types.GomegaMatcher) bool {
	return c.t.Because(name, seen, want, c.evidence...)
}

// Status states what curl saw; 0 is "no response". Whatever is not 2xx is a
// failure, of which the reason has to be stated too.
func (c *Call) Status(want types.GomegaMatcher) bool { return c.StatusOf("curl", want) }

// StatusOf is Status of one call among several, by a name.
func (c *Call) StatusOf(who string, want types.GomegaMatcher) bool {
	return c.t.fact(verdict.Fact{Name: who + ": HTTP status", Negative: c.HTTPCode < 200 || c.HTTPCode > 299, Evidence: c.evidence}, c.HTTPCode, want)
}

// SidecarLog is the sidecar's line. There is always one: the lists are complete,
// and a call without it did not go through the sidecar at all.
func (c *Call) SidecarLog() envoy.AccessLog { return only(c, "sidecar", c.SidecarLines) }

// GatewayLog is the gateway's line, zero if the gateway never saw the call.
func (c *Call) GatewayLog() envoy.AccessLog { return only(c, "gateway", c.GatewayLines) }

// PartnerLog is the partner's line, zero if the partner never saw the call.
func (c *Call) PartnerLog() envoy.PartnerLog { return only(c, "partner", c.PartnerLines) }

// only is the one line about a call. Where there are more (a retry, a mirror),
// nobody can say which is meant: claims about those count the lines.
func only[E any](c *Call, who string, lines []E) E {
	if len(lines) > 1 {
		c.t.Abort("the %s logged the call %s %d times, not once", who, c.Token, len(lines))
	}
	return first(lines)
}

// RefusedLog is the gateway's last line about a connection of the caller's that
// never came to a request, zero if there was none.
func (c *Call) RefusedLog() (last envoy.AccessLog) {
	for _, last = range c.RefusedLines {
	}
	return last
}

// PartnerErrorLog joins the messages of the partner's error log about the call.
func (c *Call) PartnerErrorLog() string {
	var said []string
	for _, e := range c.PartnerErrors {
		said = append(said, e.Message)
	}
	return strings.Join(said, "; ")
}

// Flags joins an access log line's response flags.
func Flags(l envoy.AccessLog) string { return strings.Join(l.ResponseFlags, ",") }

// Host is the address of "host:port".
func Host(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return host
}
