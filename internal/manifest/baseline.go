package manifest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/e2e-framework/klient/decoder"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/fixtures"
	"twohop/internal/subject"
	partnernginx "twohop/partner-nginx"
)

// Images of the lab's own workloads, as the cluster names them.
type Images struct{ Client, Partner string }

// Certificates are those of the subject at baseline. Of a recorded run there is
// the public half only.
type Certificates struct {
	ServerCA, ClientCA, Stranger *partnernginx.CA
	// Credential is the client certificate that hop 2 presents.
	Credential *partnernginx.Pair
	// Server is what nginx reads from /etc/partner/pki, by file name.
	Server map[string][]byte
}

// NewCertificates makes them for a subject.
func NewCertificates(s subject.Subject) (*Certificates, error) {
	pki, err := partnernginx.NewPKI()
	if err != nil {
		return nil, err
	}
	c := &Certificates{ServerCA: pki.ServerCA, ClientCA: pki.ClientCA, Stranger: pki.Stranger}
	if c.Server, err = pki.ServerFiles(s.ExternalHost); err != nil {
		return nil, err
	}
	c.Credential, err = c.ClientCA.Issue(ClientName)
	return c, err
}

// CASecret is the Secret in the partner's namespace that offers the throw-away
// CAs, with their keys, to the scripts that reproduce a claim.
const CASecret = "partner-ca"

// CAs are the content of CASecret: NAME.crt and NAME.key of each.
func (c *Certificates) CAs() map[string][]byte {
	files := map[string][]byte{}
	for name, ca := range map[string]*partnernginx.CA{"server-ca": c.ServerCA, "client-ca": c.ClientCA, "stranger-ca": c.Stranger} {
		files[name+".crt"], files[name+".key"] = ca.CertPEM, ca.KeyPEM
	}
	return files
}

// ClientName is the common name of the gateway's client certificate.
var ClientName = strings.TrimPrefix(partnernginx.ClientDN, "CN=")

// Partner is what the partner presents to who asks for it by name.
func (c *Certificates) Partner() (*partnernginx.Pair, error) {
	return partnernginx.ParsePair(c.Server["server.crt"])
}

// Numbered is the subject of lab number n under istiod's --domain (empty: the
// default), and what its names replace in the fixtures. Only names in istiod's
// registry follow the domain: what DNS serves keeps the cluster's own.
func Numbered(n int, domain string) (subject.Subject, map[string]string) {
	s, renames := subject.Numbered(n), subject.Renames(n)
	if domain == "" || domain == s.Domain {
		return s, renames
	}
	if renames == nil {
		renames = map[string]string{}
	}
	s.Domain = domain
	fqdn := func(s subject.Subject, gateway subject.Workload) string {
		s.Gateway = gateway
		return s.GatewayFQDN()
	}
	fixed := subject.Default()
	renames[fqdn(fixed, fixed.Gateway)] = fqdn(s, s.Gateway)
	renames[fqdn(fixed, fixed.Unbound)] = fqdn(s, s.Unbound)
	return s, renames
}

// Baseline is the subject as the fixtures have it: lab number n under a domain,
// with the lane's images and the given certificates.
func Baseline(n int, domain string, images Images, certificates *Certificates) (*Set, error) {
	s, renames := Numbered(n, domain)
	var all []k8s.Object
	for _, source := range []fs.FS{fixtures.Files, partnernginx.Files} {
		decoded, err := decoder.DecodeAllFiles(context.Background(), source, "*.yaml")
		if err != nil {
			return nil, fmt.Errorf("decode the fixtures: %w", err)
		}
		all = append(all, decoded...)
	}
	for i, o := range all {
		renamed, err := rename(o, renames)
		if err != nil {
			return nil, err
		}
		all[i] = renamed
	}
	made, err := generated(s, certificates)
	if err != nil {
		return nil, err
	}
	for _, o := range all {
		switch o := o.(type) {
		case *corev1.Namespace:
			o.Labels = map[string]string{subject.LabLabel: strconv.Itoa(s.Lab)}
		case *appsv1.Deployment:
			fit(o, s, images, made)
		}
	}
	return NewSet(s, append(all, made...)...), nil
}

