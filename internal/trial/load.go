package trial

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/onsi/gomega/types"

	"twohop/internal/envoy"
	"twohop/internal/lab"
	"twohop/internal/observe"
	"twohop/internal/probe"
	"twohop/internal/verdict"
)

// Slow asks the partner for an answer that takes probe.SlowAnswer.
func Slow(r *probe.Request) { r.Want = probe.Slow }

// Failing asks the partner for a 503.
func Failing(r *probe.Request) { r.Want = probe.Fail }

// Patience is how long curl waits for an answer.
func Patience(d time.Duration) CallOption {
	return func(r *probe.Request) { r.Timeout = d }
}

// AtOnce makes n requests of the application at the same time, each on a
// connection of its own, and gathers the witnesses. The calls have no bodies.
func (t *T) AtOnce(ctx context.Context, n int, options ...CallOption) ([]*Call, error) {
	tokens, traces := make([]string, n), make([]lab.Trace, n)
	for i := range tokens {
		tokens[i] = probe.NewToken()
		traces[i] = t.Begin(tokens[i], t.Sidecar)
	}
	r := probe.Request{Token: tokens[0], More: tokens[1:], AtOnce: true, Connect: t.PartnerIP}
	for _, o := range options {
		o(&r)
	}
	command := probe.Command(t.Subject, r)
	t.Step(fmt.Sprintf("the application makes %d calls at once", n), command)
	replies, raw, stderr, err := probe.DoAll(ctx, t.Kube, t.Subject, t.Sidecar.Pod, r)
	path, saveErr := t.Save("curl.txt", verdict.KindCurl, verdict.WitnessClient, command, raw)
	if saveErr != nil {
		return nil, saveErr
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, stderr)
	}
	witnessed, err := t.Witness(ctx, traces...)
	if err != nil {
		return nil, err
	}
	calls := make([]*Call, n)
	for i, token := range tokens {
		calls[i] = &Call{Token: token, From: t.Sidecar, t: t}
		calls[i].evidence.curl = path
		for _, reply := range replies {
			if strings.HasSuffix(reply.URL, "/"+token) {
				calls[i].Reply = reply
			}
		}
		if calls[i].Command == "" {
			return nil, fmt.Errorf("curl reports %d requests, and none of them is %s", len(replies), token)
		}
	}
	return calls, keep(calls, witnessed)
}

// Answered counts the calls that got an answer of a status; 0 is "no answer".
func Answered(calls []*Call, status int) int {
	n := 0
	for _, c := range calls {
		if c.HTTPCode == status {
			n++
		}
	}
	return n
}

// Longest is how long the call took that took longest, by curl's word.
func Longest(calls []*Call) time.Duration {
	longest := time.Duration(0)
	for _, c := range calls {
		longest = max(longest, c.TimeTotal)
	}
	return longest
}

// Flagged counts the calls whose line in a proxy's log has a response flag.
func Flagged(calls []*Call, line func(*Call) envoy.AccessLog, flag string) int {
	n := 0
	for _, c := range calls {
		for _, f := range line(c).ResponseFlags {
			if f == flag {
				n++
			}
		}
	}
	return n
}

// Connection is one of the partner's connections and the requests it carried.
type Connection struct {
	Number   uint64
	Requests []envoy.PartnerLog
}

// Connections are the partner's connections that carried the calls, in the
// order of their first use.
func Connections(calls []*Call) []Connection {
	var found []Connection
	at := map[uint64]int{}
	for _, c := range calls {
		for _, l := range c.Partner {
			i, known := at[l.Connection]
			if !known {
				i = len(found)
				at[l.Connection] = i
				found = append(found, Connection{Number: l.Connection})
			}
			found[i].Requests = append(found[i].Requests, l)
		}
	}
	return found
}

// Carried is how many requests each connection carried.
func Carried(connections []Connection) []int {
	counts := make([]int, len(connections))
	for i, c := range connections {
		counts[i] = len(c.Requests)
	}
	return counts
}

// Use is when a connection was first and last used, by the partner's log.
type Use struct{ First, Last time.Time }

// Used says when the n-th of the connections was used; the zero Use if there
// are not so many.
func Used(connections []Connection, n int) Use {
	if n >= len(connections) {
		return Use{}
	}
	r := connections[n].Requests
	return Use{First: r[0].Logged, Last: r[len(r)-1].Logged}
}

// Arrivals are the partner's lines of all calls.
func Arrivals(calls []*Call) []envoy.PartnerLog {
	var all []envoy.PartnerLog
	for _, c := range calls {
		all = append(all, c.Partner...)
	}
	return all
}

// Arrived counts the requests that the partner itself answered with a status.
func Arrived(calls []*Call, status uint64) int {
	n := 0
	for _, l := range Arrivals(calls) {
		if l.Status == status {
			n++
		}
	}
	return n
}

// Callers counts the connections on which the application's calls came.
func Callers(calls []*Call) int {
	seen := map[uint64]bool{}
	for _, c := range calls {
		for _, l := range c.Sidecar {
			if l.ConnectionID != nil {
				seen[*l.ConnectionID] = true
			}
		}
	}
	return len(seen)
}

// Closing is the end of a connection that was kept alive and lay idle.
type Closing struct {
	// Life is the time from the partner's line of the first of the calls to its
	// line about the end of their connection, and Idle that from the last call's:
	// both by the container runtime's clock.
	Life, Idle time.Duration
	// Said is nginx's message: who closed.
	Said string
	t    *T
	path string
}

// AwaitClosing waits until the partner logs the end of the connection that
// carried the last of the calls.
func (t *T) AwaitClosing(ctx context.Context, calls []*Call, within time.Duration) (*Closing, error) {
	used := Connections(calls)
	if len(used) == 0 {
		return nil, fmt.Errorf("none of %d calls reached the partner, so no connection can end", len(calls))
	}
	number := used[len(used)-1].Number
	ended := func(line []byte) bool {
		e, err := envoy.ParseNginxError(line)
		return err == nil && e.Connection != nil && *e.Connection == number && strings.Contains(e.Message, "closed keepalive connection")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("%v went by", within))
	defer cancel()
	end, err := t.Partner.WaitLine(ctx, fmt.Sprintf("the end of connection %d", number), ended)
	if err != nil {
		return nil, err
	}
	var lines []observe.Line
	for _, c := range calls {
		lines = append(lines, t.Partner.Lines(observe.Contains(c.Token))...)
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("the partner's log has no line of %d calls any more", len(calls))
	}
	c := &Closing{Life: end.At.Sub(lines[0].At), Idle: end.At.Sub(lines[len(lines)-1].At), t: t}
	var raw []byte
	for _, line := range append(lines, end) {
		raw = fmt.Appendf(raw, "%s %s\n", line.At.Format(time.RFC3339Nano), line.Text)
	}
	e, err := envoy.ParseNginxError(end.Text)
	if err != nil {
		return nil, err
	}
	c.Said = e.Message
	command := strings.Replace(t.Partner.Command, "kubectl logs", "kubectl logs --timestamps", 1)
	t.Step(fmt.Sprintf("the partner's log: the calls, and the end of their connection %d", number), command)
	c.path, err = t.Save("partner-closing.txt", verdict.KindText, verdict.WitnessPartner, command, raw)
	return c, err
}

// Fact states a fact about the closing.
func (c *Closing) Fact(name string, seen any, want types.GomegaMatcher) bool {
	return c.t.Fact(name, seen, want, c.path)
}
