package manifest

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	partnernginx "twohop/partner-nginx"
)

// CredentialSecret is a Secret in the gateway's namespace with a client
// certificate and the CA that hop 2 verifies the partner with.
func (e *Editor) CredentialSecret(name string, pair *partnernginx.Pair) *corev1.Secret {
	return credentialSecret(e.Subject, name, pair, e.Certificates.ServerCA)
}

// Secret adds or replaces a Secret.
func Secret(change, namespace, name string, data map[string][]byte) Variation {
	return Add(change, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data})
}

// SecretNamed names a Secret in the gateway's namespace, for Remove.
func (e *Editor) SecretNamed(name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: e.InGateway(name)}
}

// Rotate replaces the certificate in the subject's Secret, and waits until the
// gateway has it.
func (e *Editor) Rotate(change string, pair *partnernginx.Pair) Variation {
	return Add(change, e.CredentialSecret(e.Subject.Credential, pair)).Holding(SDSName(e.Subject.Credential), pair.Serial())
}

// SDSName is the name under which a proxy asks for a Secret of its namespace.
func SDSName(secret string) string { return "kubernetes://" + secret }

// SDSCAName is the name under which it asks for that Secret's CA.
func SDSCAName(secret string) string { return SDSName(secret) + "-cacert" }

// Allow gives a service account a Role on its own namespace's Secrets.
func Allow(change, namespace, account string, rule rbacv1.PolicyRule) Variation {
	rule.APIGroups, rule.Resources = []string{""}, []string{"secrets"}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: account + "-secrets"}
	return Add(change,
		&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{rule}},
		&rbacv1.RoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: namespace}},
		})
}
