// Package partnernginx is the partner: its nginx configuration, its manifest
// and its little PKI. It knows no cluster and imports nothing of the project; the lab
// deploys it.
package partnernginx

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// Files holds nginx.conf, echo.conf and manifest.yaml.
//
//go:embed nginx.conf echo.conf manifest.yaml
var Files embed.FS

// ClientDN is the subject of the gateway's client certificate, as nginx prints it.
const ClientDN = "CN=egress-client"

// PKI is the partner's world of certificates, made anew for every lab: one CA
// for servers, another for clients, and a stranger that neither side trusts.
type PKI struct {
	ServerCA, ClientCA, Stranger *CA
}

// NewPKI makes the three CAs.
func NewPKI() (*PKI, error) {
	p := &PKI{}
	for _, ca := range []struct {
		into **CA
		name string
	}{{&p.ServerCA, "partner-server-ca"}, {&p.ClientCA, "partner-client-ca"}, {&p.Stranger, "stranger-ca"}} {
		made, err := newCA(ca.name)
		if err != nil {
			return nil, err
		}
		*ca.into = made
	}
	return p, nil
}

// CA signs certificates.
type CA struct {
	CertPEM []byte
	// KeyPEM is the private key, for who signs with other tools than this package.
	KeyPEM []byte
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
}

// Pair is a certificate and its key, PEM.
type Pair struct {
	CertPEM, KeyPEM []byte
	Cert            *x509.Certificate
}

// Serial is the certificate's serial number: hex, lower-case, without leading
// zeros, as internal/envoy spells those that the witnesses print.
func (p *Pair) Serial() string { return fmt.Sprintf("%x", p.Cert.SerialNumber) }

// Serial is the CA's own, spelled as a Pair's.
func (ca *CA) Serial() string { return fmt.Sprintf("%x", ca.cert.SerialNumber) }

// Lifetime bounds everything the PKI issues: a lab is never that old.
const Lifetime = 7 * 24 * time.Hour

func newCA(name string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of %s: %w", name, err)
	}
	tmpl, err := template(name)
	if err != nil {
		return nil, err
	}
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return &CA{CertPEM: encode("CERTIFICATE", der), KeyPEM: keyPEM, cert: cert, key: key}, nil
}

// Option changes a certificate before it is signed.
type Option func(*x509.Certificate)

// DNS adds subject alternative names.
func DNS(names ...string) Option {
	return func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, names...) }
}

// ValidFor makes the certificate expire so long from now, cut to the whole
// second: X.509 has no fractions.
func ValidFor(d time.Duration) Option {
	return func(c *x509.Certificate) { c.NotAfter = time.Now().Add(d) }
}

// Issue signs a certificate that both servers and clients may use.
func (ca *CA) Issue(commonName string, options ...Option) (*Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of %s: %w", commonName, err)
	}
	tmpl, err := template(commonName)
	if err != nil {
		return nil, err
	}
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	for _, o := range options {
		o(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", commonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return &Pair{CertPEM: encode("CERTIFICATE", der), KeyPEM: keyPEM, Cert: cert}, nil
}

// Revoke returns a PEM CRL of the CA that lists the given certificates.
func (ca *CA) Revoke(certs ...*x509.Certificate) ([]byte, error) {
	list := &x509.RevocationList{
		Number:     big.NewInt(time.Now().UnixNano()),
		ThisUpdate: time.Now().Add(-time.Hour),
		NextUpdate: time.Now().Add(Lifetime),
	}
	for _, c := range certs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign the CRL: %w", err)
	}
	return encode("X509 CRL", der), nil
}

// ServerFiles issues what nginx.conf reads from /etc/partner/pki, for a
// partner that is reached as host.
func (p *PKI) ServerFiles(host string) (map[string][]byte, error) {
	files := map[string][]byte{
		"client-ca.crt":   p.ClientCA.CertPEM,
		"stranger-ca.crt": p.Stranger.CertPEM,
	}
	for _, server := range []struct {
		file string
		ca   *CA
		name string
	}{
		{"server", p.ServerCA, host},
		{"default", p.ServerCA, "default.partner.invalid"},
		{"other", p.ServerCA, "other.partner.example.com"},
		{"stranger", p.Stranger, host},
	} {
		pair, err := server.ca.Issue(server.name, DNS(server.name))
		if err != nil {
			return nil, err
		}
		files[server.file+".crt"], files[server.file+".key"] = pair.CertPEM, pair.KeyPEM
	}
	return files, nil
}

func template(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour), // a node's clock may lag
		NotAfter:     time.Now().Add(Lifetime),
	}, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return encode("PRIVATE KEY", der), nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// ParsePair reads a certificate whose key is somewhere else.
func ParsePair(certPEM []byte) (*Pair, error) {
	cert, err := parse(certPEM)
	if err != nil {
		return nil, err
	}
	return &Pair{CertPEM: certPEM, Cert: cert}, nil
}

// ParseCA reads a CA whose key is somewhere else: it can sign nothing.
func ParseCA(certPEM []byte) (*CA, error) {
	cert, err := parse(certPEM)
	if err != nil {
		return nil, err
	}
	return &CA{CertPEM: certPEM, cert: cert}, nil
}

func parse(certPEM []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil {
		return nil, fmt.Errorf("no PEM block where a certificate was expected: %.40q", certPEM)
	}
	return x509.ParseCertificate(block.Bytes)
}
