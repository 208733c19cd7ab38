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

// Witness gathers the lines of the three logs that name a token. Call it when
// the request is over. The sidecar's line is waited for, since every request of
// the application passes it. Gateway and partner may rightly have none: each is
// made to log a line of another kind now, and its log is read up to that line.
func (l *Lab) Witness(ctx context.Context, token string) (observe.Witnessed, error) {
	all, err := l.WitnessAll(ctx, []string{token})
	if err != nil {
		return observe.Witnessed{}, err
	}
	return all[0], nil
}

// WitnessAll is Witness for several requests that are all over.
func (l *Lab) WitnessAll(ctx context.Context, tokens []string) ([]observe.Witnessed, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeouts.Line, fmt.Errorf("%v went by", Timeouts.Line))
	defer cancel()
	group, waiting := errgroup.WithContext(ctx)
	for _, token := range tokens {
		group.Go(func() error {
			_, err := l.Sidecar.Log.Wait(waiting, "the line of the probe "+token, observe.Contains(token))
			return err
		})
	}
	group.Go(func() error { return l.flushGateway(waiting) })
	group.Go(func() error { return l.flushPartner(waiting) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	witnessed := make([]observe.Witnessed, len(tokens))
	for i, token := range tokens {
		witnessed[i] = observe.Witnessed{
			Sidecar: l.Sidecar.Log.Matching(observe.Contains(token)),
			Gateway: l.Gateway.Log.Matching(observe.Contains(token)),
			Partner: l.Partner.Matching(observe.Contains(token)),
		}
	}
	return witnessed, nil
}

// flushGateway opens a TLS connection with a name that no filter chain has: the
// gateway refuses it, and its access log says so in a line with that name.
func (l *Lab) flushGateway(ctx context.Context) error {
	name := probe.NewToken() + ".flush.invalid"
	// A port-forward ends with the first connection that fails, and this one
	// has to: each flush gets its own.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	port, err := l.Kube.Forward(ctx, l.Subject.Gateway.Namespace, l.Gateway.Pod, l.Subject.GatewayPort)
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
	_, err = l.Gateway.Log.Wait(ctx, "the line of a later connection, "+name, observe.Contains(name))
	return err
}

// partnerPlainPort is nginx's plaintext port (partner-nginx/nginx.conf).
const partnerPlainPort = "8080"

// flushPartner asks the partner's plaintext port, through the API server.
func (l *Lab) flushPartner(ctx context.Context) error {
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
