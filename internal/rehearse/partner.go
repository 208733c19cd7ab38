package rehearse

import (
	"bufio"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"twohop/internal/channel"
	"twohop/internal/envoy"
)

// patience is how long a connection to the partner may stay silent.
const patience = 5 * time.Second

// server is the partner. It answers one request on each connection, so that the next
// call meets the partner as it is then.
type server struct {
	hosts []string
	lax   bool
	pki   *pki
	ports map[Place]int
	done  context.CancelFunc

	mutex     sync.Mutex
	variation Variation
	direct    Place // what the port is that the application calls itself
	accepted  uint64
	open      map[net.Conn]bool
	seen      []Seen
	hands     []Handshake

	listeners []net.Listener
	running   sync.WaitGroup
}

// serve starts the partner, with a port for each place.
func serve(hosts []string, lax bool, p *pki) (*server, error) {
	ctx, done := context.WithCancel(context.Background())
	s := &server{hosts: hosts, lax: lax, pki: p, ports: map[Place]int{}, done: done, variation: Plain, open: map[net.Conn]bool{}}
	for _, place := range []Place{AtTLS, AtPlain, AtDirect, AtElsewhere} {
		l, err := net.Listen("tcp", hostPort(loopback, 0))
		if err != nil {
			s.close()
			return nil, err
		}
		s.ports[place] = portOf(l.Addr())
		s.listeners = append(s.listeners, l)
		s.running.Go(func() { s.accept(ctx, l, place) })
	}
	return s, nil
}

func (s *server) close() {
	s.done()
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.mutex.Lock()
	for c := range s.open {
		_ = c.Close()
	}
	s.mutex.Unlock()
	s.running.Wait()
}

// become switches the partner to a variation, and says how it treats connections that
// the application makes itself. Connections that it had with the variation before end.
func (s *server) become(v Variation, direct Place) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.variation, s.direct = v, direct
	for c := range s.open {
		_ = c.Close()
	}
}

// mark is a position in what the partner has seen.
type mark struct{ seen, hands int }

func (s *server) mark() mark {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return mark{len(s.seen), len(s.hands)}
}

func (s *server) since(m mark) ([]Seen, []Handshake) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.seen[m.seen:]), slices.Clone(s.hands[m.hands:])
}

// idle waits until no connection is open, which tells that all is in the lists.
func (s *server) idle(within time.Duration) {
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s.mutex.Lock()
		n := len(s.open)
		s.mutex.Unlock()
		if n == 0 {
			return
		}
	}
}

func (s *server) accept(ctx context.Context, l net.Listener, place Place) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.mutex.Lock()
		s.accepted++
		s.open[conn] = true
		c := &connection{server: s, Conn: conn, number: s.accepted, at: place, variation: s.variation, direct: s.direct}
		s.mutex.Unlock()
		s.running.Go(func() {
			defer func() {
				_ = conn.Close()
				s.mutex.Lock()
				delete(s.open, conn)
				s.mutex.Unlock()
			}()
			_ = conn.SetDeadline(time.Now().Add(patience))
			c.serve(ctx)
		})
	}
}

// connection is one to the partner.
type connection struct {
	server *server
	net.Conn
	number    uint64
	at        Place
	variation Variation
	direct    Place
}

func (c *connection) serve(ctx context.Context) {
	hand := Handshake{At: c.at, Peer: c.RemoteAddr().String()}
	if c.at == AtDirect && c.direct == "" {
		hand.Error = "the partner has nothing on that port"
		c.shake(hand)
		return
	}
	in := bufio.NewReader(c.Conn)
	first, err := in.Peek(1)
	if err != nil {
		hand.Error = "it sent nothing: " + reason(err)
		c.shake(hand)
		return
	}
	const handshakeRecord = 22 // RFC 8446, 5.1
	hand.TLS = first[0] == handshakeRecord
	wantsTLS := c.at == AtTLS || c.at == AtDirect && c.direct != AtPlain || c.at == AtElsewhere && hand.TLS
	if !hand.TLS || !wantsTLS {
		if hand.TLS {
			hand.Error = "TLS to a port for plaintext"
		}
		c.shake(hand)
		if hand.TLS {
			_, _ = io.WriteString(c.Conn, page(http.StatusBadRequest, "", ""))
			return
		}
		c.request(c.Conn, in, nil, wantsTLS)
		return
	}
	var hello *tls.ClientHelloInfo
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		// As nginx without HTTP/2: a client that offers none of these is turned away.
		NextProtos: []string{"http/1.1", "http/1.0", "http/0.9"},
		// It is looked at after the handshake, as nginx does: the answer is then a 400.
		ClientAuth: tls.RequestClientCert, ClientCAs: c.trusted(),
		// A session that is resumed shows no certificates.
		SessionTicketsDisabled: true,
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			hello = h
			certificate := c.certificate(h.ServerName)
			return &certificate, nil
		},
	}
	if c.server.lax {
		config.ClientAuth = tls.NoClientCert
	}
	secure := tls.Server(buffered{c.Conn, in}, config)
	err = secure.HandshakeContext(ctx)
	if hello != nil {
		hand.SNI, hand.ALPN = hello.ServerName, hello.SupportedProtos
	}
	state := secure.ConnectionState()
	if len(state.PeerCertificates) > 0 {
		d := describe(state.PeerCertificates[0])
		hand.DN, hand.Serial, hand.Fingerprint = d.dn, d.serial, d.fingerprint
	}
	if err != nil {
		hand.Error = reason(err)
		c.shake(hand)
		return
	}
	c.shake(hand)
	c.request(secure, bufio.NewReader(secure), &state, true)
	_ = secure.Close()
}

