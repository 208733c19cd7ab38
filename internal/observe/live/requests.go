package live

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	"twohop/internal/probe"
	"twohop/internal/subject"
)

// requests makes them in the background.
func (s *Source) requests(ctx context.Context, q observe.Requests) observe.Pending {
	r := &requests{source: s, q: q, started: time.Now(), since: map[subject.Role]mark{}, done: make(chan struct{})}
	for _, role := range []subject.Role{q.From, subject.Gateway, subject.SecondGateway, subject.Partner} {
		if p := s.find(role); p != nil {
			r.since[role] = mark{p, p.log.Len()}
		}
	}
	go func() {
		defer close(r.done)
		r.raw, r.err = s.curl(ctx, q)
		r.took = time.Since(r.started)
	}()
	return r
}

// requests are under way, or over.
type requests struct {
	source  *Source
	q       observe.Requests
	started time.Time
	since   map[subject.Role]mark
	done    chan struct{}
	raw     []byte
	err     error
	took    time.Duration
}

// mark is where a log stood.
type mark struct {
	pod *pod
	at  int
}

// curl runs the requests in the caller's application container. What it printed
// is returned even where it says nothing of use: then there is an error as well.
func (s *Source) curl(ctx context.Context, q observe.Requests) ([]byte, error) {
	p, err := s.role(q.From)
	if err != nil {
		return nil, err
	}
	command := probe.Arguments(q.Subject, q.Request)
	if q.Stoppable || q.Held {
		command = probe.Stoppable(q.Request, command)
	}
	out, stderr, execErr := s.Kube.Run(ctx, p.Namespace, p.Name, q.Subject.Client.Container, command...)
	if q.Held {
		return out, nil // it is killed; its end is seen by who asks for it
	}
	// curl's own report is believed, and not the status of exec, which gets lost
	// on bad days.
	if _, err := parseCurl(q, out); err != nil {
		if execErr != nil {
			err = fmt.Errorf("%w (%w)", err, execErr)
		}
		return out, fmt.Errorf("the probe %s brought no report of curl's: %w: %s", q.Request.Token, err, stderr)
	}
	return out, nil
}

func parseCurl(q observe.Requests, raw []byte) ([]envoy.CurlResult, error) {
	if q.Stoppable {
		return envoy.ParseCurlStopped(raw)
	}
	return envoy.ParseCurlMany(raw)
}

// Answer waits for the requests' end and gathers what the logs say of them.
func (r *requests) Answer(ctx context.Context) (observe.Answer, error) {
	select {
	case <-r.done:
	case <-ctx.Done():
		return observe.Answer{}, fmt.Errorf("wait for the end of the requests from %s on: %w", r.q.Request.Token, context.Cause(ctx))
	}
	a := observe.Answer{Raw: r.raw, Took: r.took}
	if r.err != nil || r.q.Held {
		return a, r.err
	}
	replies, err := parseCurl(r.q, r.raw)
	if err != nil {
		return a, err
	}
	if n := 1 + len(r.q.Request.More); len(replies) > n {
		return a, fmt.Errorf("curl reports %d requests, and %d were asked for", len(replies), n)
	}
	a.Windows, err = r.witness(ctx, replies)
	return a, err
}

