package check

import (
	"fmt"
	"slices"
	"time"

	"github.com/onsi/gomega/types"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/probe"
	"twohop/internal/subject"
	"twohop/internal/verdict"
)

// Slow asks the partner for a response that takes probe.SlowAnswer.
func Slow(r *probe.Request) { r.Want = probe.Slow }

// Failing asks the partner for a 503.
func Failing(r *probe.Request) { r.Want = probe.Fail }

// Patience is how long curl waits for a response.
func Patience(d time.Duration) CallOption {
	return func(r *probe.Request) { r.Timeout = d }
}

// SequentialClient is a client that keeps its connection: one request after the
// other on it, at a pace, while the subject changes around it. One connection of
// the application stays on one worker thread of each proxy, and a worker has
// pools of its own; so whatever connection of hop 2 such a client is given, only
// an end of that connection gives it another.
type SequentialClient struct {
	t       *T
	at      observe.Slot
	q       observe.Requests
	pending observe.Pending
	since   int // where the partner's log stood
}

// Sequential starts a client that makes n requests, at most one in each pace (of
// at least a millisecond and at most a second, dividing it).
func (t *T) Sequential(n int, pace time.Duration, options ...CallOption) *SequentialClient {
	return t.sequential(n, pace, false, options...)
}

func (t *T) sequential(n int, pace time.Duration, stoppable bool, options ...CallOption) *SequentialClient {
	q, at := t.requests(t.Sidecar, n, options...)
	q.Request.Pace, q.Stoppable, q.Request.Unbuffered = pace, stoppable, stoppable
	c := &SequentialClient{t: t, at: at, q: q, since: t.since(subject.Partner)}
	byHand := q.Request
	if stoppable { // by hand one lets curl count: hundreds of tokens are for machines
		byHand.Token, byHand.More = fmt.Sprintf("%s-[1-%d]", q.Request.Token, n), nil
	}
	t.request("meanwhile: the application calls the partner again and again on one connection", q, byHand)
	c.pending = t.begin(at, q)
	return c
}

func (c *SequentialClient) token(n int) string {
	if n == 0 {
		return c.q.Request.Token
	}
	return c.q.Request.More[n-1]
}

func (c *SequentialClient) most() int { return 1 + len(c.q.Request.More) }

// Begun waits until the partner has seen the first request.
func (c *SequentialClient) Begun() {
	c.t.pause("the partner has seen the first of its requests", time.Second)
	c.awaitLine(0, 0)
}

// awaitLine waits until the partner has seen a request, by its number from 0.
func (c *SequentialClient) awaitLine(n int, more time.Duration) {
	token := c.token(n)
	c.t.ask(observe.Line{Role: subject.Partner, What: fmt.Sprintf("the line of a client's request number %d, %s", n+1, token),
		Holds: []string{token}, Since: c.since, Limit: more + c.t.Limits.Line}, c.t.waitMeta("partner-line.json"))
}

// Made is how many of the requests the partner has answered by now: it gets one after
// the other.
func (c *SequentialClient) Made() int {
	at := c.t.session.Next()
	a, err := c.t.session.Source.Begin(c.t.ctx, at, observe.Flush{Role: subject.Partner, Token: c.t.session.Key.Token(at, 0), Since: c.since},
		c.t.waitMeta("partner-flush.json")).Answer(c.t.ctx)
	c.t.must(err)
	w, err := a.Window(subject.Partner)
	c.t.must(err)
	made := 0
	for made < c.most() && len(c.t.lines(w, containing(c.token(made)))) > 0 {
		made++
	}
	return made
}

// Calls waits for the last request and returns all of them, in order.
func (c *SequentialClient) Calls() []*Call {
	c.t.say("what that client got", "collect "+c.q.Request.Token)
	if !c.q.Stoppable {
		c.t.logs(c.q, append([]string{c.q.Request.Token}, c.q.Request.More...)...)
	}
	return c.t.gather(c.at, c.q, c.pending)
}

// StoppableClient is a SequentialClient that works until it is stopped, so that a
// check waits for what it needs to see and not for a time.
type StoppableClient struct {
	SequentialClient
	awaited int // requests that were seen
}

// SequentialUntilStopped starts a client that makes a request in each pace, which
// divides a second, until Stop. It makes so many requests at most.
func (t *T) SequentialUntilStopped(most int, pace time.Duration) *StoppableClient {
	return &StoppableClient{SequentialClient: *t.sequential(most, pace, true)}
}

