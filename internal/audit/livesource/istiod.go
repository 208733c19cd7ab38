package livesource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// askIstiods asks every replica what it would send to the proxies: a proxy is connected
// to one of them, and the others do not know it.
func (g *gathering) askIstiods(ctx context.Context) {
	tokens := &tokens{g: g, by: map[string]string{}}
	var mu sync.Mutex // of the proxies
	indexes := make([]int, len(g.snapshot.Istiods))
	for i := range indexes {
		indexes[i] = i
	}
	failed := make([]bool, len(indexes))
	each(ctx, indexes, func(ctx context.Context, i int) {
		failed[i] = !g.askIstiod(ctx, &g.snapshot.Istiods[i], tokens, &mu)
	})
	for _, p := range g.snapshot.Proxies {
		if len(p.Istiod) > 0 || p.Sync.Istiod != "" {
			continue
		}
		why := "no replica of istiod that was asked is connected to it"
		if len(indexes) == 0 {
			why = "istiod's pods were not found"
		} else if slices.Contains(failed, true) {
			why = "a replica of istiod could not be asked"
		}
		g.miss(missingKey{what: "what istiod would send to " + p.String(), why: why}, "")
	}
}

// askIstiod asks one replica; false if it could not be asked.
func (g *gathering) askIstiod(ctx context.Context, i *Istiod, tokens *tokens, mu *sync.Mutex) bool {
	miss := func(what string, err error) {
		g.miss(missingKey{what: what + " (istiod " + i.Namespace + "/" + i.Name + ")", why: istiodProblem(err)}, "")
	}
	client, done, err := g.forward(ctx, i.Namespace, i.Name, istiodPort)
	if err != nil {
		miss("what istiod would send", err)
		return false
	}
	defer done()
	if raw, err := ask(ctx, client, "/version", ""); err != nil {
		miss("istiod's version", err)
	} else {
		i.Version = istiodVersion(raw)
	}
	statuses, known := g.syncz(ctx, client, tokens, miss)
	answered := true
	for _, p := range g.snapshot.Proxies {
		if ctx.Err() != nil {
			return false
		}
		id := p.id()
		status, here := statuses.of[id]
		if known && !here {
			continue // it is another replica's
		}
		if other := statuses.confused[id]; other != "" {
			miss("what istiod would send to "+p.String(), fmt.Errorf("its name is part of %s, and istiod would not tell them apart", other))
			continue
		}
		dump, notes, err := tokens.dump(ctx, client, p)
		var not *statusError
		if errors.As(err, &not) && not.code == http.StatusNotFound && strings.Contains(not.text, "not connected") {
			continue
		}
		if err != nil {
			miss("what istiod would send to "+p.String(), err)
			answered = false
		}
		mu.Lock()
		if dump != nil {
			p.Istiod[i.Name] = dump
		}
		p.note(notes)
		if here {
			p.Sync.read(i.Name, status)
		}
		mu.Unlock()
	}
	return answered
}

// id is the proxy's name at istiod.
func (p *Proxy) id() string { return p.Pod + "." + p.Namespace }

// dump is what istiod would send to a proxy.
func (t *tokens) dump(ctx context.Context, client *http.Client, p *Proxy) (*Dump, []string, error) {
	raw, err := t.ask(ctx, client, "/debug/config_dump?proxyID="+url.QueryEscape(p.id())+"&include_eds", p.Namespace)
	if err != nil {
		return nil, nil, err
	}
	clean, notes, err := redactDump(raw)
	if err == nil {
		clean, err = spelledAsEnvoy(clean)
	}
	if err != nil {
		return nil, nil, err
	}
	return pack(clean), notes, nil
}

// syncStatus is an entry of istiod's /debug/syncz.
type syncStatus struct {
	Proxy   string `json:"proxy"`
	Version string `json:"istio_version"`

	ClusterSent   string `json:"cluster_sent"`
	ClusterAcked  string `json:"cluster_acked"`
	ListenerSent  string `json:"listener_sent"`
	ListenerAcked string `json:"listener_acked"`
	RouteSent     string `json:"route_sent"`
	RouteAcked    string `json:"route_acked"`
	EndpointSent  string `json:"endpoint_sent"`
	EndpointAcked string `json:"endpoint_acked"`

	Resources map[string]struct {
		Sent, Acked string
		LastError   string `json:"lastError"`
	} `json:"resources"`
}

