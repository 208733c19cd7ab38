package audit

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"twohop/internal/channel"
	"twohop/internal/envoy"
	"twohop/internal/objects"
	"twohop/internal/walk"
)

// The names under which istiod looks for a credential, in its order
// (pilot/pkg/credentials/kube/secrets.go, ExtractCertInfo and ExtractRoot).
var (
	pairs = [][2]string{{"cert", "key"}, {"tls.crt", "tls.key"}}
	roots = []string{"cacert", "ca.crt"}
)

// caSuffix is that of the Secret with the CA, which outweighs the credential's own.
const caSuffix = "-cacert"

// secret is a Secret of the input, or nil.
func (e *egress) secret(namespace, name string) (*objects.Object, *corev1.Secret) {
	o := e.Mesh.Set.Find(objects.Ref{Kind: "Secret", Namespace: namespace, Name: name})
	if o == nil {
		return nil, nil
	}
	var s corev1.Secret
	if err := o.Decode(&s); err != nil {
		return o, nil
	}
	return o, &s
}

// value is one of a Secret's keys, with whether it is there.
func value(s *corev1.Secret, key string) ([]byte, bool) {
	if v, ok := s.StringData[key]; ok {
		return []byte(v), true
	}
	v, ok := s.Data[key]
	return v, ok
}

