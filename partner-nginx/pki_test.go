package partnernginx

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"regexp"
	"slices"
	"testing"
	"time"

	"twohop/internal/envoy"
)

func onlyCertificate(t *testing.T, raw []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		t.Fatalf("not one PEM certificate: %q", raw)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func newPKI(t *testing.T) *PKI {
	t.Helper()
	p, err := NewPKI()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// trusts reports whether a CA alone vouches for a certificate in a role.
func trusts(ca *CA, cert *x509.Certificate, host string, use x509.ExtKeyUsage) error {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca.CertPEM) {
		return errors.New("the CA's PEM holds no certificate")
	}
	_, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{use}})
	return err
}

func TestChains(t *testing.T) {
	p := newPKI(t)
	client, err := p.ClientCA.Issue("egress-client")
	if err != nil {
		t.Fatal(err)
	}
	if got := client.Cert.Subject.String(); got != ClientDN {
		t.Errorf("the subject is %q; nginx would print that and not %q", got, ClientDN)
	}
	server, err := p.ServerCA.Issue("api.partner.example.com", DNS("api.partner.example.com"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		ca   *CA
		cert *x509.Certificate
		host string
		use  x509.ExtKeyUsage
		ok   bool
	}{
		{"the client CA vouches for the client", p.ClientCA, client.Cert, "", x509.ExtKeyUsageClientAuth, true},
		{"the server CA does not", p.ServerCA, client.Cert, "", x509.ExtKeyUsageClientAuth, false},
		{"nor does the stranger", p.Stranger, client.Cert, "", x509.ExtKeyUsageClientAuth, false},
		{"the server CA vouches for the server", p.ServerCA, server.Cert, "api.partner.example.com", x509.ExtKeyUsageServerAuth, true},
		{"under its own name only", p.ServerCA, server.Cert, "other.partner.example.com", x509.ExtKeyUsageServerAuth, false},
		{"the client CA does not", p.ClientCA, server.Cert, "api.partner.example.com", x509.ExtKeyUsageServerAuth, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := trusts(tt.ca, tt.cert, tt.host, tt.use); (err == nil) != tt.ok {
				t.Errorf("verified: %v (%v), want %v", err == nil, err, tt.ok)
			}
		})
	}
	for _, pair := range []*Pair{client, server} {
		if _, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM); err != nil {
			t.Errorf("%s: %v", pair.Cert.Subject, err)
		}
		if !onlyCertificate(t, pair.CertPEM).Equal(pair.Cert) {
			t.Errorf("%s: the PEM is of another certificate", pair.Cert.Subject)
		}
		if life := time.Until(pair.Cert.NotAfter); life > Lifetime || life < Lifetime-time.Hour {
			t.Errorf("%s lives for %v", pair.Cert.Subject, life)
		}
	}
}

func TestValidFor(t *testing.T) {
	p := newPKI(t)
	for _, tt := range []struct {
		life    time.Duration
		expired bool
	}{{-time.Minute, true}, {time.Minute, false}} {
		before := time.Now().Truncate(time.Second)
		pair, err := p.ClientCA.Issue("short-lived", ValidFor(tt.life))
		if err != nil {
			t.Fatal(err)
		}
		if end := pair.Cert.NotAfter; end.Before(before.Add(tt.life)) || end.After(time.Now().Add(tt.life)) {
			t.Errorf("%v: it expires at %v, made at %v", tt.life, end, before)
		}
		var invalid x509.CertificateInvalidError
		err = trusts(p.ClientCA, pair.Cert, "", x509.ExtKeyUsageClientAuth)
		if expired := errors.As(err, &invalid) && invalid.Reason == x509.Expired; expired != tt.expired || !expired && err != nil {
			t.Errorf("%v: %v", tt.life, err)
		}
	}
}

// A serial is compared with what Envoy and nginx print, each in its own way.
func TestSerialIsSpeltAsTheWitnessesAreRead(t *testing.T) {
	pair := &Pair{Cert: &x509.Certificate{SerialNumber: big.NewInt(0x0a9f)}}
	if got := pair.Serial(); got != "a9f" {
		t.Errorf("%q, want a9f", got)
	}
	for _, printed := range []string{"0A9F", "0a9f", "A9F"} { // nginx, Envoy, openssl
		if got, err := envoy.NormalizeSerial(printed); err != nil || got != pair.Serial() {
			t.Errorf("%q is read as %q (%v), and not as %q", printed, got, err, pair.Serial())
		}
	}
	seen := map[string]bool{}
	p := newPKI(t)
	for range 20 {
		pair, err := p.ClientCA.Issue("egress-client")
		if err != nil {
			t.Fatal(err)
		}
		s := pair.Serial()
		if read, err := envoy.NormalizeSerial(s); err != nil || seen[s] || len(s) < 20 || s != read {
			t.Errorf("serial %q: seen before, too short or not as the witnesses are read (%q, %v)", s, read, err)
		}
		seen[s] = true
	}
}

