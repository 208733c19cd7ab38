package check

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"
	"github.com/onsi/gomega/types"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/subject"
	"twohop/internal/verdict"
)

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

// idleByHand is how long a script waits for an idle connection to be closed.
const idleByHand = 10 * time.Second

// AwaitClosing waits until the partner logs the end of the connection that
// carried the last of the calls.
func (t *T) AwaitClosing(calls []*Call) *Closing {
	carried := Connections(calls)
	if len(carried) == 0 {
		t.Abort("none of %d calls reached the partner, so no connection can end", len(calls))
	}
	number := carried[len(carried)-1].Number
	at := t.session.Next()
	pod, _ := t.cast.Find(subject.Partner)
	command := strings.Replace(logCommand(pod, t.Subject.Partner.Container), "kubectl logs", "kubectl logs --timestamps", 1)
	q := observe.Line{Role: subject.Partner, What: fmt.Sprintf("the end of connection %d", number),
		Holds: []string{fmt.Sprintf("*%d ", number), "closed keepalive connection"}, Since: t.since(subject.Partner)}
	t.pause("the partner's connection has lain idle long enough to be closed", idleByHand)
	t.Step("the partner's log: the calls, and the end of their connection", command+` --since-time "$begun" | grep -E -e `+
		shellescape.Quote(strings.Join(tokensOf(calls), "|")+"|closed keepalive connection"))
	a, err := t.session.Source.Begin(t.ctx, at, q, observe.Meta{Name: "partner-line.json", Kind: verdict.KindText, Witness: verdict.WitnessPartner, Command: command}).Answer(t.ctx)
	t.must(err)
	w, err := a.Window(subject.Partner)
	t.must(err)
	lines := t.stamped(w, func([]byte) bool { return true })
	end := lines[len(lines)-1]
	var used []observe.LogLine
	for _, l := range lines {
		if slices.ContainsFunc(calls, func(call *Call) bool { return containing(call.Token)(l.Text) }) {
			used = append(used, l)
		}
	}
	if len(used) == 0 {
		t.Abort("the partner's log has no line of %d calls", len(calls))
	}
	e, err := envoy.ParseNginxError(end.Text)
	t.must(err)
	c := &Closing{Life: end.At.Sub(used[0].At), Idle: end.At.Sub(used[len(used)-1].At), Said: e.Message, t: t}
	var raw []byte
	for _, l := range append(used, end) {
		raw = fmt.Appendf(raw, "%s %s\n", l.At.Format(time.RFC3339Nano), l.Text)
	}
	c.path = t.derive(at, observe.Meta{Name: "partner-closing.txt", Kind: verdict.KindText, Witness: verdict.WitnessPartner, Command: command}, raw)
	return c
}

// Fact states a fact about the closing.
func (c *Closing) Fact(name string, seen any, want types.GomegaMatcher) bool {
	return c.t.Fact(name, seen, want, c.path)
}
