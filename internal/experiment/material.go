package experiment

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"twohop/internal/manifest"
	partnernginx "twohop/partner-nginx"
)

// material is the certificates, keys and revocation lists of a claim by the file
// names that its script gives them. A script has none of them in it: it takes the
// CAs from the lab that it runs on and makes the rest. A replay, in which
// placeholders stand for keys, has the same names.
type material struct {
	names   map[string]string // content: file name
	serials map[string]string // serial: the certificate's file name
	recipes map[string]recipe // by file name
	pairs   int
	lists   int
}

// recipe is a line that makes the script have a file, and the files that it needs.
type recipe struct {
	line string
	from []string
}

func noMaterial() *material {
	return &material{names: map[string]string{}, serials: map[string]string{}, recipes: map[string]recipe{}}
}

// newMaterial is the lab's.
func newMaterial(e *manifest.Editor) *material {
	m := noMaterial()
	if e.Certificates == nil {
		return m
	}
	lab, c := e.Subject, e.Certificates
	m.takeAll(c.CAs(), "", lab.Partner.Namespace, manifest.CASecret)
	m.takeAll(map[string][]byte{"tls.crt": c.Credential.CertPEM, "tls.key": c.Credential.KeyPEM}, "credential-", lab.Gateway.Namespace, lab.Credential)
	m.takeAll(c.Server, "partner-", lab.Partner.Namespace, "partner-pki")
	return m
}

// takeAll adds the files of a Secret of the lab.
func (m *material) takeAll(files map[string][]byte, prefix, namespace, secret string) {
	for _, key := range slices.Sorted(maps.Keys(files)) {
		if _, known := m.names[string(files[key])]; !known {
			name := prefix + key
			m.add(name, files[key], recipe{line: fmt.Sprintf("take %s %s %s %s", name, namespace, secret, key)})
		}
	}
}

func (m *material) add(name string, content []byte, r recipe) {
	m.names[string(content)] = name
	m.recipes[name] = r
	if pair, err := partnernginx.ParsePair(content); err == nil {
		m.serials[pair.Serial()] = name
	}
}

// nextPair is what the next certificate is called.
func (m *material) nextPair() string {
	m.pairs++
	return fmt.Sprintf("pair-%d", m.pairs)
}

// issued adds a certificate and its key.
func (m *material) issued(name string, ca *partnernginx.CA, pair *partnernginx.Pair) {
	authority := strings.TrimSuffix(m.names[string(ca.CertPEM)], ".crt")
	line := fmt.Sprintf("issue %s %s %s %d", name, authority, pair.Cert.Subject.CommonName, lifetimeByHand(pair.Cert))
	if dns := pair.Cert.DNSNames; len(dns) > 0 {
		line += " DNS:" + strings.Join(dns, ",DNS:")
	}
	r := recipe{line, []string{authority + ".crt", authority + ".key"}}
	m.add(name+".crt", pair.CertPEM, r)
	m.add(name+".key", pair.KeyPEM, r)
}

// lifetimeByHand is how many seconds a certificate lives that a script makes. A
// script takes longer to arrange what a run arranges in a second or two.
func lifetimeByHand(cert *x509.Certificate) int {
	const backdated, soon, longer = time.Hour, time.Minute, 14 * time.Second
	life := cert.NotAfter.Sub(cert.NotBefore) - backdated
	if 0 < life && life < soon {
		life += longer
	}
	return int(life.Seconds())
}

// revoked adds a list of revoked certificates of a CA.
func (m *material) revoked(ca *partnernginx.CA, list []byte, certificates []*x509.Certificate) {
	m.lists++
	name := fmt.Sprintf("list-%d.crl", m.lists)
	authority := strings.TrimSuffix(m.names[string(ca.CertPEM)], ".crt")
	r := recipe{fmt.Sprintf("revoke %s %s", name, authority), []string{authority + ".crt", authority + ".key"}}
	for _, c := range certificates {
		file := m.names[string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))]
		r.line, r.from = r.line+" "+file, append(r.from, file)
	}
	m.add(name, list, r)
}

// needed are the lines that make the script have a file, without those that it
// has already.
func (m *material) needed(file string, has map[string]bool) (lines []string) {
	r, ok := m.recipes[file]
	if !ok || has[r.line] {
		return nil
	}
	has[r.line] = true
	for _, f := range r.from {
		lines = append(lines, m.needed(f, has)...)
	}
	return append(lines, r.line)
}

// content is a Secret's value in a script: a marker where a file of the script
// stands for it, the value itself where it is public and not of this PKI.
func (m *material) content(value []byte) (name string, ok bool) {
	name, ok = m.names[string(value)]
	return name, ok && len(bytes.TrimSpace(value)) > 0
}