// statuses are those of the proxies that are asked.
type statuses struct {
	of map[string]syncStatus
	// confused names another proxy that istiod may take for one of these: it looks for the
	// first whose name contains the one that it is asked for (pilot/pkg/xds/debug.go,
	// getProxyConnection).
	confused map[string]string
}

// syncz asks a replica for the proxies that are connected to it; false if it did not say.
func (g *gathering) syncz(ctx context.Context, client *http.Client, tokens *tokens, miss func(string, error)) (found statuses, known bool) {
	if len(g.snapshot.Proxies) == 0 {
		return found, true
	}
	found = statuses{map[string]syncStatus{}, map[string]string{}}
	raw, err := tokens.ask(ctx, client, "/debug/syncz", g.snapshot.Proxies[0].Namespace)
	var all []syncStatus
	if err == nil {
		if err = json.Unmarshal(raw, &all); err != nil {
			err = fmt.Errorf("its answer to /debug/syncz cannot be read: %w", err)
		}
	}
	if err != nil {
		miss("whether proxies have taken what istiod sent", err)
		return found, false
	}
	for _, p := range g.snapshot.Proxies {
		id := p.id()
		for _, s := range all {
			switch {
			case s.Proxy == id:
				found.of[id] = s
			case strings.Contains(s.Proxy+"-", id):
				found.confused[id] = s.Proxy
			}
		}
	}
	return found, true
}

func istiodProblem(err error) string {
	var not *statusError
	if errors.As(err, &not) {
		switch not.code {
		case http.StatusUnauthorized:
			return "istiod wants to know who asks: give a token with audience istio-ca (--istiod-token-file), or let one be made (--istiod-token)"
		case http.StatusForbidden:
			return "istiod gives this only to accounts of its own namespace (ENABLE_DEBUG_ENDPOINT_AUTH)"
		case http.StatusNotFound:
			return "istiod has no debug API on port 15014 (ENABLE_DEBUG_ON_HTTP is false)"
		}
	}
	return forwardProblem(err)
}

// istiodVersion reads "1.31.0-<commit>-Clean", or the JSON that other versions print.
func istiodVersion(raw []byte) string {
	text := strings.TrimSpace(string(raw))
	var info struct{ Version string }
	if json.Unmarshal(raw, &info) == nil && info.Version != "" {
		return info.Version
	}
	parts := strings.Split(text, "-")
	if n := len(parts); n > 2 { // version, which may have hyphens, commit and state of the tree
		return strings.Join(parts[:n-2], "-")
	}
	return text
}

// tokens are sent to istiod once it wants to know who asks, which it does not of a
// caller from its own loopback.
type tokens struct {
	g  *gathering
	mu sync.Mutex
	by map[string]string // namespace: token
}

func (t *tokens) ask(ctx context.Context, client *http.Client, path, namespace string) ([]byte, error) {
	raw, err := ask(ctx, client, path, "")
	var not *statusError
	if !errors.As(err, &not) || not.code != http.StatusUnauthorized {
		return raw, err
	}
	token, tokenErr := t.of(ctx, namespace)
	if tokenErr != nil {
		return nil, tokenErr
	}
	if token == "" {
		return nil, err
	}
	return ask(ctx, client, path, token)
}

// of is a token of an account in a namespace, which istiod lets see that namespace's
// proxies; empty if none was given and none may be made.
func (t *tokens) of(ctx context.Context, namespace string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.g.TokenFile != "" {
		raw, err := os.ReadFile(t.g.TokenFile)
		if err != nil {
			return "", fmt.Errorf("read the token for istiod: %w", err)
		}
		return strings.TrimSpace(string(raw)), nil
	}
	if !t.g.RequestToken {
		return "", nil
	}
	if token := t.by[namespace]; token != "" {
		return token, nil
	}
	if !t.g.rights.may(ctx, authorizationv1.ResourceAttributes{Verb: "create", Resource: "serviceaccounts", Subresource: "token", Name: "default", Namespace: namespace}) {
		return "", errors.New("istiod wants to know who asks, and this account may not create serviceaccounts/token in " + namespace)
	}
	seconds := int64(10 * time.Minute / time.Second)
	answer, err := t.g.typed.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "default", &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"istio-ca"}, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", errors.New(plain(err, "create", "serviceaccounts/token"))
	}
	t.by[namespace] = answer.Status.Token
	return answer.Status.Token, nil
}
