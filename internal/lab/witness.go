package lab

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"golang.org/x/sync/errgroup"

	"twohop/internal/observe"
	"twohop/internal/probe"
)

// Trace is what a request is found again by in the logs. Begin makes one.
type Trace struct {
	Token string
	// From is the sidecar that the request leaves through.
	From *observe.Proxy
	// Address is where the application called from, "host:port", once that is
	// known: a line of mere TCP has no path and so no token.
	Address string
	// since is how many lines a proxy's log had before the request.
	since map[*observe.Proxy]int
}

// Begin notes where the proxies' logs stand before a request.
func (l *Lab) Begin(token string, from *observe.Proxy) Trace {
	t := Trace{Token: token, From: from, since: map[*observe.Proxy]int{from: from.Log.Len()}}
	for _, g := range l.gateways() {
		t.since[g] = g.Log.Len()
	}
	return t
}

func (t Trace) left(line []byte) bool {
	return observe.Contains(t.Token)(line) || (t.Address != "" && observe.Contains(`"`+t.Address+`"`)(line))
}

// refused matches a gateway's lines about connections from the caller's pod that
// never came to a request. They name no token, but nobody else calls there.
func (t Trace) refused(line []byte) bool {
	return observe.Contains(`"downstream_remote_address":"`+t.From.IP+":")(line) && observe.Contains(`"path":null`)(line)
}

// Witness gathers the lines of the three logs that are about some requests. Call
// it when they are over. The sidecars' lines are waited for, since every request
// of an application passes its sidecar. Gateway and partner may rightly have
// none: each is made to log a line of another kind now, and its log is read up
// to that line.
func (l *Lab) Witness(ctx context.Context, traces ...Trace) ([]observe.Witnessed, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeouts.Line, fmt.Errorf("%v went by", Timeouts.Line))
	defer cancel()
	group, waiting := errgroup.WithContext(ctx)
	for _, t := range traces {
		group.Go(func() error {
			return t.From.Log.WaitAfter(waiting, t.since[t.From], fmt.Sprintf("the line of the probe %s from %s", t.Token, t.Address), t.left)
		})
	}
	for _, g := range l.gateways() {
		group.Go(func() error { return l.flushGateway(waiting, g) })
	}
	group.Go(func() error { return l.FlushPartner(waiting) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	witnessed := make([]observe.Witnessed, len(traces))
	for i, t := range traces {
		w := observe.Witnessed{
			Sidecar: t.From.Log.MatchingAfter(t.since[t.From], t.left),
			Gateway: l.Gateway.Log.Matching(observe.Contains(t.Token)),
			Refused: l.Gateway.Log.MatchingAfter(t.since[l.Gateway], t.refused),
			Partner: l.Partner.Matching(observe.Contains(t.Token)),
		}
		if l.Second.Gateway != nil {
			w.SecondGateway = l.Second.Gateway.Log.Matching(observe.Contains(t.Token))
		}
		witnessed[i] = w
	}
	return witnessed, nil
}

func (l *Lab) gateways() []*observe.Proxy {
	if l.Second.Gateway == nil {
		return []*observe.Proxy{l.Gateway}
	}
	return []*observe.Proxy{l.Gateway, l.Second.Gateway}
}

// flushGateway opens a TLS connection to a gateway with a name that no filter
// chain has: the gateway refuses it, and its access log says so in a line with that name.
func (l *Lab) flushGateway(ctx context.Context, gateway *observe.Proxy) error {
	target, err := trafficPort(ctx, gateway)
	if err != nil || target == 0 { // without a listener nothing can be on its way into the log
		return err
	}
	name := probe.NewToken() + ".flush.invalid"
	// A port-forward ends with the first connection that fails, and this one
	// has to: each flush gets its own.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	port, err := l.Kube.Forward(ctx, gateway.Workload.Namespace, gateway.Pod, target)
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("reach the gateway's listener: %w", err)
	}
	defer conn.Close()
	// The handshake is refused, and the refusal takes a second to come back
	// through the port-forward; the log line is there at once.
	go func() {
		_ = tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true}).HandshakeContext(ctx)
	}()
	_, err = gateway.Log.Wait(ctx, "the line of a later connection, "+name, observe.Contains(name))
	return err
}

// partnerPlainPort is nginx's plaintext port (partner-nginx/nginx.conf).
const partnerPlainPort = "8080"

// FlushPartner makes the partner log a line and waits for it: all that it logged
// before is then read. It asks the plaintext port, through the API server.
func (l *Lab) FlushPartner(ctx context.Context) error {
	token := "flush-" + probe.NewToken()
	_, err := l.Kube.Typed.CoreV1().Pods(l.PartnerPod.Namespace).
		ProxyGet("http", l.PartnerPod.Name, partnerPlainPort, probe.Path(token), nil).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("reach the partner's plaintext port: %w", err)
	}
	_, err = l.Partner.Wait(ctx, "the line of a later request, "+token, observe.Contains(token))
	return err
}

// FlushIstiod makes istiod push to the gateway now, and returns once its log
// says so: what istiod wrote before is then in the log.
func (l *Lab) FlushIstiod(ctx context.Context) error {
	seen := l.Istiod.Len()
	if err := l.Barrier(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, Timeouts.Line, fmt.Errorf("%v went by", Timeouts.Line))
	defer cancel()
	return l.Istiod.WaitAfter(ctx, seen, "the line of a later push to "+l.Gateway.Pod, observe.Contains("PUSH for node:"+l.Gateway.Pod))
}