// Await waits until the partner has seen n further requests.
func (c *StoppableClient) Await(n int) {
	seen := max(c.awaited, c.Made())
	if seen+n > c.most() {
		c.t.Abort("a client makes %d requests at most, and has made %d when %d more are wanted", c.most(), seen, n)
	}
	c.t.pause(fmt.Sprintf("the client has made %d more requests", n), time.Duration(n)*c.q.Request.Pace+time.Second)
	c.awaitLine(seen+n-1, time.Duration(n)*c.q.Request.Pace)
	c.awaited = seen + n
}

// Stop ends the client and returns the requests that were over by then, in order.
func (c *StoppableClient) Stop() []*Call {
	c.t.stop("stop that client", c.q)
	c.t.ask(observe.Stop{From: c.q.From, Token: c.q.Request.Token}, c.t.waitMeta("stop.json"))
	return c.Calls()
}

// AwaitHosts waits until a proxy has just these addresses for a cluster, for as
// long as the client takes to make n more requests, and says whether they came.
func (c *StoppableClient) AwaitHosts(p *Proxy, cluster string, n int, addresses ...string) bool {
	addresses = slices.Sorted(slices.Values(addresses))
	c.t.pause("the "+c.t.Who(p)+" has taken other addresses, or it is too late", time.Duration(n)*c.q.Request.Pace)
	deadline := time.Now().Add(time.Duration(n) * c.q.Request.Pace)
	a := c.t.ask(observe.Until{Ask: observe.Admin{Role: p.Role, Path: observe.HostsPath},
		What: fmt.Sprintf("the %s has the addresses %v in %s, or it is too late", p.Role, addresses, cluster),
		Done: func(raw []byte) (bool, string, error) {
			all, err := envoy.ParseClusterStatuses(raw)
			if err != nil {
				return false, "", err
			}
			has := hostsOf(all, cluster)
			return slices.Equal(has, addresses) || time.Now().After(deadline), fmt.Sprint(has), nil
		}, Limit: time.Duration(n)*c.q.Request.Pace + c.t.Limits.Line},
		c.t.adminMeta(p, "hosts.json", verdict.KindJSON, observe.HostsPath))
	all, err := envoy.ParseClusterStatuses(a.Raw)
	c.t.must(err)
	return slices.Equal(hostsOf(all, cluster), addresses)
}

// waitMeta is for observations that bring no bytes.
func (t *T) waitMeta(name string) observe.Meta {
	return observe.Meta{Name: name, Kind: verdict.KindText}
}

// InFlightRequest is a request that is under way until it is released.
type InFlightRequest struct {
	t       *T
	q       observe.Requests
	from    *Proxy
	cluster string
	pending observe.Pending
}

// InFlight starts a request with a header from an application's pod and returns
// once its sidecar counts it as active in a cluster. Something on the way has to
// keep it: a route that delays requests with that header.
func (t *T) InFlight(from *Proxy, cluster, header string) *InFlightRequest {
	q, at := t.requests(from, 1, With("-H", header), Patience(time.Minute))
	q.Held = true
	t.request("meanwhile: a request that is kept under way", q, q.Request)
	t.pause("the sidecar has sent it", time.Second)
	r := &InFlightRequest{t: t, q: q, from: from, cluster: cluster, pending: t.begin(at, q)}
	t.ask(observe.Until{Ask: observe.Admin{Role: from.Role, Path: observe.HostsPath}, What: fmt.Sprintf("the %s has one active request in %s", from.Role, cluster),
		Done: func(raw []byte) (bool, string, error) {
			all, err := envoy.ParseClusterStatuses(raw)
			if err != nil {
				return false, "", err
			}
			n := statOf(all, cluster, "rq_active")
			return n == 1, fmt.Sprintf("%d active requests", n), nil
		}, Limit: t.Limits.Line}, t.adminMeta(from, "hosts.json", verdict.KindJSON, observe.HostsPath))
	return r
}

// Active states how many requests the sidecar has active in the cluster now.
func (r *InFlightRequest) Active(when string, want types.GomegaMatcher) bool {
	all, path := r.t.statuses(r.from)
	return r.t.Fact(fmt.Sprintf("%s, %s: active requests %s", r.t.Who(r.from), r.cluster, when), statOf(all, r.cluster, "rq_active"), want, path)
}

// Release ends the request.
func (r *InFlightRequest) Release() {
	r.t.stop("end the request that is under way", r.q)
	r.t.ask(observe.Stop{From: r.q.From, Token: r.q.Request.Token}, r.t.waitMeta("stop.json"))
	_, err := r.pending.Answer(r.t.ctx)
	r.t.must(err)
}