// generated are the objects that cannot be fixtures: certificates of a PKI that
// lives as long as the lab, and nginx's configuration, which is a file.
func generated(s subject.Subject, c *Certificates) ([]k8s.Object, error) {
	conf := map[string]string{}
	for _, name := range []string{"nginx.conf", "echo.conf"} {
		raw, err := fs.ReadFile(partnernginx.Files, name)
		if err != nil {
			return nil, err
		}
		conf[name] = string(raw)
	}
	here := credentialSecret(s, s.Credential, c.Credential, c.ServerCA)
	unbound := here.DeepCopy()
	unbound.Namespace = s.Unbound.Namespace
	return []k8s.Object{
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "partner-conf", Namespace: s.Partner.Namespace}, Data: conf},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "partner-pki", Namespace: s.Partner.Namespace}, Data: c.Server},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: CASecret, Namespace: s.Partner.Namespace}, Data: c.CAs()},
		here, unbound,
	}, nil
}

func credentialSecret(s subject.Subject, name string, pair *partnernginx.Pair, ca *partnernginx.CA) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.Gateway.Namespace},
		Data:       map[string][]byte{"tls.crt": pair.CertPEM, "tls.key": pair.KeyPEM, "ca.crt": ca.CertPEM},
	}
}

// injectLabel is how a pod asks for a proxy; revisionLabel names the control plane
// that it asks.
const injectLabel, revisionLabel = "sidecar.istio.io/inject", "istio.io/rev"

// fit puts the lane's images and the mesh's revision in, and makes a partner restart
// when its configuration or its certificates changed.
func fit(d *appsv1.Deployment, s subject.Subject, images Images, made []k8s.Object) {
	for i := range d.Spec.Template.Spec.Containers {
		c := &d.Spec.Template.Spec.Containers[i]
		switch c.Image {
		case "twohop/client":
			c.Image = images.Client
		case "twohop/partner":
			c.Image = images.Partner
		}
	}
	if labels := d.Spec.Template.Labels; labels[injectLabel] == "true" && s.ControlPlane.Revision != "" {
		labels[revisionLabel] = s.ControlPlane.Revision
	}
	if d.Name == s.Partner.Deployment && d.Namespace == s.Partner.Namespace {
		// Without the keys: each comes with a certificate of its own.
		raw, err := YAML(made...)
		if err != nil {
			panic(err) // plain maps of bytes and strings
		}
		sum := sha256.Sum256(raw)
		if d.Spec.Template.Annotations == nil {
			d.Spec.Template.Annotations = map[string]string{}
		}
		d.Spec.Template.Annotations["twohop/inputs"] = hex.EncodeToString(sum[:8])
	}
}

// rename replaces names wherever they stand in an object's strings: names of
// namespaces are parts of host names.
func rename(o k8s.Object, names map[string]string) (k8s.Object, error) {
	if len(names) == 0 {
		return o, nil
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return nil, err
	}
	var pairs []string
	for _, old := range slices.Sorted(maps.Keys(names)) {
		pairs = append(pairs, old, names[old])
	}
	replacer := strings.NewReplacer(pairs...)
	var walk func(any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case string:
			return replacer.Replace(v)
		case []any:
			for i := range v {
				v[i] = walk(v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = walk(v[k])
			}
		}
		return v
	}
	if raw, err = json.Marshal(walk(tree)); err != nil {
		return nil, err
	}
	renamed, err := scheme.Scheme.New(o.GetObjectKind().GroupVersionKind())
	if err != nil {
		return nil, err
	}
	return renamed.(k8s.Object), json.Unmarshal(raw, renamed)
}
