package envoy

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// SecretState is where a secret is on its way into a proxy.
type SecretState string

// The states.
const (
	SecretActive  SecretState = "ACTIVE"
	SecretWarming SecretState = "WARMING" // asked for, not supplied
	SecretStatic  SecretState = "STATIC"
)

// SecretKind tells what a secret holds.
type SecretKind string

// The kinds. A warming secret holds nothing yet.
const (
	SecretEmpty       SecretKind = ""
	SecretCertificate SecretKind = "certificate" // with a private key, which Envoy redacts
	SecretValidation  SecretKind = "validation"  // CA certificates
	SecretOther       SecretKind = "other"
)

// Secret is one secret of a proxy.
type Secret struct {
	Name    string
	State   SecretState
	Version string
	// LastUpdated is when the proxy took this version, by its own clock; zero
	// where the answer does not tell.
	LastUpdated time.Time
	Kind        SecretKind
	// Certificates in the order of the PEM: of a certificate the leaf first.
	// None where the secret is a file name.
	Certificates []Certificate
	// HasCRL says that a validation secret brings a revocation list.
	HasCRL bool
	// File is where the proxy reads the secret itself; empty for inline bytes.
	File string
}

// HoldsSerial reports whether the secret is ACTIVE with a certificate of this serial.
func (s Secret) HoldsSerial(serial string) bool {
	return s.State == SecretActive && len(s.Certificates) > 0 && s.Certificates[0].Serial == serial
}

// Certificate is what can be compared of an X.509 certificate.
type Certificate struct {
	Subject, Issuer     string // RFC 2253, as nginx prints them
	Serial              string // as NormalizeSerial
	SHA256, SHA1        string // fingerprints of the DER bytes: hex, lower-case, no separators
	NotBefore, NotAfter time.Time
	SANs                []string // "DNS:…", "URI:…", "IP:…", "email:…"
	IsCA                bool
}

// ParseSecrets reads a proxy's secrets from an answer of GET /config_dump (in
// full, or of ?mask=dynamic_active_secrets,dynamic_warming_secrets, or of
// ?resource=dynamic_active_secrets or dynamic_warming_secrets) or from what
// `istioctl proxy-config secret -o json` prints. An answer of ?resource= does
// not say which list it is of; there a secret without content is WARMING, as
// Envoy itself decides. Sorting is left as printed: warming ones may share a
// name with active ones.
func ParseSecrets(raw []byte) ([]Secret, error) {
	lists := []string{"static_secrets", "dynamic_active_secrets", "dynamic_warming_secrets"}
	var top object
	if err := json.Unmarshal(raw, &top); err != nil {
		return nil, fmt.Errorf("secrets: not a JSON object (%v): %s", err, excerpt(raw))
	}
	var found []entry
	var err error
	if isIstioctlSecrets(top, lists) {
		found, err = listed(top, "SecretsConfigDump", lists)
	} else {
		_, found, err = entries(raw, "SecretsConfigDump", lists...)
	}
	if err != nil {
		return nil, err
	}
	var secrets []Secret
	for _, e := range found {
		s, err := parseSecret(e)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, s)
	}
	return secrets, nil
}

// FindSecrets returns the secrets of that name, or an *AbsentError. There is
// more than one where a new version is warming beside the active one.
func FindSecrets(secrets []Secret, name string) ([]Secret, error) {
	var found []Secret
	var have []string
	for _, s := range secrets {
		if s.Name == name {
			found = append(found, s)
		}
		have = append(have, s.Name+" ("+string(s.State)+")")
	}
	if len(found) == 0 {
		return nil, &AbsentError{Kind: "secret", Name: name, Have: have}
	}
	return found, nil
}

// Leaf returns the first certificate; an error where the secret has none.
func (s Secret) Leaf() (Certificate, error) {
	if len(s.Certificates) == 0 {
		return Certificate{}, fmt.Errorf("secret %q is %s and holds no certificate", s.Name, s.State)
	}
	return s.Certificates[0], nil
}

func isIstioctlSecrets(top object, lists []string) bool {
	for _, l := range lists {
		if top.get(l) != nil {
			return true
		}
	}
	return false
}

