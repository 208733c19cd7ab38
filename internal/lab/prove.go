package lab

import (
	"context"
	"fmt"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/probe"
)

// Prove shows that the lab is at its baseline: one call arrives with 200, both
// proxies logged it, and the partner verified the gateway's certificate. What
// it returns names the first of these that is not so.
func (l *Lab) Prove(ctx context.Context) error {
	if err := l.awaitCredential(ctx); err != nil {
		return err
	}
	token := probe.NewToken()
	reply, stderr, err := probe.Do(ctx, l.Kube, l.Subject, l.Sidecar.Pod, probe.Request{Token: token, Connect: l.PartnerIP})
	if err != nil {
		return fmt.Errorf("%w: %s", err, stderr)
	}
	if reply.HTTPCode != 200 {
		return fmt.Errorf("at baseline the call got %d: %.300s", reply.HTTPCode, reply.Body)
	}
	echo, err := envoy.ParsePartnerEcho(reply.Body)
	if err != nil {
		return err
	}
	if want := l.Credential.Serial(); echo.Verify != "SUCCESS" || echo.Serial != want {
		return fmt.Errorf("at baseline the partner says verify=%s serial=%s, and not SUCCESS and %s", echo.Verify, echo.Serial, want)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, Timeouts.Line, fmt.Errorf("%v went by", Timeouts.Line))
	defer cancel()
	for _, p := range []*observe.Proxy{l.Sidecar, l.Gateway} {
		if _, err := p.Log.Wait(ctx, "the line of the probe "+token, observe.Contains(token)); err != nil {
			return err
		}
	}
	return nil
}

// awaitCredential waits until the gateway holds the baseline's certificate: a
// restored Secret takes a moment to reach it.
func (l *Lab) awaitCredential(ctx context.Context) error {
	return l.AwaitSerial(ctx, l.Gateway, SDSName(l.Subject.Credential), l.Credential.Serial())
}

// EnvoyVersion asks the gateway's Envoy what it is.
func (l *Lab) EnvoyVersion(ctx context.Context) (string, error) {
	raw, err := l.Gateway.Admin(ctx, observe.ServerPath)
	if err != nil {
		return "", err
	}
	return envoy.ParseVersion(raw)
}