func TestRevoke(t *testing.T) {
	p := newPKI(t)
	bad, err := p.ServerCA.Issue("bad", DNS("bad"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		revoked []*x509.Certificate
	}{{"one", []*x509.Certificate{bad.Cert}}, {"none", nil}} {
		t.Run(tt.name, func(t *testing.T) {
			raw, err := p.ServerCA.Revoke(tt.revoked...)
			if err != nil {
				t.Fatal(err)
			}
			block, _ := pem.Decode(raw)
			if block == nil || block.Type != "X509 CRL" {
				t.Fatalf("not a PEM CRL: %q", raw)
			}
			list, err := x509.ParseRevocationList(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if err := list.CheckSignatureFrom(onlyCertificate(t, p.ServerCA.CertPEM)); err != nil {
				t.Error(err)
			}
			if err := list.CheckSignatureFrom(onlyCertificate(t, p.ClientCA.CertPEM)); err == nil {
				t.Error("another CA's signature passes")
			}
			if now := time.Now(); now.Before(list.ThisUpdate) || now.After(list.NextUpdate) {
				t.Errorf("not in force: %v to %v", list.ThisUpdate, list.NextUpdate)
			}
			if len(list.RevokedCertificateEntries) != len(tt.revoked) {
				t.Fatalf("%d entries, want %d", len(list.RevokedCertificateEntries), len(tt.revoked))
			}
			for i, e := range list.RevokedCertificateEntries {
				if e.SerialNumber.Cmp(tt.revoked[i].SerialNumber) != 0 {
					t.Errorf("entry %d is of serial %x", i, e.SerialNumber)
				}
			}
		})
	}
}

// nginx.conf reads files that ServerFiles makes, and ServerFiles makes no key
// that nginx does not hold a certificate for.
func TestServerFilesAreWhatNginxReads(t *testing.T) {
	p := newPKI(t)
	const host = "api.partner.example.com"
	files, err := p.ServerFiles(host)
	if err != nil {
		t.Fatal(err)
	}
	conf, err := fs.ReadFile(Files, "nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	read := regexp.MustCompile(`/etc/partner/pki/([^;\s]+);`).FindAllStringSubmatch(string(conf), -1)
	if len(read) == 0 {
		t.Fatal("nginx.conf reads nothing from /etc/partner/pki")
	}
	used := map[string]bool{}
	for _, name := range read {
		used[name[1]] = true
		if files[name[1]] == nil {
			t.Errorf("nginx.conf reads %s, which is not made", name[1])
		}
	}
	for name := range files {
		if !used[name] {
			t.Errorf("%s is made, and nginx.conf does not read it", name)
		}
	}
	for _, tt := range []struct {
		file string
		ca   *CA
		host string
		ok   bool
	}{
		{"server", p.ServerCA, host, true},
		{"default", p.ServerCA, host, false},
		{"default", p.ServerCA, "default.partner.invalid", true},
		{"other", p.ServerCA, host, false},
		{"other", p.ServerCA, "other.partner.example.com", true},
		{"stranger", p.ServerCA, host, false},
		{"stranger", p.Stranger, host, true},
	} {
		if _, err := tls.X509KeyPair(files[tt.file+".crt"], files[tt.file+".key"]); err != nil {
			t.Errorf("%s: %v", tt.file, err)
			continue
		}
		err := trusts(tt.ca, onlyCertificate(t, files[tt.file+".crt"]), tt.host, x509.ExtKeyUsageServerAuth)
		if (err == nil) != tt.ok {
			t.Errorf("%s passes for %s: %v (%v), want %v", tt.file, tt.host, err == nil, err, tt.ok)
		}
	}
	if !slices.Equal(files["client-ca.crt"], p.ClientCA.CertPEM) || !slices.Equal(files["stranger-ca.crt"], p.Stranger.CertPEM) {
		t.Error("the CAs are not the PKI's")
	}
}

// Each port of the Service leads to a port that nginx listens on, or the black hole.
func TestServicePortsAreNginxPorts(t *testing.T) {
	conf, err := fs.ReadFile(Files, "nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := fs.ReadFile(Files, "manifest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	listens := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\s*listen (\d+)`).FindAllStringSubmatch(string(conf), -1) {
		listens[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`bind\(\$ear, sockaddr_in\((\d+),`).FindAllStringSubmatch(string(manifest), -1) {
		listens[m[1]] = true
	}
	ports := regexp.MustCompile(`- { name: [a-z0-9-]+, port: (\d+)(?:, targetPort: (\d+))? }`).FindAllStringSubmatch(string(manifest), -1)
	if len(ports) == 0 || len(listens) == 0 {
		t.Fatalf("%d ports of the Service and %d of nginx: the patterns of this test are out of date", len(ports), len(listens))
	}
	led := map[string]bool{}
	for _, m := range ports {
		target := m[2]
		if target == "" {
			target = m[1]
		}
		if !listens[target] {
			t.Errorf("the Service's port %s leads to %s, where nobody listens", m[1], target)
		}
		led[target] = true
	}
	for port := range listens {
		if !led[port] {
			t.Errorf("somebody listens on %s, which no port of the Service leads to", port)
		}
	}
}