func parseSecret(e entry) (Secret, error) {
	name, err := e.body.text("name")
	if err != nil || name == "" {
		return Secret{}, errors.New("secrets: an entry has no name")
	}
	s := Secret{Name: name}
	if s.Version, err = e.body.text("version_info"); err != nil {
		return Secret{}, fmt.Errorf("secret %q: %w", name, err)
	}
	updated, err := e.body.text("last_updated")
	if err != nil {
		return Secret{}, fmt.Errorf("secret %q: %w", name, err)
	}
	if updated != "" {
		if s.LastUpdated, err = time.Parse(time.RFC3339Nano, updated); err != nil {
			return Secret{}, fmt.Errorf("secret %q: last_updated: %w", name, err)
		}
	}
	secret := &tlsv3.Secret{}
	if body := e.body.get("secret"); body != nil {
		var o object
		if err := json.Unmarshal(body, &o); err != nil {
			return Secret{}, fmt.Errorf("secret %q: %w", name, err)
		}
		delete(o, "@type")
		if body, err = json.Marshal(o); err != nil {
			return Secret{}, fmt.Errorf("secret %q: %w", name, err)
		}
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, secret); err != nil {
			return Secret{}, fmt.Errorf("secret %q: %w", name, err)
		}
	}
	if err := s.fill(secret); err != nil {
		return Secret{}, fmt.Errorf("secret %q: %w", name, err)
	}
	switch {
	case e.list == "static_secrets" || e.kind == "StaticSecret":
		s.State = SecretStatic
	case e.list == "dynamic_active_secrets":
		s.State = SecretActive
	case e.list == "dynamic_warming_secrets":
		s.State = SecretWarming
	case e.kind != "DynamicSecret":
		return Secret{}, fmt.Errorf("secret %q: entry of unknown kind %q", name, e.kind)
	case s.Kind == SecretEmpty:
		s.State = SecretWarming
	default:
		s.State = SecretActive
	}
	return s, nil
}

func (s *Secret) fill(secret *tlsv3.Secret) error {
	switch t := secret.GetType().(type) {
	case nil:
		return nil
	case *tlsv3.Secret_TlsCertificate:
		s.Kind = SecretCertificate
		return s.addPEM(t.TlsCertificate.GetCertificateChain())
	case *tlsv3.Secret_ValidationContext:
		s.Kind = SecretValidation
		s.HasCRL = t.ValidationContext.GetCrl() != nil
		if custom := t.ValidationContext.GetCustomValidatorConfig(); custom != nil {
			spiffe := &tlsv3.SPIFFECertValidatorConfig{}
			if err := custom.GetTypedConfig().UnmarshalTo(spiffe); err != nil {
				return fmt.Errorf("custom validator %q: %w", custom.GetName(), err)
			}
			for _, domain := range spiffe.GetTrustDomains() {
				if err := s.addPEM(domain.GetTrustBundle()); err != nil {
					return fmt.Errorf("trust domain %q: %w", domain.GetName(), err)
				}
			}
		}
		return s.addPEM(t.ValidationContext.GetTrustedCa())
	}
	s.Kind = SecretOther
	return nil
}

func (s *Secret) addPEM(d *corev3.DataSource) error {
	if file := d.GetFilename(); file != "" {
		s.File = file
		return nil
	}
	raw := d.GetInlineBytes()
	if len(raw) == 0 {
		raw = []byte(d.GetInlineString())
	}
	if len(raw) == 0 {
		return nil
	}
	found, err := ParseCertificates(raw)
	if err != nil {
		return err
	}
	s.Certificates = append(s.Certificates, found...)
	return nil
}

// ParseCertificates reads the certificates of a PEM file, at least one.
func ParseCertificates(raw []byte) ([]Certificate, error) {
	var found []Certificate
	for rest := raw; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(found)+1, err)
		}
		found = append(found, certificate(c))
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no PEM certificate in %d bytes: %s", len(raw), excerpt(raw))
	}
	return found, nil
}

func certificate(c *x509.Certificate) Certificate {
	s256 := sha256.Sum256(c.Raw)
	s1 := sha1.Sum(c.Raw) // the fingerprint that nginx logs: compared, not trusted
	out := Certificate{
		Subject: distinguishedName(c.RawSubject), Issuer: distinguishedName(c.RawIssuer),
		Serial: serial(c.SerialNumber),
		SHA256: hex.EncodeToString(s256[:]), SHA1: hex.EncodeToString(s1[:]),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, IsCA: c.IsCA,
	}
	for _, n := range c.DNSNames {
		out.SANs = append(out.SANs, "DNS:"+n)
	}
	for _, u := range c.URIs {
		out.SANs = append(out.SANs, "URI:"+u.String())
	}
	for _, ip := range c.IPAddresses {
		out.SANs = append(out.SANs, "IP:"+ip.String())
	}
	for _, m := range c.EmailAddresses {
		out.SANs = append(out.SANs, "email:"+m)
	}
	return out
}

// distinguishedName spells a name in its own order of attributes, as nginx
// does; pkix.Name.String sorts them.
func distinguishedName(raw []byte) string {
	var name pkix.RDNSequence
	if _, err := asn1.Unmarshal(raw, &name); err != nil {
		return fmt.Sprintf("(unreadable: %v)", err)
	}
	return name.String()
}

// NormalizeSerial spells a certificate's serial number the way this package
// does (hex, lower-case, no separators, no leading zeros), so that what nginx,
// openssl, istioctl and Envoy print compares equal.
func NormalizeSerial(s string) (string, error) {
	digits := strings.NewReplacer(":", "", " ", "").Replace(s)
	n, ok := new(big.Int).SetString(digits, 16)
	if !ok {
		return "", fmt.Errorf("serial number %q is not hexadecimal", s)
	}
	return serial(n), nil
}

func serial(n *big.Int) string { return fmt.Sprintf("%x", n) }