func keysOf(s *corev1.Secret) (keys []string) {
	for k := range s.Data {
		keys = append(keys, k)
	}
	for k := range s.StringData {
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// holdsClientKey reports whether the Secret that hop 2 takes its CA from has a client
// certificate too.
func (e *egress) holdsClientKey(router *channel.Workload, sds string) bool {
	credential, ok := strings.CutPrefix(sds, sdsPrefix)
	if !ok {
		return false
	}
	_, s := e.secret(router.Namespace, strings.TrimSuffix(credential, caSuffix))
	if s == nil {
		return false
	}
	for _, p := range pairs {
		if _, has := value(s, p[1]); has {
			return true
		}
	}
	return false
}

// credential judges the Secret that the gateway's cluster asks for.
func (e *egress) credential(router *channel.Workload, u walk.Upstream, credential string) {
	f := Finding{ID: "04", Severity: Critical, Hop: 2, Proxy: name(router)}
	if strings.ContainsAny(credential, "/ ") {
		f.Seen, f.Wanted = "credentialName "+credential+", which cannot name a Secret: istiod looks in the gateway's namespace only", "the name of a Secret in namespace "+router.Namespace
		e.find(f, e.blameHop2TLS(u, ".credentialName"))
		return
	}
	o, s := e.secret(router.Namespace, credential)
	if o == nil {
		e.absentSecret(router, u, credential)
		return
	}
	if s == nil {
		f.Seen, f.Wanted = "the Secret cannot be read", "a Secret"
		e.find(f, of(o, ""))
		return
	}
	e.made("04")
	found := false
	for _, p := range pairs {
		cert, hasCert := value(s, p[0])
		key, hasKey := value(s, p[1])
		if hasCert && hasKey {
			found = true
			e.keyPair(router, o, p, cert, key)
			e.caParses(router, o, s)
			break
		}
	}
	if !found {
		f.Seen = "keys " + strings.Join(keysOf(s), ", ")
		f.Wanted = "tls.crt and tls.key, or cert and key"
		f.Claim = "H2-secret-keys"
		e.find(f, of(o, "data"))
	}
	if _, other := e.secret(router.Namespace, credential+caSuffix); other != nil {
		e.caKeys(router, credential+caSuffix)
		return
	}
	if u.TLS.ValidationSDS == sdsPrefix+credential+caSuffix || u.TLS.ValidationSDS == sdsPrefix+credential {
		if !slices.ContainsFunc(roots, func(k string) bool { _, has := value(s, k); return has }) {
			e.find(Finding{ID: "06", Severity: Critical, Hop: 2, Proxy: name(router), Seen: "no CA: keys " + strings.Join(keysOf(s), ", "), Wanted: "ca.crt in the Secret, or a Secret " + credential + caSuffix}, of(o, "data"))
		}
	}
}

func (e *egress) caOnly(router *channel.Workload, u walk.Upstream, credential string) {
	for _, n := range []string{strings.TrimSuffix(credential, caSuffix) + caSuffix, strings.TrimSuffix(credential, caSuffix)} {
		if o, _ := e.secret(router.Namespace, n); o != nil {
			e.caKeys(router, n)
			return
		}
	}
	e.absentSecret(router, u, strings.TrimSuffix(credential, caSuffix))
}

// caParses judges the CA that a Secret has.
func (e *egress) caParses(router *channel.Workload, o *objects.Object, s *corev1.Secret) {
	for _, k := range roots {
		ca, has := value(s, k)
		if !has {
			continue
		}
		if redacted(ca) {
			return
		}
		e.made("06")
		if _, err := envoy.ParseCertificates(ca); err != nil {
			e.find(Finding{ID: "06", Severity: Critical, Hop: 2, Proxy: name(router), Seen: fmt.Sprintf("%s holds no certificate: %v", k, err), Wanted: "the partner's CA in PEM"}, of(o, "data["+k+"]"))
		}
		return
	}
}

func (e *egress) caKeys(router *channel.Workload, name string) {
	o, s := e.secret(router.Namespace, name)
	if s == nil {
		return
	}
	e.caParses(router, o, s)
	if !slices.ContainsFunc(roots, func(k string) bool { _, has := value(s, k); return has }) {
		e.find(Finding{ID: "06", Severity: Critical, Hop: 2, Seen: "no CA: keys " + strings.Join(keysOf(s), ", "), Wanted: "ca.crt or cacert"}, of(o, "data"))
	}
}

// makers are objects that make a Secret, with the field that names it.
var makers = map[string]func(o *objects.Object) string{
	"ExternalSecret": func(o *objects.Object) string {
		return nested(o, "spec", "target", "name")
	},
	"Certificate":  func(o *objects.Object) string { return nested(o, "spec", "secretName") },
	"SealedSecret": func(o *objects.Object) string { return nested(o, "spec", "template", "metadata", "name") },
	"VaultStaticSecret": func(o *objects.Object) string {
		return nested(o, "spec", "destination", "name")
	},
}

func nested(o *objects.Object, path ...string) string {
	var v map[string]any
	if o.Decode(&v) != nil {
		return ""
	}
	for _, p := range path[:len(path)-1] {
		v, _ = v[p].(map[string]any)
	}
	s, _ := v[path[len(path)-1]].(string)
	if s == "" {
		return o.Name
	}
	return s
}

// served judges a credential by what the proxy itself has of it; false if that is not
// known.
func (e *egress) served(router *channel.Workload, u walk.Upstream, credential string) bool {
	c := e.Views[router].Config
	if c == nil || c.Secrets == nil {
		return false
	}
	f := Finding{ID: "04", Severity: Critical, Hop: 2, Proxy: name(router), Wanted: fmt.Sprintf("a Secret %s in namespace %s, with the right keys, that the gateway's account may list", credential, router.Namespace)}
	for _, s := range c.Secrets {
		if s.Name != sdsPrefix+credential {
			continue
		}
		if s.State == envoy.SecretWarming || len(s.Certificates) == 0 {
			f.Seen = "the gateway waits for " + s.Name + ", which istiod does not serve"
			e.find(f, e.blameHop2TLS(u, ".credentialName"))
			return true
		}
		e.made("04")
		e.validity(router, e.blameHop2TLS(u, ".credentialName"), s.Certificates[0])
		return true
	}
	return false
}

// holdsCA reports whether the proxy itself says that it has a CA under that name.
func (e *egress) holdsCA(router *channel.Workload, sds string) bool {
	c := e.Views[router].Config
	return c != nil && slices.ContainsFunc(c.Secrets, func(s envoy.Secret) bool {
		return s.Name == sds && s.Kind == envoy.SecretValidation && s.State == envoy.SecretActive && len(s.Certificates) > 0
	})
}

// validity judges a client certificate's dates.
func (e *egress) validity(router *channel.Workload, at blame, leaf envoy.Certificate) {
	f := Finding{ID: "21", Severity: Critical, Hop: 2, Proxy: name(router), Wanted: "a certificate that is valid"}
	left := leaf.NotAfter.Sub(e.Now)
	switch {
	case left <= 0:
		f.Seen = "the client certificate expired on " + leaf.NotAfter.Format(time.DateOnly)
		e.find(f, at)
	case e.Now.Before(leaf.NotBefore):
		f.Seen = "the client certificate is valid from " + leaf.NotBefore.Format(time.DateOnly)
		e.find(f, at)
	case left < soon:
		f.Severity, f.Seen, f.Wanted = Medium, "the client certificate expires on "+leaf.NotAfter.Format(time.DateOnly), "a renewed certificate"
		e.find(f, at)
	}
	e.passed("21", e.Host, "valid until "+leaf.NotAfter.Format(time.DateOnly))
}

// absentSecret says what is known of a Secret that is not among the objects.
func (e *egress) absentSecret(router *channel.Workload, u walk.Upstream, credential string) {
	if e.served(router, u, credential) {
		return
	}
	f := Finding{ID: "04", Severity: Critical, Hop: 2, Proxy: name(router), Wanted: fmt.Sprintf("a Secret %s in the gateway's namespace %s", credential, router.Namespace)}
	var here []string
	for _, o := range e.Mesh.Set.All {
		made := ""
		if make, ok := makers[o.Kind]; ok {
			made = make(o)
		} else if o.Kind == "Secret" && o.Group() == "" && credentialLike(o) {
			made = o.Name
		} else {
			continue
		}
		switch {
		case made == credential && o.Namespace == router.Namespace:
			e.passed("04", e.Host, o.Ref.String()+" makes it")
			return
		case made == credential:
			f.Seen = fmt.Sprintf("%s is in namespace %s, the gateway in %s", o.Ref, o.Namespace, router.Namespace)
			f.Claim = "H2-secret-ns"
			e.find(f, of(o, "metadata.namespace"))
			return
		case o.Namespace == router.Namespace:
			here = append(here, made)
		}
	}
	unused := slices.DeleteFunc(here, func(n string) bool { return e.usedElsewhere(n, credential) })
	if len(unused) > 0 {
		// A Secret of the gateway's namespace that no rule names is the one that was meant.
		b := e.blameHop2TLS(u, ".credentialName")
		f.Seen = fmt.Sprintf("credentialName %s, and the namespace has a Secret %s", credential, strings.Join(unused, ", "))
		b.patch = "credentialName: " + unused[0]
		e.find(f, b)
		return
	}
	if e.SecretsKnown {
		f.Seen = "there is no such Secret"
		e.find(f, e.blameHop2TLS(u, ".credentialName"))
		return
	}
	f.Severity, f.Status = Medium, Unknown
	f.Seen = fmt.Sprintf("Secret %s in namespace %s is not in the input, so its keys (tls.crt, tls.key, ca.crt) were not checked", credential, router.Namespace)
	e.find(f, e.blameHop2TLS(u, ".credentialName"))
}

// credentialLike reports whether a Secret may hold a client certificate.
func credentialLike(o *objects.Object) bool {
	var s corev1.Secret
	if o.Decode(&s) != nil {
		return true
	}
	return s.Type == "" || s.Type == corev1.SecretTypeOpaque || s.Type == corev1.SecretTypeTLS
}

// usedElsewhere reports whether some rule or Gateway names a Secret.
func (e *egress) usedElsewhere(secret, credential string) bool {
	if strings.TrimSuffix(secret, caSuffix) == credential {
		return false
	}
	for _, r := range e.Mesh.Rules {
		if bytes.Contains(r.JSON, []byte(`"credentialName":"`+strings.TrimSuffix(secret, caSuffix)+`"`)) {
			return true
		}
	}
	for _, g := range e.Mesh.Gateways {
		if bytes.Contains(g.JSON, []byte(`"credentialName":"`+secret+`"`)) {
			return true
		}
	}
	return false
}

// soon is when a certificate's end is worth a word.
const soon = 30 * 24 * time.Hour

// keyPair judges a client certificate of the input. Of the key nothing is kept.
func (e *egress) keyPair(router *channel.Workload, o *objects.Object, names [2]string, cert, key []byte) {
	f := Finding{ID: "21", Severity: Critical, Hop: 2, Proxy: name(router)}
	if redacted(cert) {
		return
	}
	found, err := envoy.ParseCertificates(cert)
	if err != nil {
		if decoded, wrong := base64.StdEncoding.DecodeString(string(cert)); wrong == nil && bytes.Contains(decoded, []byte("BEGIN CERTIFICATE")) {
			err = fmt.Errorf("it is encoded twice")
		}
		f.Seen, f.Wanted = fmt.Sprintf("%s holds no certificate: %v", names[0], err), "a certificate in PEM"
		e.find(f, of(o, "data["+names[0]+"]"))
		return
	}
	leaf := found[0]
	if !redacted(key) {
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			f.Seen, f.Wanted = "the private key does not match the certificate", "the key of the certificate"
			e.find(f, of(o, "data["+names[1]+"]"))
		}
	}
	e.validity(router, of(o, "data["+names[0]+"]"), leaf)
}

func redacted(v []byte) bool {
	return len(v) == 0 || bytes.Contains(v, []byte("redacted")) || bytes.Contains(v, []byte("REDACTED")) || !bytes.Contains(v, []byte("-----BEGIN")) && len(v) < 64
}
