package rehearse

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strings"

	partnernginx "twohop/partner-nginx"
)

// pki is everybody's certificates, made for one rehearsal.
type pki struct {
	mesh     *partnernginx.CA // signs the proxies' identities
	partner  *partnernginx.PKI
	issued   map[string]*partnernginx.Pair // of clients, by the credential's name
	servers  map[Variation]tls.Certificate // the partner's
	fallback tls.Certificate               // for a name that the partner does not serve
	clients  map[Variation]*x509.CertPool  // whom the partner trusts
}

// The names in certificates that are not for the partner's host.
const (
	defaultName = "default.partner.invalid"
	wrongName   = "other.partner.example.com"
)

func newPKI(sans []string) (*pki, error) {
	// Its CAs differ in nothing but their names, so one of them can be the mesh's.
	mesh, err := partnernginx.NewPKI()
	if err != nil {
		return nil, err
	}
	p := &pki{mesh: mesh.ServerCA, issued: map[string]*partnernginx.Pair{}, servers: map[Variation]tls.Certificate{}, clients: map[Variation]*x509.CertPool{}}
	if p.partner, err = partnernginx.NewPKI(); err != nil {
		return nil, err
	}
	serve := func(ca *partnernginx.CA, names []string) (tls.Certificate, error) {
		pair, err := ca.Issue(cmp.Or(append(slices.Clone(names), "partner")...), alternatives(names))
		if err != nil {
			return tls.Certificate{}, err
		}
		return tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	}
	for _, s := range []struct {
		variation Variation
		ca        *partnernginx.CA
		names     []string
	}{{Plain, p.partner.ServerCA, sans}, {WrongName, p.partner.ServerCA, []string{wrongName}}, {WrongCA, p.partner.Stranger, sans}} {
		if p.servers[s.variation], err = serve(s.ca, s.names); err != nil {
			return nil, err
		}
	}
	if p.fallback, err = serve(p.partner.ServerCA, []string{defaultName}); err != nil {
		return nil, err
	}
	for variation, ca := range map[Variation]*partnernginx.CA{Plain: p.partner.ClientCA, OtherClients: p.partner.Stranger} {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(ca.CertPEM) {
			return nil, fmt.Errorf("the partner's CA for clients is no certificate")
		}
		p.clients[variation] = pool
	}
	return p, nil
}

// alternatives are subject alternative names: URIs are told by their scheme.
func alternatives(names []string) partnernginx.Option {
	return func(c *x509.Certificate) {
		for _, n := range names {
			if u, err := url.Parse(n); err == nil && u.Scheme != "" && strings.Contains(n, "://") {
				c.URIs = append(c.URIs, u)
			} else {
				c.DNSNames = append(c.DNSNames, n)
			}
		}
	}
}

// identity signs a workload's.
func (p *pki) identity(trustDomain string, of Proxy) (*partnernginx.Pair, error) {
	return p.mesh.Issue("", alternatives([]string{"spiffe://" + trustDomain + "/ns/" + of.Namespace + "/sa/" + of.Account}))
}

// credential is the client certificate of that name, the same for all proxies.
func (p *pki) credential(name string) (*partnernginx.Pair, error) {
	if pair, ok := p.issued[name]; ok {
		return pair, nil
	}
	pair, err := p.partner.ClientCA.Issue(name)
	if err != nil {
		return nil, err
	}
	p.issued[name] = pair
	return pair, nil
}

const (
	workloadCertificate = "default" // istiod's names for a workload's own
	workloadRoot        = "ROOTCA"
	kubernetesSecret    = "kubernetes://"
	caSuffix            = "-cacert"
)

// secret is what a proxy is given under a secret's name.
func (p *pki) secret(trustDomain string, of Proxy, s Secret) (object, error) {
	tree := object{"name": s.Name}
	if s.CA {
		ca := p.partner.ServerCA // for a server of the partner's world
		switch {
		case s.Name == workloadRoot:
			ca = p.mesh
		case s.Server:
			ca = p.partner.ClientCA
		}
		tree["validation_context"] = object{"trusted_ca": object{"inline_string": string(ca.CertPEM)}}
		return tree, nil
	}
	var pair *partnernginx.Pair
	var err error
	switch {
	case s.Name == workloadCertificate:
		pair, err = p.identity(trustDomain, of)
	case s.Server:
		pair, err = p.partner.ServerCA.Issue(cmp.Or(append(slices.Clone(s.ServerNames), s.Name)...), alternatives(s.ServerNames))
	default:
		pair, err = p.credential(strings.TrimPrefix(s.Name, kubernetesSecret))
	}
	if err != nil {
		return nil, err
	}
	tree["tls_certificate"] = object{
		"certificate_chain": object{"inline_string": string(pair.CertPEM)}, "private_key": object{"inline_string": string(pair.KeyPEM)},
	}
	return tree, nil
}

// withheld reports whether a secret is among the missing credentials.
func withheld(secret string, missing []string) bool {
	name := strings.TrimPrefix(secret, kubernetesSecret)
	return slices.ContainsFunc(missing, func(m string) bool {
		m = strings.TrimPrefix(m, kubernetesSecret)
		return name == m || name == m+caSuffix
	})
}
