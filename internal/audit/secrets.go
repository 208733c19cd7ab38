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
	rbacv1 "k8s.io/api/rbac/v1"

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
	found := false
	for _, p := range pairs {
		cert, hasCert := value(s, p[0])
		key, hasKey := value(s, p[1])
		if hasCert && hasKey {
			found = true
			e.keyPair(router, o, p, cert, key)
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

func (e *egress) caKeys(router *channel.Workload, name string) {
	o, s := e.secret(router.Namespace, name)
	if s == nil {
		return
	}
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

// absentSecret says what is known of a Secret that is not among the objects.
func (e *egress) absentSecret(router *channel.Workload, u walk.Upstream, credential string) {
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
			return // another controller makes it
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
	f.Seen = fmt.Sprintf("whether there is a Secret %s in namespace %s, with tls.crt, tls.key and ca.crt: it is not in the input", credential, router.Namespace)
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
			f.Seen, f.Wanted = "certificate and key do not belong together", "the key of the certificate"
			e.find(f, of(o, "data["+names[1]+"]"))
		}
	}
	left := leaf.NotAfter.Sub(e.Now)
	switch {
	case left <= 0:
		f.Seen, f.Wanted = "the client certificate expired on "+leaf.NotAfter.Format(time.DateOnly), "a certificate that is valid"
		e.find(f, of(o, "data["+names[0]+"]"))
	case e.Now.Before(leaf.NotBefore):
		f.Seen, f.Wanted = "the client certificate is valid from "+leaf.NotBefore.Format(time.DateOnly), "a certificate that is valid"
		e.find(f, of(o, "data["+names[0]+"]"))
	case left < soon:
		f.Severity, f.Seen, f.Wanted = Medium, "the client certificate expires on "+leaf.NotAfter.Format(time.DateOnly), "a renewed certificate"
		e.find(f, of(o, "data["+names[0]+"]"))
	}
	e.passed("21", e.Host, "valid until "+leaf.NotAfter.Format(time.DateOnly))
}

func redacted(v []byte) bool {
	return len(v) == 0 || bytes.Contains(v, []byte("redacted")) || bytes.Contains(v, []byte("REDACTED")) || !bytes.Contains(v, []byte("-----BEGIN")) && len(v) < 64
}

// access judges whether istiod may serve Secrets to the gateway.
func (e *egress) access(router *channel.Workload) {
	f := Finding{ID: "05", Severity: Critical, Hop: 2, Proxy: name(router), Wanted: fmt.Sprintf("a Role with list on secrets in namespace %s, bound to service account %s", router.Namespace, router.Account)}
	if e.Access != nil {
		allowed, unknown := e.Access(router.Namespace, router.Account)
		switch {
		case unknown != "":
			f.Status, f.Severity, f.Seen = Unknown, High, unknown
			e.find(f, of(router.Object, ""))
		case !allowed:
			f.Seen = "service account " + router.Namespace + "/" + router.Account + " may not list secrets"
			e.find(f, e.blameAccess(router))
		}
		return
	}
	if router.Assumed != "" {
		f.Status, f.Severity, f.Seen = Unknown, Low, "whether the gateway's service account may list secrets: the gateway is not in the input"
		e.find(f, missing("ServiceAccount", router.Namespace, router.Account))
		return
	}
	if e.mayListSecrets(router) {
		return
	}
	meant := slices.ContainsFunc(e.Mesh.Set.Kind(rbacv1.GroupName, "RoleBinding"), func(o *objects.Object) bool {
		return bytes.Contains(o.JSON, []byte(`"name":"`+router.Account+`"`))
	})
	if !meant && len(e.rbac("Role", router.Namespace))+len(e.rbac("RoleBinding", router.Namespace)) == 0 {
		f.Status, f.Severity = Unknown, Medium
		f.Seen = "whether service account " + router.Account + " may list secrets: the input has no Role or RoleBinding of namespace " + router.Namespace
		e.find(f, of(router.Object, strings.TrimPrefix(router.Template+".spec.serviceAccountName", ".")))
		return
	}
	f.Seen = "service account " + router.Account + " may not list secrets in namespace " + router.Namespace
	e.find(f, e.blameAccess(router))
}

func (e *egress) rbac(kind, namespace string) (found []*objects.Object) {
	for _, o := range e.Mesh.Set.Kind("rbac.authorization.k8s.io", kind) {
		if o.Namespace == namespace || strings.HasPrefix(kind, "Cluster") {
			found = append(found, o)
		}
	}
	return found
}

func (e *egress) mayListSecrets(router *channel.Workload) bool {
	for _, kind := range []string{"RoleBinding", "ClusterRoleBinding"} {
		for _, o := range e.rbac(kind, router.Namespace) {
			var b rbacv1.RoleBinding
			if o.Decode(&b) != nil || !binds(b.Subjects, router) || !ofRBAC(b.RoleRef) {
				continue
			}
			role := e.Mesh.Set.Find(objects.Ref{Kind: b.RoleRef.Kind, Namespace: roleNamespace(b.RoleRef.Kind, router.Namespace), Name: b.RoleRef.Name})
			if role == nil && b.RoleRef.Kind == "ClusterRole" && (b.RoleRef.Name == "cluster-admin" || b.RoleRef.Name == "admin" || b.RoleRef.Name == "edit") {
				return true
			}
			if role != nil && listsSecrets(role) {
				return true
			}
		}
	}
	return false
}

// ofRBAC reports whether a reference is to a role; the API server fills in an empty group.
func ofRBAC(r rbacv1.RoleRef) bool { return r.APIGroup == "" || r.APIGroup == rbacv1.GroupName }

func roleNamespace(kind, namespace string) string {
	if kind == "ClusterRole" {
		return ""
	}
	return namespace
}

func binds(subjects []rbacv1.Subject, w *channel.Workload) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		switch s.Kind {
		case "ServiceAccount":
			// Without a namespace it is one of the binding's own
			// (k8s.io/kubernetes/pkg/registry/rbac/validation/rule.go, appliesToUser).
			return s.Name == w.Account && (s.Namespace == w.Namespace || s.Namespace == "")
		case "Group":
			return s.Name == "system:serviceaccounts" || s.Name == "system:serviceaccounts:"+w.Namespace || s.Name == "system:authenticated"
		}
		return s.Kind == "User" && s.Name == "system:serviceaccount:"+w.Namespace+":"+w.Account
	})
}

