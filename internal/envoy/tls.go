package envoy

import (
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	internalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	proxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// TLS is what a cluster presents to and demands of its server.
type TLS struct {
	SNI string // empty: none is set, which is not "none is sent" where AutoSNI is
	// AutoHostSNI and AutoSNISANValidation are the socket's own; the HTTP
	// options' are in Pool.
	AutoHostSNI          bool
	AutoSNISANValidation bool

	CertificateSDS []string // names of the secrets with the client certificate
	Certificates   []string // client certificates without SDS: file names or "inline"
	ValidationSDS  string   // name of the secret with the CA
	CA             string   // CA without SDS: file name or "inline"
	CRL            string   // revocation list without SDS: file name or "inline"
	// AcceptsUntrusted says that a server's certificate of an unknown CA will do.
	AcceptsUntrusted bool
	// SANs that the server's certificate has to match, one of them, as
	// "exact:NAME", "prefix:…", "suffix:…", "contains:…", "regex:…"; with the
	// type before it where the matcher is of one type: "uri:exact:spiffe://…".
	SANs []string
	ALPN []string
	// Versions as Envoy names them ("TLSv1_2"); "TLS_AUTO" where unset.
	MinVersion, MaxVersion string
}

// TLSMatch is a transport socket that is used for endpoints whose metadata
// match, as Istio's "tlsMode-istio".
type TLSMatch struct {
	Name  string
	Match map[string]string
	TLS   *TLS // nil: plaintext
}

// TLS reads the cluster's transport socket. It is nil where there is none or
// it is a raw buffer: the cluster sends plaintext. A socket of a kind unknown
// here is an error.
func (c *Cluster) TLS() (*TLS, error) {
	t, err := socketTLS(c.proto.GetTransportSocket())
	if err != nil {
		return nil, fmt.Errorf("cluster %q: %w", c.Name(), err)
	}
	return t, nil
}

// TLSMatches reads the cluster's transport socket matches, in Envoy's order:
// the first that matches an endpoint wins, and TLS is for the rest.
func (c *Cluster) TLSMatches() ([]TLSMatch, error) {
	var found []TLSMatch
	for _, m := range c.proto.GetTransportSocketMatches() {
		t, err := socketTLS(m.GetTransportSocket())
		if err != nil {
			return nil, fmt.Errorf("cluster %q: transport socket match %q: %w", c.Name(), m.GetName(), err)
		}
		match := map[string]string{}
		for k, v := range m.GetMatch().GetFields() {
			match[k] = fmt.Sprint(v.AsInterface())
		}
		found = append(found, TLSMatch{Name: m.GetName(), Match: match, TLS: t})
	}
	return found, nil
}

func socketTLS(socket *corev3.TransportSocket) (*TLS, error) {
	if socket == nil {
		return nil, nil
	}
	config := socket.GetTypedConfig()
	if config == nil {
		return nil, fmt.Errorf("transport socket %q has no config", socket.GetName())
	}
	message, err := config.UnmarshalNew()
	if err != nil {
		return nil, fmt.Errorf("transport socket %q: %w", socket.GetName(), err)
	}
	switch m := message.(type) {
	case *rawv3.RawBuffer:
		return nil, nil
	case *proxyv3.ProxyProtocolUpstreamTransport:
		return socketTLS(m.GetTransportSocket())
	case *internalv3.InternalUpstreamTransport:
		return socketTLS(m.GetTransportSocket())
	case *tlsv3.UpstreamTlsContext:
		return upstreamTLS(m)
	}
	return nil, fmt.Errorf("transport socket %q is a %s, which is not known here", socket.GetName(), config.GetTypeUrl())
}

func upstreamTLS(u *tlsv3.UpstreamTlsContext) (*TLS, error) {
	common := u.GetCommonTlsContext()
	t := &TLS{
		SNI:                  u.GetSni(),
		AutoHostSNI:          u.GetAutoHostSni(),
		AutoSNISANValidation: u.GetAutoSniSanValidation(),
		ALPN:                 common.GetAlpnProtocols(),
		MinVersion:           common.GetTlsParams().GetTlsMinimumProtocolVersion().String(),
		MaxVersion:           common.GetTlsParams().GetTlsMaximumProtocolVersion().String(),
	}
	for _, s := range common.GetTlsCertificateSdsSecretConfigs() {
		t.CertificateSDS = append(t.CertificateSDS, s.GetName())
	}
	for _, c := range common.GetTlsCertificates() {
		t.Certificates = append(t.Certificates, source(c.GetCertificateChain()))
	}
	var validation *tlsv3.CertificateValidationContext
	switch v := common.GetValidationContextType().(type) {
	case nil:
	case *tlsv3.CommonTlsContext_ValidationContext:
		validation = v.ValidationContext
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		t.ValidationSDS = v.ValidationContextSdsSecretConfig.GetName()
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		t.ValidationSDS = v.CombinedValidationContext.GetValidationContextSdsSecretConfig().GetName()
		validation = v.CombinedValidationContext.GetDefaultValidationContext()
	default:
		return nil, fmt.Errorf("validation context of unknown kind %T", v)
	}
	t.AcceptsUntrusted = validation.GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
	t.CA = source(validation.GetTrustedCa())
	t.CRL = source(validation.GetCrl())
	for _, m := range validation.GetMatchTypedSubjectAltNames() {
		t.SANs = append(t.SANs, strings.ToLower(m.GetSanType().String())+":"+matcher(m.GetMatcher()))
	}
	//lint:ignore SA1019 the untyped matchers are what Istio sends
	for _, m := range validation.GetMatchSubjectAltNames() {
		t.SANs = append(t.SANs, matcher(m))
	}
	return t, nil
}

func matcher(m *matcherv3.StringMatcher) string {
	var s string
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		s = "exact:" + p.Exact
	case *matcherv3.StringMatcher_Prefix:
		s = "prefix:" + p.Prefix
	case *matcherv3.StringMatcher_Suffix:
		s = "suffix:" + p.Suffix
	case *matcherv3.StringMatcher_Contains:
		s = "contains:" + p.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		s = "regex:" + p.SafeRegex.GetRegex()
	default:
		s = fmt.Sprintf("unknown:%v", m)
	}
	if m.GetIgnoreCase() {
		s = "ignore-case:" + s
	}
	return s
}

// source names where bytes come from, "" for nowhere.
func source(d *corev3.DataSource) string {
	switch s := d.GetSpecifier().(type) {
	case nil:
		return ""
	case *corev3.DataSource_Filename:
		return s.Filename
	case *corev3.DataSource_EnvironmentVariable:
		return "$" + s.EnvironmentVariable
	}
	return "inline"
}
