package lab

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	istio "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"twohop/internal/envoy"
	"twohop/internal/observe"
	partnernginx "twohop/partner-nginx"
)

// NewPair issues another client certificate that the partner trusts.
func (l *Lab) NewPair() *partnernginx.Pair {
	pair, err := l.PKI.ClientCA.Issue(strings.TrimPrefix(partnernginx.ClientDN, "CN="))
	if err != nil {
		panic(err) // no random numbers
	}
	return pair
}

// PartnerCertificate is what the partner presents to who asks for it by name.
func (l *Lab) PartnerCertificate() *x509.Certificate {
	for _, o := range l.baseline {
		if s, ok := o.(*corev1.Secret); ok && s.Namespace == l.Subject.Partner.Namespace {
			block, _ := pem.Decode(s.Data["server.crt"])
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				panic(err) // we made it
			}
			return cert
		}
	}
	panic("the baseline has no Secret in the partner's namespace")
}

// CRL is the partner's CA's list of revoked certificates.
func (l *Lab) CRL(revoked ...*x509.Certificate) []byte {
	crl, err := l.PKI.ServerCA.Revoke(revoked...)
	if err != nil {
		panic(err) // we own the CA
	}
	return crl
}

// Secret adds or replaces a Secret.
func Secret(change, namespace, name string, data map[string][]byte) Variation {
	return Add(change, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data})
}

// SecretNamed names a Secret in the gateway's namespace, for Remove.
func (l *Lab) SecretNamed(name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: l.Subject.Gateway.Namespace, Name: name}}
}

// Holding makes a variation wait until the gateway holds a certificate of this
// serial as the SDS secret of this name.
func (v Variation) Holding(secret, serial string) Variation {
	return v.and(func(ctx context.Context, l *Lab) error { return l.AwaitSerial(ctx, l.Gateway, secret, serial) })
}

// HeldBySidecar is Holding for the client's sidecar.
func (v Variation) HeldBySidecar(secret, serial string) Variation {
	return v.and(func(ctx context.Context, l *Lab) error { return l.AwaitSerial(ctx, l.Sidecar, secret, serial) })
}

// and makes a variation wait for what it has to bring about.
func (v Variation) and(await func(context.Context, *Lab) error) Variation {
	return Variation{Change: v.Change, do: func(ctx context.Context, l *Lab) (Applied, error) {
		a, err := v.do(ctx, l)
		if err != nil {
			return a, err
		}
		return a, await(ctx, l)
	}}
}

// Rotate replaces the certificate in the subject's Secret, and waits until the
// gateway has it.
func (l *Lab) Rotate(change string, pair *partnernginx.Pair) Variation {
	return Add(change, l.CredentialSecret(l.Subject.Credential, pair)).Holding(SDSName(l.Subject.Credential), pair.Serial())
}

// SDSName is the name under which a proxy asks for a Secret of its namespace.
func SDSName(secret string) string { return "kubernetes://" + secret }

// SDSCAName is the name under which it asks for that Secret's CA.
func SDSCAName(secret string) string { return SDSName(secret) + "-cacert" }

// AwaitSerial waits until a proxy holds a certificate as an ACTIVE secret.
func (l *Lab) AwaitSerial(ctx context.Context, p *observe.Proxy, secret, serial string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeouts.Secret, fmt.Errorf("%v went by", Timeouts.Secret))
	defer cancel()
	err := AwaitSecret(ctx, p, func(all []envoy.Secret) bool {
		return slices.ContainsFunc(all, func(s envoy.Secret) bool {
			return s.Name == secret && s.State == envoy.SecretActive && len(s.Certificates) > 0 && s.Certificates[0].Serial == serial
		})
	})
	if err != nil {
		return fmt.Errorf("%s/%s has no ACTIVE secret %s with serial %s: %w", p.Workload.Namespace, p.Pod, secret, serial, err)
	}
	return nil
}

// AwaitSecret waits until a proxy's SDS secrets are as wanted.
func AwaitSecret(ctx context.Context, p *observe.Proxy, wanted func([]envoy.Secret) bool) error {
	return poll(ctx, func() (bool, string, error) {
		raw, err := p.Admin(ctx, observe.SecretsDumpPath)
		if err != nil {
			return false, "", err
		}
		all, err := envoy.ParseSecrets(raw)
		if err != nil {
			return false, "", err
		}
		var seen []string
		for _, s := range all {
			seen = append(seen, fmt.Sprintf("%s %s", s.Name, s.State))
		}
		return wanted(all), strings.Join(seen, ", "), nil
	})
}

// credentialKey is the Secret whose certificate hop 2 presents.
func (l *Lab) credentialKey() key {
	return key{"Secret", l.home.Gateway.Namespace, l.home.Credential}
}

// rotated says that living connections of hop 2 may present another certificate
// than the baseline's. A gateway that restarts has none.
func (l *Lab) rotated() bool {
	g := l.home.Gateway
	return l.touched[l.credentialKey()] != nil && l.touched[key{"Deployment", g.Namespace, g.Deployment}] == nil
}

// retire ends hop 2's connections, once the gateway holds the baseline's
// certificate again: they would present another one to the claims that follow.
// The rest of the baseline has to be back: without hop 2's MUTUAL the gateway
// asks for no certificate.
func (l *Lab) retire(ctx context.Context) error {
	if err := l.awaitCredential(ctx); err != nil {
		return err
	}
	return l.replaceHop2(ctx)
}

// Reconnect makes hop 2 open new connections: those that live present the
// certificate that they were opened with.
func (l *Lab) Reconnect(change string) Variation {
	return Variation{Change: change, do: func(ctx context.Context, l *Lab) (Applied, error) {
		return Applied{}, l.replaceHop2(ctx)
	}}
}

// replaceHop2 replaces hop 2's cluster, and with it the connections, which a
// Secret that changes does not: for the time of a push its rule differs.
func (l *Lab) replaceHop2(ctx context.Context) error {
	k := key{"DestinationRule", l.home.Gateway.Namespace, l.home.Hop2Rule}
	rule, ok := l.find(k).(*istio.DestinationRule)
	if !ok {
		return fmt.Errorf("the fixtures have no DestinationRule %s/%s", k.namespace, k.name)
	}
	differs := rule.DeepCopy()
	differs.Spec.TrafficPolicy.PortLevelSettings[0].ConnectionPool.Tcp.ConnectTimeout = durationpb.New(l.home.Hop2Pool.ConnectTimeout + time.Millisecond)
	l.touch(differs) // in case that the next call is interrupted
	if err := l.put(ctx, differs); err != nil {
		return err
	}
	if err := l.Barrier(ctx); err != nil {
		return err
	}
	if err := l.put(ctx, rule); err != nil {
		return err
	}
	delete(l.touched, k)
	return nil
}

// Allow gives a service account a Role on its own namespace's Secrets.
func Allow(change, namespace, account string, rule rbacv1.PolicyRule) Variation {
	rule.APIGroups, rule.Resources = []string{""}, []string{"secrets"}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: account + "-secrets"}
	return Together(change,
		Add(change, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{rule}}),
		Add(change, &rbacv1.RoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: namespace}},
		}))
}
