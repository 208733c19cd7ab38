package trial

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/onsi/gomega/types"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/probe"
	"twohop/internal/verdict"
)

// Call is one request and what every witness wrote about it, joined by its
// token. The lists are complete: each log was read up to a line that was caused
// after the call had ended, so an empty list is an absence and not a delay.
type Call struct {
	probe.Reply
	Token string
	// From is the sidecar that the call left through.
	From *observe.Proxy
	// Sidecar and Gateway are the proxies' access log lines, SecondGateway those
	// of a second gateway.
	Sidecar, Gateway, SecondGateway []envoy.AccessLog
	// Refused are the gateway's lines about connections of the caller's pod,
	// during the call, that never came to a request.
	Refused []envoy.AccessLog
	Partner []envoy.PartnerLog
	// PartnerErrors are the lines of nginx's error log that name the token.
	PartnerErrors []envoy.NginxError

	t        *T
	evidence struct{ curl, sidecar, gateway, second, refused, partner string }
}

// CallOption changes the request.
type CallOption func(*probe.Request)

// With adds arguments for curl.
func With(args ...string) CallOption {
	return func(r *probe.Request) { r.Args = append(r.Args, args...) }
}

// Call makes the application's request and gathers the witnesses.
func (t *T) Call(ctx context.Context, options ...CallOption) (*Call, error) {
	return t.CallFrom(ctx, t.Sidecar, options...)
}

// CallFrom is Call from another application's pod, such as t.Second.Sidecar's.
func (t *T) CallFrom(ctx context.Context, from *observe.Proxy, options ...CallOption) (*Call, error) {
	r := probe.Request{Token: probe.NewToken(), Connect: t.PartnerIP}
	for _, o := range options {
		o(&r)
	}
	caller := t.Subject
	caller.Client = from.Workload
	trace := t.Begin(r.Token, from)
	reply, stderr, err := probe.Do(ctx, t.Kube, caller, from.Pod, r)
	c := &Call{Reply: reply, Token: r.Token, From: from, t: t}
	t.Step("the application calls the partner", reply.Command)
	var saveErr error
	if c.evidence.curl, saveErr = t.Save("curl.txt", verdict.KindCurl, verdict.WitnessClient, reply.Command, reply.Raw); saveErr != nil {
		return nil, saveErr
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, stderr)
	}
	trace.Address = net.JoinHostPort(reply.LocalIP, strconv.Itoa(reply.LocalPort))
	witnessed, err := t.Witness(ctx, trace)
	if err != nil {
		return nil, err
	}
	if err := keep([]*Call{c}, witnessed); err != nil {
		return nil, err
	}
	return c, nil
}

// keep saves what the witnesses wrote about calls that were made together, one
// file for each witness, and then parses it. The calls are from one pod.
func keep(calls []*Call, witnessed []observe.Witnessed) (err error) {
	t, tokens := calls[0].t, make([]string, len(calls))
	var all observe.Witnessed
	var access, errors [][]byte
	for i, w := range witnessed {
		tokens[i] = calls[i].Token
		all.Sidecar, all.Gateway = append(all.Sidecar, w.Sidecar...), append(all.Gateway, w.Gateway...)
		all.SecondGateway = append(all.SecondGateway, w.SecondGateway...)
		all.Refused = w.Refused // of the pod, so the last holds those before
		for _, line := range w.Partner {
			if envoy.IsPartnerLog(line) {
				access = append(access, line)
			} else {
				errors = append(errors, line)
			}
		}
	}
	save := func(name, kind, witness string, log *observe.Log, lines [][]byte, texts []string) string {
		if err != nil {
			return ""
		}
		command := fmt.Sprintf("%s | grep -E '%s'", log.Command, strings.Join(texts, "|"))
		if len(texts) == 1 {
			command = fmt.Sprintf("%s | grep %s", log.Command, texts[0])
		}
		var path string
		path, err = t.Save(name, kind, witness, command, join(lines))
		return path
	}
	from, left := calls[0].From, tokens
	if only := calls[0]; len(calls) == 1 && only.LocalPort != 0 { // a line of mere TCP has no token
		left = append(left[:1:1], fmt.Sprintf("%s:%d", only.LocalIP, only.LocalPort))
	}
	evidence := calls[0].evidence
	evidence.sidecar = save(verdict.WitnessSidecar+".log", verdict.KindAccessLog, verdict.WitnessSidecar, from.Log, all.Sidecar, left)
	evidence.gateway = save(verdict.WitnessGateway+".log", verdict.KindAccessLog, verdict.WitnessGateway, t.Gateway.Log, all.Gateway, tokens)
	if t.Second.Gateway != nil {
		evidence.second = save("second-gateway.log", verdict.KindAccessLog, verdict.WitnessGateway, t.Second.Gateway.Log, all.SecondGateway, tokens)
	}
	if len(all.Refused) > 0 {
		evidence.refused = save("gateway-refused.log", verdict.KindAccessLog, verdict.WitnessGateway, t.Gateway.Log, all.Refused, []string{from.IP + ":"})
	}
	evidence.partner = save(verdict.WitnessPartner+".log", verdict.KindPartnerLog, verdict.WitnessPartner, t.Partner, access, tokens)
	if len(errors) > 0 {
		save("partner-errors.txt", verdict.KindText, verdict.WitnessPartner, t.Partner, errors, tokens)
	}
	if err != nil {
		return err
	}
	for i, c := range calls {
		c.evidence = evidence
		if err := c.read(witnessed[i]); err != nil {
			return err
		}
	}
	return nil
}

