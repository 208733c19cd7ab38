package lab

import (
	"context"
	"fmt"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/observe/live"
	"twohop/internal/probe"
	"twohop/internal/subject"
)

// Prove shows that the lab is at its baseline: one call arrives with 200, once,
// both proxies logged it once, and the partner verified the gateway's
// certificate. What it returns names the first of these that is not so.
func (l *Lab) Prove(ctx context.Context) error {
	if err := l.awaitCredential(ctx); err != nil {
		return err
	}
	r := probe.Request{Token: probe.NewToken(), Connect: l.Source.PartnerService()}
	q := observe.Requests{From: subject.Sidecar, Subject: l.subject(), Request: r, Flush: probe.NewToken()}
	a, err := l.Source.Begin(ctx, observe.Slot{}, q, observe.Meta{}).Answer(ctx)
	if err != nil {
		return err
	}
	reply, err := envoy.ParseCurl(a.Raw)
	if err != nil {
		return err
	}
	if reply.HTTPCode != 200 {
		return fmt.Errorf("at baseline the call got %d: %.300s", reply.HTTPCode, reply.Body)
	}
	echo, err := envoy.ParsePartnerEcho(reply.Body)
	if err != nil {
		return err
	}
	if want := l.Certificates.Credential.Serial(); echo.Verify != "SUCCESS" || echo.Serial != want {
		return fmt.Errorf("at baseline the partner says verify=%s serial=%s, and not SUCCESS and %s", echo.Verify, echo.Serial, want)
	}
	for _, role := range []subject.Role{subject.Sidecar, subject.Gateway, subject.Partner} {
		w, err := a.Window(role)
		if err != nil {
			return err
		}
		log, err := l.Source.Log(role)
		if err != nil {
			return err
		}
		if n := log.Count(w.From, live.Contains(r.Token)); n != 1 {
			return fmt.Errorf("at baseline the %s logs the call %d times, not once", role, n)
		}
	}
	return nil
}
