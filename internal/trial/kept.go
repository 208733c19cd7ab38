package trial

import (
	"context"
	"fmt"
	"time"

	"twohop/internal/lab"
	"twohop/internal/observe"
	"twohop/internal/probe"
	"twohop/internal/verdict"
)

// Kept is a client that keeps its connection: one request after the other on
// it, at a pace, while the subject changes around it. One connection of the
// application stays on one worker thread of each proxy, and a worker has pools
// of its own; so whatever connection of hop 2 such a client is given, only an
// end of that connection gives it another.
type Kept struct {
	tokens []string
	traces []lab.Trace
	t      *T
	done   chan struct{}
	// What the goroutine leaves behind, to be read after done.
	replies     []probe.Reply
	raw, stderr []byte
	err         error
	command     string
	kind        string // of the evidence that raw is
}

// Keep starts a client that makes n requests, at most one in each pace (of at
// least a millisecond and at most a second, dividing it).
func (t *T) Keep(ctx context.Context, n int, pace time.Duration, options ...CallOption) *Kept {
	k := &Kept{t: t, done: make(chan struct{}), kind: verdict.KindCurl}
	for range n {
		token := probe.NewToken()
		k.tokens, k.traces = append(k.tokens, token), append(k.traces, t.Begin(token, t.Sidecar))
	}
	r := probe.Request{Token: k.tokens[0], More: k.tokens[1:], Pace: pace, Connect: t.PartnerIP}
	for _, o := range options {
		o(&r)
	}
	k.command = probe.Command(t.Subject, r)
	t.Step("the application calls the partner again and again on one connection", k.command)
	go func() {
		defer close(k.done)
		k.replies, k.raw, k.stderr, k.err = probe.DoAll(ctx, t.Kube, t.Subject, t.Sidecar.Pod, r)
	}()
	return k
}

// Begun waits until the partner has seen the first request.
func (k *Kept) Begun(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lab.Timeouts.Line, fmt.Errorf("%v went by", lab.Timeouts.Line))
	defer cancel()
	_, err := k.t.Partner.Wait(ctx, "the line of a kept client's first request, "+k.tokens[0], observe.Contains(k.tokens[0]))
	return err
}

// Made is how many of the requests the partner has answered by now.
func (k *Kept) Made(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lab.Timeouts.Line, fmt.Errorf("%v went by", lab.Timeouts.Line))
	defer cancel()
	if err := k.t.FlushPartner(ctx); err != nil {
		return 0, err
	}
	made := 0
	for _, token := range k.tokens {
		if len(k.t.Partner.Matching(observe.Contains(token))) > 0 {
			made++
		}
	}
	return made, nil
}

// Calls waits for the last request and returns all of them, in order.
func (k *Kept) Calls(ctx context.Context) ([]*Call, error) {
	select {
	case <-k.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a kept client's %d requests: %w", len(k.tokens), context.Cause(ctx))
	}
	path, err := k.t.Save("curl.txt", k.kind, verdict.WitnessClient, k.command, k.raw)
	if err != nil {
		return nil, err
	}
	if k.err != nil {
		return nil, fmt.Errorf("%w: %s", k.err, k.stderr)
	}
	witnessed, err := k.t.Witness(ctx, k.traces...)
	if err != nil {
		return nil, err
	}
	calls := make([]*Call, len(k.tokens))
	for i, token := range k.tokens {
		calls[i] = &Call{Reply: k.replies[i], Token: token, From: k.t.Sidecar, t: k.t}
		calls[i].evidence.curl = path
	}
	return calls, keep(calls, witnessed)
}

// Change is an event that belongs to the check itself, such as a rotation while
// a client is at work.
func (t *T) Change(ctx context.Context, variations ...lab.Variation) error {
	return t.vary(ctx, variations)
}