// read parses the lines about one call.
func (c *Call) read(w observe.Witnessed) error {
	for _, proxy := range []struct {
		witness string
		lines   [][]byte
		into    *[]envoy.AccessLog
	}{
		{verdict.WitnessSidecar, w.Sidecar, &c.Sidecar}, {verdict.WitnessGateway, w.Gateway, &c.Gateway},
		{"second gateway", w.SecondGateway, &c.SecondGateway}, {verdict.WitnessGateway, w.Refused, &c.Refused},
	} {
		for _, line := range proxy.lines {
			entry, err := envoy.ParseAccessLog(line)
			if err != nil {
				return fmt.Errorf("%s's log: %w", proxy.witness, err)
			}
			*proxy.into = append(*proxy.into, entry)
		}
	}
	for _, line := range w.Partner {
		if !envoy.IsPartnerLog(line) {
			entry, err := envoy.ParseNginxError(line)
			if err != nil {
				return err
			}
			c.PartnerErrors = append(c.PartnerErrors, entry)
			continue
		}
		entry, err := envoy.ParsePartnerLog(line)
		if err != nil {
			return err
		}
		c.Partner = append(c.Partner, entry)
	}
	return nil
}

// Fact states a fact about the call; the evidence is all that was kept of it.
func (c *Call) Fact(name string, seen any, want types.GomegaMatcher) bool {
	paths := []string{c.evidence.curl, c.evidence.sidecar, c.evidence.gateway, c.evidence.partner}
	for _, more := range []string{c.evidence.second, c.evidence.refused} {
		if more != "" {
			paths = append(paths, more)
		}
	}
	return c.t.Fact(name, seen, want, paths...)
}

// Status states what curl saw; 0 is "no answer".
func (c *Call) Status(want types.GomegaMatcher) bool {
	return c.Fact("curl: HTTP status", c.HTTPCode, want)
}

// Left is the sidecar's line. There is always one: the lists are complete, and
// a call without it did not go through the sidecar at all.
func (c *Call) Left() envoy.AccessLog { return first(c.Sidecar) }

// Through is the gateway's line, zero if the gateway never saw the call.
func (c *Call) Through() envoy.AccessLog { return first(c.Gateway) }

// Turned is the gateway's last line about a connection of the caller's that
// never came to a request, zero if there was none.
func (c *Call) Turned() (last envoy.AccessLog) {
	for _, last = range c.Refused {
	}
	return last
}

// Arrived is the partner's line, zero if the partner never saw the call.
func (c *Call) Arrived() envoy.PartnerLog { return first(c.Partner) }

// PartnerSaid joins the messages of the partner's error log about the call.
func (c *Call) PartnerSaid() string {
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
	host, _, _ := strings.Cut(address, ":")
	return host
}

func first[E any](list []E) (zero E) {
	if len(list) == 0 {
		return zero
	}
	return list[0]
}

func join(lines [][]byte) []byte {
	if len(lines) == 0 {
		return nil
	}
	return append(bytes.Join(lines, []byte("\n")), '\n')
}