// listsSecrets reports whether a role grants what istiod asks for: list on all secrets.
// One that names Secrets does not (claim H2-rbac-names).
func listsSecrets(o *objects.Object) bool {
	var r rbacv1.Role
	if o.Decode(&r) != nil {
		return false
	}
	has := func(list []string, one string) bool { return slices.Contains(list, one) || slices.Contains(list, "*") }
	return slices.ContainsFunc(r.Rules, func(p rbacv1.PolicyRule) bool {
		return has(p.APIGroups, "") && has(p.Resources, "secrets") && has(p.Verbs, "list") && len(p.ResourceNames) == 0
	})
}

// blameAccess says which object keeps the gateway's account from listing secrets.
func (e *egress) blameAccess(router *channel.Workload) blame {
	account := objects.Ref{Kind: "ServiceAccount", Namespace: router.Namespace, Name: router.Account}
	if router.Object != nil && e.Mesh.Set.Find(account) == nil && slices.ContainsFunc(e.Mesh.Set.Kind("", "ServiceAccount"), func(o *objects.Object) bool { return o.Namespace == router.Namespace }) {
		return blame{object: router.Object, field: strings.TrimPrefix(router.Template+".spec.serviceAccountName", "."), seen: "service account " + router.Account + ", which is not in the input and may not list secrets"}
	}
	roles := e.rbac("Role", router.Namespace)
	for _, o := range e.rbac("RoleBinding", router.Namespace) {
		var b rbacv1.RoleBinding
		if o.Decode(&b) != nil {
			return of(o, "")
		}
		role := e.Mesh.Set.Find(objects.Ref{Kind: b.RoleRef.Kind, Namespace: roleNamespace(b.RoleRef.Kind, router.Namespace), Name: b.RoleRef.Name})
		switch {
		case !ofRBAC(b.RoleRef):
			return blame{object: o, field: "roleRef.apiGroup", seen: "apiGroup " + b.RoleRef.APIGroup, wanted: "apiGroup " + rbacv1.GroupName}
		case !binds(b.Subjects, router) && role != nil && listsSecrets(role):
			return blame{object: o, field: "subjects[0]", seen: fmt.Sprintf("the binding is not for service account %s/%s", router.Namespace, router.Account)}
		case binds(b.Subjects, router) && role == nil:
			return blame{object: o, field: "roleRef.name", seen: fmt.Sprintf("%s %s does not exist", b.RoleRef.Kind, b.RoleRef.Name)}
		case binds(b.Subjects, router):
			return blame{object: role, field: "rules", seen: "its rules do not grant list on all secrets"}
		}
	}
	for _, o := range roles {
		if !listsSecrets(o) {
			continue
		}
		for _, b := range e.Mesh.Set.Kind("rbac.authorization.k8s.io", "RoleBinding") {
			if b.Namespace != router.Namespace && bytes.Contains(b.JSON, []byte(`"name":"`+o.Name+`"`)) {
				return blame{object: b, field: "metadata.namespace", seen: "a RoleBinding in namespace " + b.Namespace + ", where it grants nothing in " + router.Namespace, wanted: "namespace " + router.Namespace}
			}
		}
		b := missing("RoleBinding", router.Namespace, "")
		b.seen = "no RoleBinding binds " + o.Ref.String() + " to service account " + router.Account
		return b
	}
	for _, b := range e.Mesh.Set.Kind(rbacv1.GroupName, "RoleBinding") {
		if b.Namespace != router.Namespace && bytes.Contains(b.JSON, []byte(`"name":"`+router.Account+`"`)) {
			return blame{object: b, field: "metadata.namespace", seen: "a RoleBinding in namespace " + b.Namespace + ", where it grants nothing in " + router.Namespace, wanted: "namespace " + router.Namespace}
		}
	}
	for _, o := range roles {
		return of(o, "rules")
	}
	return of(router.Object, strings.TrimPrefix(router.Template+".spec.serviceAccountName", "."))
}
