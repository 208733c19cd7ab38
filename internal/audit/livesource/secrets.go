package livesource

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"

	api "istio.io/api/networking/v1alpha3"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"twohop/internal/channel"
	"twohop/internal/envoy"
)

// Secret is what is kept of one: no key, no value but the public half.
type Secret struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Exists    bool     `json:"exists"`
	Type      string   `json:"type,omitempty"`
	Keys      []string `json:"keys,omitempty"` // their names
	// Certificates are those under each key that holds some; PEM is their text.
	Certificates map[string][]envoy.Certificate `json:"certificates,omitempty"`
	PEM          map[string]string              `json:"pem,omitempty"`
	// KeyMatches says for "tls.crt" and "cert" whether the key beside it is theirs; absent
	// where one of the two is.
	KeyMatches map[string]bool `json:"keyMatches,omitempty"`
	// Problems are what cannot be read in it.
	Problems []string `json:"problems,omitempty"`
}

// pairs are the keys with a certificate and the private key's beside each
// (pilot/pkg/credentials/kube/secrets.go).
var pairs = map[string]string{"tls.crt": "tls.key", "cert": "key"}

// secrets reads those that the channels name.
func (g *gathering) secrets(ctx context.Context, channels []*channel.Channel) {
	g.snapshot.Secrets = []Secret{}
	for _, ref := range slices.Sorted(maps.Keys(named(channels))) {
		namespace, name, _ := strings.Cut(ref, "/")
		key := missingKey{what: "Secret " + name, group: "", resource: "secrets"}
		if !g.rights.may(ctx, authorizationv1.ResourceAttributes{Verb: "get", Resource: "secrets", Namespace: namespace, Name: name}) {
			key.why = "this account may not get it: grant it, or leave --read-secrets out"
			g.miss(key, namespace)
			continue
		}
		g.guard.allowSecret(namespace, name)
		raw, err := g.typed.Discovery().RESTClient().Get().AbsPath("/api/v1/namespaces", namespace, "secrets", name).SetHeader("Accept", "application/json").DoRaw(ctx)
		switch {
		case apierrors.IsNotFound(err):
			g.snapshot.Secrets = append(g.snapshot.Secrets, Secret{Namespace: namespace, Name: name})
			continue
		case err != nil:
			key.why = plain(err, "get", "the Secret")
			g.miss(key, namespace)
			continue
		}
		s, err := publicHalf(namespace, name, raw)
		if err != nil {
			key.why = err.Error()
			g.miss(key, namespace)
			continue
		}
		g.snapshot.Secrets = append(g.snapshot.Secrets, s)
	}
}

// publicHalf keeps of a Secret what anybody may know.
func publicHalf(namespace, name string, raw []byte) (Secret, error) {
	var secret struct {
		Type string            `json:"type"`
		Data map[string][]byte `json:"data"`
	}
	if err := json.Unmarshal(raw, &secret); err != nil {
		return Secret{}, fmt.Errorf("the server's answer cannot be read") // err may quote the data
	}
	s := Secret{
		Namespace: namespace, Name: name, Exists: true, Type: secret.Type, Keys: slices.Sorted(maps.Keys(secret.Data)),
		Certificates: map[string][]envoy.Certificate{}, PEM: map[string]string{}, KeyMatches: map[string]bool{},
	}
	for _, key := range []string{"tls.crt", "cert", "ca.crt", "cacert"} {
		value, ok := secret.Data[key]
		if !ok {
			continue
		}
		public := certificates(value)
		found, err := envoy.ParseCertificates(public)
		if err != nil {
			s.Problems = append(s.Problems, key+" holds no certificate that can be read")
			continue
		}
		s.Certificates[key], s.PEM[key] = found, string(public)
		if private, ok := secret.Data[pairs[key]]; ok && pairs[key] != "" {
			_, err := tls.X509KeyPair(value, private)
			s.KeyMatches[key] = err == nil
		}
	}
	return s, nil
}

// certificates are the blocks of a PEM file that are certificates, and nothing else.
func certificates(raw []byte) []byte {
	var out bytes.Buffer
	for {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			return out.Bytes()
		}
		if block.Type == "CERTIFICATE" {
			if err := pem.Encode(&out, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
				panic(err) // a buffer
			}
		}
	}
}

// named are the Secrets that the channels' objects name, as "NAMESPACE/NAME": a proxy
// gets those of its own namespace.
func named(channels []*channel.Channel) map[string]bool {
	found := map[string]bool{}
	add := func(namespace, name string) {
		name = strings.TrimPrefix(name, "kubernetes://")
		if name == "" || strings.Contains(name, ":") || strings.Contains(name, "/") {
			return // a file, or one that istiod does not get from a Secret of the namespace
		}
		found[namespace+"/"+name] = true
		if !strings.HasSuffix(name, "-cacert") {
			found[namespace+"/"+name+"-cacert"] = true
		}
	}
	for _, c := range channels {
		spaces := map[string]bool{}
		for _, w := range c.Routers {
			spaces[w.Namespace] = true
		}
		for _, g := range c.Gateways {
			for _, server := range g.Spec.GetServers() {
				names := append([]string{server.GetTls().GetCredentialName(), server.GetTls().GetCaCertCredentialName()}, server.GetTls().GetCredentialNames()...)
				for n := range spaces {
					for _, name := range names {
						add(n, name)
					}
				}
			}
		}
		for _, r := range slices.Concat(c.Hop1, c.Hop2) {
			in := spaces
			if selector := r.Spec.GetWorkloadSelector(); selector != nil {
				in = map[string]bool{}
				for _, w := range slices.Concat(c.Callers, c.Routers) {
					if w.Namespace == r.Namespace && selects(selector.GetMatchLabels(), w.Labels) {
						in[w.Namespace] = true
					}
				}
			}
			for _, name := range credentialNames(r.Spec) {
				for n := range in {
					add(n, name)
				}
			}
		}
	}
	return found
}

func credentialNames(r *api.DestinationRule) (names []string) {
	policies := []*api.TrafficPolicy{r.GetTrafficPolicy()}
	for _, s := range r.GetSubsets() {
		policies = append(policies, s.GetTrafficPolicy())
	}
	for _, p := range policies {
		names = append(names, p.GetTls().GetCredentialName())
		for _, port := range p.GetPortLevelSettings() {
			names = append(names, port.GetTls().GetCredentialName())
		}
	}
	return slices.DeleteFunc(slices.Compact(slices.SortedFunc(slices.Values(names), cmp.Compare[string])), func(n string) bool { return n == "" })
}