// certificate is what the partner shows for a server name.
func (c *connection) certificate(name string) tls.Certificate {
	if c.at == AtElsewhere {
		return c.server.pki.fallback
	}
	if certificate, ok := c.server.pki.servers[c.variation]; ok && c.variation != Plain {
		return certificate
	}
	if slices.ContainsFunc(c.server.hosts, func(h string) bool { return name != "" && channel.Covers(h, name) }) {
		return c.server.pki.servers[Plain]
	}
	return c.server.pki.fallback
}

func (c *connection) trusted() *x509.CertPool {
	if pool, ok := c.server.pki.clients[c.variation]; ok {
		return pool
	}
	return c.server.pki.clients[Plain]
}

// request answers the one request of a connection and notes it.
func (c *connection) request(out io.Writer, in *bufio.Reader, state *tls.ConnectionState, wantsTLS bool) {
	r, err := http.ReadRequest(in)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			_, _ = io.WriteString(out, page(http.StatusBadRequest, "", ""))
		}
		return
	}
	line := newLine(c, r, state)
	var answer string
	switch {
	case wantsTLS && state == nil:
		line.status = http.StatusBadRequest
		answer = page(line.status, "The plain HTTP request was sent to HTTPS port", "The plain HTTP request was sent to HTTPS port")
	case state != nil && c.server.lax:
		line.verify = "NONE"
	case state != nil && len(state.PeerCertificates) == 0:
		line.status, line.verify = http.StatusBadRequest, "NONE"
		answer = page(line.status, "No required SSL certificate was sent", "No required SSL certificate was sent")
	case state != nil:
		line.verify = verify(state.PeerCertificates, c.trusted())
		if line.verify != verified {
			line.status = http.StatusBadRequest
			answer = page(line.status, "The SSL certificate error", "The SSL certificate error")
		}
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20))
	if answer == "" {
		body := line.json(false) + "\n"
		answer = fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", serverName, len(body))
		if r.Method != http.MethodHead {
			answer += body
		}
	}
	// It is noted before the answer leaves: who has the answer finds it in the list.
	c.note(line)
	_, _ = io.WriteString(out, answer)
}

func (c *connection) shake(h Handshake) {
	c.server.mutex.Lock()
	defer c.server.mutex.Unlock()
	c.server.hands = append(c.server.hands, h)
}

func (c *connection) note(l line) {
	raw := []byte(l.json(true))
	parsed, err := envoy.ParsePartnerLog(raw)
	if err != nil { // a request line that says nothing
		parsed = envoy.PartnerLog{Status: uint64(l.status), URI: l.uri, SNI: l.sni, TLS: l.tls, Verify: l.verify}
	}
	c.server.mutex.Lock()
	defer c.server.mutex.Unlock()
	c.server.seen = append(c.server.seen, Seen{At: c.at, Peer: c.RemoteAddr().String(), Raw: raw, PartnerLog: parsed})
}

// buffered is a connection of which some bytes have been looked at.
type buffered struct {
	net.Conn
	in *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.in.Read(p) }

const verified = "SUCCESS"

// verify is nginx's $ssl_client_verify: OpenSSL's words for what Go finds.
func verify(chain []*x509.Certificate, trusted *x509.CertPool) string {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: trusted, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return verified
	case errors.As(err, &unknown):
		return "FAILED:unable to verify the first certificate"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "FAILED:certificate has expired"
	}
	return "FAILED:" + err.Error()
}

type description struct{ dn, issuer, serial, fingerprint string }

func describe(c *x509.Certificate) description {
	return description{c.Subject.String(), c.Issuer.String(), hexSerial(c), fmt.Sprintf("%x", sha1.Sum(c.Raw))}
}

// hexSerial spells a serial number as nginx does: upper-case, whole bytes.
func hexSerial(c *x509.Certificate) string { return fmt.Sprintf("%X", c.SerialNumber.Bytes()) }

func reason(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return "the client hung up"
	case errors.Is(err, net.ErrClosed):
		return "the partner hung up"
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "the client fell silent"
	}
	return err.Error()
}