// witness reads the logs. The sidecar's lines are waited for, since every request
// of an application passes its sidecar. Gateway and partner may rightly have
// none: each is made to log a line of another kind now, and its log is read up to
// that line.
func (r *requests) witness(ctx context.Context, replies []envoy.CurlResult) ([]observe.Window, error) {
	ctx, cancel := within(ctx, r.source.Limits.Line)
	defer cancel()
	group, waiting := errgroup.WithContext(ctx)
	from := r.since[r.q.From]
	tokens := append([]string{r.q.Request.Token}, r.q.Request.More...)[:len(replies)]
	for i, token := range tokens {
		group.Go(func() error {
			address := ""
			if len(replies) == 1 && replies[i].LocalPort != 0 { // a line of mere TCP has no path, and so no token
				address = net.JoinHostPort(replies[i].LocalIP, strconv.Itoa(replies[i].LocalPort))
			}
			_, err := from.pod.log.Wait(waiting, from.at, fmt.Sprintf("the line of the probe %s from %s", token, address), func(line []byte) bool {
				return observe.OfCall(line, token, address)
			})
			return err
		})
	}
	windows := make([]observe.Window, 4)
	for i, role := range []subject.Role{subject.Gateway, subject.SecondGateway, subject.Partner} {
		m, ok := r.since[role]
		if !ok {
			continue
		}
		group.Go(func() (err error) {
			if role == subject.Partner {
				windows[i], err = r.source.flushPartner(waiting, m, r.q.Flush)
			} else {
				windows[i], err = r.source.flushGateway(waiting, m, r.q.Flush)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	windows[3] = observe.Window{Role: r.q.From, Log: from.pod.Log, From: from.at, To: from.pod.log.Len()}
	return slices.DeleteFunc(windows, func(w observe.Window) bool { return w.Log == "" }), nil
}

// flushGateway opens a TLS connection to a gateway with a name that no filter
// chain has: the gateway refuses it, and its access log says so in a line with
// that name. Without a listener nothing can be on its way into the log.
func (s *Source) flushGateway(ctx context.Context, m mark, token string) (observe.Window, error) {
	w := observe.Window{Role: m.pod.Role, Log: m.pod.Log, From: m.at}
	target, err := trafficPort(ctx, m.pod.admin)
	if err == errNoListener {
		w.To = m.pod.log.Len()
		return w, nil
	}
	if err != nil {
		return w, err
	}
	name := token + ".flush.invalid"
	// A port-forward ends with the first connection that fails, and this one
	// has to: each flush gets its own.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	port, err := s.Kube.Forward(ctx, m.pod.Namespace, m.pod.Name, target)
	if err != nil {
		return w, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return w, fmt.Errorf("reach the gateway's listener: %w", err)
	}
	defer conn.Close()
	// The handshake is refused, and the refusal takes a second to come back
	// through the port-forward; the log line is there at once.
	go func() {
		_ = tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true}).HandshakeContext(ctx)
	}()
	return endsWith(ctx, w, m.pod.log, name)
}

// endsWith waits for a window's last line.
func endsWith(ctx context.Context, w observe.Window, log *Log, text string) (observe.Window, error) {
	n, err := log.Wait(ctx, w.From, "a later line with "+text, Contains(text))
	w.To, w.Flush = n+1, text
	return w, err
}

// probePorts are those of every gateway's own health and statistics (Istio's
// bootstrap template); nothing that is asked of them is logged.
var probePorts = []int{15021, 15090}

// trafficPort is a port on which a gateway takes traffic now.
func trafficPort(ctx context.Context, gateway *admin) (int, error) {
	raw, err := gateway.get(ctx, "/listeners?format=json")
	if err != nil {
		return 0, err
	}
	ports, err := envoy.ParseListenerPorts(raw)
	if err != nil {
		return 0, err
	}
	for _, port := range ports {
		if !slices.Contains(probePorts, port) {
			return port, nil
		}
	}
	return 0, errNoListener
}

// partnerPlainPort is nginx's plaintext port (partner-nginx/nginx.conf).
const partnerPlainPort = 8080

// flushPartner asks the partner's plaintext port, through the API server.
func (s *Source) flushPartner(ctx context.Context, m mark, token string) (observe.Window, error) {
	w := observe.Window{Role: m.pod.Role, Log: m.pod.Log, From: m.at}
	token = "flush-" + token
	if _, err := s.Kube.PodGet(ctx, m.pod.Namespace, m.pod.Name, partnerPlainPort, probe.Path(token)); err != nil {
		return w, fmt.Errorf("reach the partner's plaintext port: %w", err)
	}
	return endsWith(ctx, w, m.pod.log, token)
}

// flushIstiod makes istiod push to the gateway now; its log says so in a line. Lines
// about earlier pushes may still be on their way, so the push is told by its version.
func (s *Source) flushIstiod(ctx context.Context, m mark, since int) (observe.Window, error) {
	w := observe.Window{Role: m.pod.Role, Log: m.pod.Log, From: m.at}
	gateway, err := s.role(subject.Gateway)
	if err != nil {
		return w, err
	}
	version, err := s.Push(ctx)
	if err != nil {
		return w, err
	}
	begun, err := m.pod.log.Wait(ctx, m.at, "a later line about push "+version, Contains("Version:"+version))
	if err != nil {
		return w, err
	}
	w.From = begun
	if w, err = endsWith(ctx, w, m.pod.log, "PUSH for node:"+gateway.Name); err != nil {
		return w, err
	}
	if w.From = m.at; since <= w.To {
		w.From = since
	}
	return w, nil
}

func (s *Source) flush(ctx context.Context, q observe.Flush) (a observe.Answer, err error) {
	p, err := s.role(q.Role)
	if err != nil {
		return a, err
	}
	limit := s.Limits.Line
	if q.Role == subject.Istiod {
		limit += s.Limits.Push
	}
	ctx, cancel := within(ctx, limit)
	defer cancel()
	m := mark{p, p.log.Len()}
	if q.Role != subject.Istiod {
		m.at = min(q.Since, m.at)
	}
	var w observe.Window
	switch q.Role {
	case subject.Partner:
		w, err = s.flushPartner(ctx, m, q.Token)
	case subject.Istiod:
		w, err = s.flushIstiod(ctx, m, q.Since)
	default:
		w, err = s.flushGateway(ctx, m, q.Token)
	}
	a.Windows = []observe.Window{w}
	return a, err
}

// Flush makes a role's log get a later line and waits for it: what was logged
// before is then read.
func (s *Source) Flush(ctx context.Context, role subject.Role) error {
	_, err := s.flush(ctx, observe.Flush{Role: role, Token: probe.NewToken()})
	return err
}

func (s *Source) line(ctx context.Context, q observe.Line) (a observe.Answer, err error) {
	p, err := s.role(q.Role)
	if err != nil {
		return a, err
	}
	limit := q.Limit
	if limit == 0 {
		limit = s.Limits.Line
	}
	ctx, cancel := within(ctx, limit)
	defer cancel()
	n, err := p.log.Wait(ctx, q.Since, q.What, Contains(q.Holds...))
	a.Windows = []observe.Window{{Role: q.Role, Log: p.Log, From: q.Since, To: n + 1, Flush: q.Holds[0]}}
	return a, err
}

// stop ends requests that are under way. That they have ended by themselves is
// an error: then there were too few of them for what was waited for.
func (s *Source) stop(ctx context.Context, q observe.Stop) error {
	p, err := s.role(q.From)
	if err != nil {
		return err
	}
	container := "app" // of the fixtures' applications
	if _, _, err := s.Kube.Run(ctx, p.Namespace, p.Name, container, probe.StopCommand(q.Token)...); err != nil {
		return fmt.Errorf("stop the requests from %s on: %w", q.Token, err)
	}
	return nil
}
