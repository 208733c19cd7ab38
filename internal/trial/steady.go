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

// Steady is a Kept client that works until it is stopped, so that a check waits
// for what it needs to see and not for a time.
type Steady struct {
	Kept
	request probe.Request
}

// KeepOn starts a client that makes a request in each pace, which divides a
// second, until Stop. It makes so many requests at most.
func (t *T) KeepOn(ctx context.Context, most int, pace time.Duration) *Steady {
	k := &Steady{Kept: Kept{t: t, done: make(chan struct{}), kind: verdict.KindText}}
	for range most {
		token := probe.NewToken()
		k.tokens, k.traces = append(k.tokens, token), append(k.traces, t.Begin(token, t.Sidecar))
	}
	k.request = probe.Request{Token: k.tokens[0], More: k.tokens[1:], Pace: pace, Connect: t.PartnerIP}
	// By hand one lets curl count: hundreds of tokens are for machines.
	byHand := k.request
	byHand.Token, byHand.More = fmt.Sprintf("again[1-%d]", most), nil
	k.command = probe.Command(t.Subject, byHand)
	t.Step("the application calls the partner again and again on one connection", k.command)
	go func() {
		defer close(k.done)
		k.replies, k.raw, k.stderr, k.err = probe.DoUntilStopped(ctx, t.Kube, t.Subject, t.Sidecar.Pod, k.request)
	}()
	return k
}

// Await waits until the partner has seen n further requests.
func (k *Steady) Await(ctx context.Context, n int) error {
	seen := 0
	for seen < len(k.tokens) && len(k.t.Partner.Matching(observe.Contains(k.tokens[seen]))) > 0 {
		seen++
	}
	if seen+n > len(k.tokens) {
		return fmt.Errorf("a client makes %d requests at most, and has made %d when %d more are wanted", len(k.tokens), seen, n)
	}
	last, limit := k.tokens[seen+n-1], time.Duration(n)*k.request.Pace+lab.Timeouts.Line
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%v went by", limit))
	defer cancel()
	_, err := k.t.Partner.Wait(ctx, fmt.Sprintf("the line of a client's request number %d, %s", seen+n, last), observe.Contains(last))
	return err
}

// Stop ends the client and returns the requests that were over by then, in order.
func (k *Steady) Stop(ctx context.Context) ([]*Call, error) {
	if err := probe.Stop(ctx, k.t.Kube, k.t.Subject, k.t.Sidecar.Pod, k.request); err != nil {
		return nil, err
	}
	select {
	case <-k.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a client to end that was stopped: %w", context.Cause(ctx))
	}
	n := len(k.replies)
	k.tokens, k.traces = k.tokens[:n], k.traces[:n]
	return k.Calls(ctx)
}
