package rehearse

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"twohop/internal/envoy"
)

// Run rehearses a scene: each variation with each call, one after the other.
func Run(ctx context.Context, scene Scene) (*Outcome, error) {
	began := time.Now()
	s, err := Start(ctx, scene)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	o := &Outcome{Changes: s.Changes, Rejected: s.Rejected, Unknown: s.Unknown, Assumed: s.Assumed, Places: s.places, Ready: s.Ready}
	for _, v := range s.scene.Variations {
		for _, c := range scene.Calls {
			r, err := s.Call(ctx, c, v)
			if err != nil {
				return nil, err
			}
			o.Results = append(o.Results, r)
		}
	}
	o.Took = time.Since(began)
	return o, nil
}

// settle is how long a line of a connection that has ended may take to its proxy's log.
const settle = 500 * time.Millisecond

// Call sends one request in a variation and gathers what the witnesses say of it. It
// errs where they cannot be heard; a call that fails is a result.
func (s *Session) Call(ctx context.Context, c Call, v Variation) (Result, error) {
	if !slices.Contains(Variations(), v) {
		return Result{}, fmt.Errorf("%q is not a variation: use one of %v", v, Variations())
	}
	if v == GatewayAway {
		s.GatewaysAway()
	} else if slices.ContainsFunc(s.gateways, func(g *process) bool { return g.away }) {
		return Result{}, fmt.Errorf("variation %s comes after %s, and the gateways do not come back: put that one last", v, GatewayAway)
	}
	s.partner.become(v, s.scene.Partner.at(c.Port))
	s.tokens++
	r := Result{Call: c, Variation: v, Token: fmt.Sprintf("rehearsal-%d", s.tokens)}
	from := s.partner.mark()
	began := time.Now()
	s.send(ctx, &r)
	r.Took = time.Since(began)
	if err := ctx.Err(); err != nil {
		return r, err
	}
	for end := time.Now().Add(settle); ; {
		s.partner.idle(settle)
		if err := s.listen(ctx, &r); err != nil {
			return r, err
		}
		r.Partner, r.Handshakes = s.partner.since(from)
		if time.Now().After(end) || !slices.ContainsFunc(r.Partner, func(seen Seen) bool {
			return seen.At != AtElsewhere && !logged(r.Sidecar, seen.Peer) && !logged(r.Gateway, seen.Peer)
		}) {
			return r, nil
		}
	}
}

// listen reads on in the proxies' logs.
func (s *Session) listen(ctx context.Context, r *Result) error {
	for i, p := range s.processes() {
		lines, err := p.logged(ctx)
		if err != nil {
			return err
		}
		into := &r.Gateway
		if i == 0 {
			into = &r.Sidecar
		}
		for _, raw := range lines {
			l, err := readLine(p.name, raw)
			if err != nil {
				return err
			}
			// A listener's line repeats what a filter says, unless none came to a word.
			if l.By != "listener" || l.DownstreamTransportFailureReason != "" || len(l.ResponseFlags) > 0 && l.UpstreamCluster == "" && l.Path == "" {
				*into = append(*into, l)
			}
		}
	}
	return nil
}

func readLine(proxy string, raw []byte) (Logged, error) {
	l, err := envoy.ParseAccessLog(raw)
	if err != nil {
		return Logged{}, fmt.Errorf("%s: %w", proxy, err)
	}
	tree, err := decode(raw)
	if err != nil {
		return Logged{}, fmt.Errorf("%s: %w", proxy, err)
	}
	return Logged{Proxy: proxy, By: text(tree, "log"), Raw: raw, AccessLog: l}, nil
}

// anywhere is what a host resolves to where it does not matter (RFC 5737). Nothing ever
// connects to it.
const anywhere = "192.0.2.1"

// send makes the request, as an application would whose connections iptables redirects:
// the PROXY protocol's header says where it was going.
func (s *Session) send(ctx context.Context, r *Result) {
	ctx, cancel := context.WithTimeout(ctx, s.scene.Timeout)
	defer cancel()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.pki.partner.ServerCA.CertPEM)
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: r.Call.Host, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			header, err := proxyHeader(cmp.Or(s.scene.Sidecar.IP, loopback), cmp.Or(r.Call.Address, anywhere), r.Call.Port)
			if err != nil {
				return nil, err
			}
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", hostPort(loopback, s.entrance))
			if err != nil {
				return nil, err
			}
			if _, err := io.WriteString(conn, header); err != nil {
				_ = conn.Close()
				return nil, err
			}
			return conn, nil
		},
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Call.url(r.Token), nil)
	if err != nil {
		r.Error = err.Error()
		return
	}
	request.Header = r.Call.Header.Clone()
	if request.Header == nil {
		request.Header = http.Header{}
	}
	request.Header.Set("user-agent", "twohop-rehearsal")
	response, err := transport.RoundTrip(request)
	if err != nil {
		r.Error = clientError(err)
		return
	}
	defer response.Body.Close()
	r.Status = response.StatusCode
	r.Body, err = io.ReadAll(io.LimitReader(response.Body, 1024))
	if err != nil {
		r.Error = clientError(err)
	}
}

func (c Call) url(token string) string {
	u := url.URL{Scheme: "http", Host: c.Host, Path: strings.TrimSuffix(c.Path, "/") + "/" + token}
	standard := 80
	if c.TLS {
		u.Scheme, standard = "https", 443
	}
	if c.Port != standard {
		u.Host = hostPort(c.Host, c.Port)
	}
	return u.String()
}

func clientError(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no response in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection ended without a response"
	case errors.Is(err, syscall.ECONNRESET):
		return "the connection was reset"
	}
	return err.Error()
}

// proxyHeader is version 1 of the PROXY protocol.
func proxyHeader(from, to string, port int) (string, error) {
	destination, err := netip.ParseAddr(to)
	if err != nil {
		return "", fmt.Errorf("the call's address: %w", err)
	}
	source, err := netip.ParseAddr(from)
	if err != nil {
		return "", fmt.Errorf("the sidecar's IP: %w", err)
	}
	family := "TCP4"
	if !destination.Is4() {
		family = "TCP6"
		if source.Is4() {
			source = netip.IPv6Loopback()
		}
	} else if !source.Is4() {
		source = netip.MustParseAddr(loopback)
	}
	const anyPort = 40000
	return fmt.Sprintf("PROXY %s %s %s %d %d\r\n", family, source, destination, anyPort, port), nil
}
