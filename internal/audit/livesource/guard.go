package livesource

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// guard lets through the requests that an audit may make and refuses all others, so that
// no mistake of this package writes to a cluster or reads a Secret. It counts them.
type guard struct {
	// prefix is the path before the API's own, where a server is behind another.
	prefix string

	mu      sync.Mutex
	asked   map[string]int
	secrets map[string]bool // "NAMESPACE/NAME" that may be read
	tokens  bool
}

func (g *guard) wrap(next http.RoundTripper) http.RoundTripper {
	// One for each transport: ordinary requests and port-forwards have their own.
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		what, err := g.check(r)
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		g.asked[what]++
		g.mu.Unlock()
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// reset begins a run: no Secret may be read until it is named.
func (g *guard) reset(o Options) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked, g.secrets, g.tokens = map[string]int{}, map[string]bool{}, o.RequestToken
}

func (g *guard) allowSecret(namespace, name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.secrets[namespace+"/"+name] = true
}

// list says what was asked, as RBAC names it, and how often.
func (g *guard) list() (found []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(g.asked)) {
		found = append(found, fmt.Sprintf("%s (%d)", what, g.asked[what]))
	}
	return found
}

// created are the resources that may be created: reviews store nothing, and a
// port-forward is a connection.
var created = map[string]bool{
	"selfsubjectaccessreviews.authorization.k8s.io": true, "selfsubjectrulesreviews.authorization.k8s.io": true,
	"subjectaccessreviews.authorization.k8s.io": true, "selfsubjectreviews.authentication.k8s.io": true, "pods/portforward": true,
}

// request is what RBAC sees of a request.
type request struct{ verb, resource, namespace, name string }

func (r request) String() string {
	if r.verb == "get" && r.name != "" && r.namespace != "" {
		return r.verb + " " + r.resource + " " + r.namespace + "/" + r.name
	}
	return r.verb + " " + r.resource
}

// check says what a request is; one that is not allowed is an error.
func (g *guard) check(r *http.Request) (string, error) {
	at := parsePath(r.Method, strings.TrimPrefix(r.URL.Path, g.prefix))
	refuse := fmt.Errorf("twohop audit does not make this request: %s %s", r.Method, r.URL.Path)
	g.mu.Lock()
	defer g.mu.Unlock()
	base, _, _ := strings.Cut(at.resource, ".")
	switch {
	case r.Method == http.MethodGet && at.resource == "":
		return "get " + r.URL.Path, nil // discovery
	case r.Method == http.MethodGet && r.URL.Query().Get("watch") != "", strings.Contains(base, "/") && at.verb != "create":
		return "", refuse
	case r.Method == http.MethodGet && base == "secrets":
		if at.verb != "get" || !g.secrets[at.namespace+"/"+at.name] {
			return "", refuse
		}
	case r.Method == http.MethodGet && base == "configmaps" && at.verb == "list":
		return "", refuse // only those that are known by name
	case r.Method == http.MethodGet:
	case r.Method == http.MethodPost && (created[at.resource] || g.tokens && at.resource == "serviceaccounts/token"):
	default:
		return "", refuse
	}
	return at.String(), nil
}

// parsePath reads a path of the API; one that is not about a resource has none.
func parsePath(method, path string) request {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var group string
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		group, parts = parts[1], parts[3:]
	case method == http.MethodGet && slices.Contains([]string{"version", "api", "apis"}, parts[0]):
		return request{}
	default:
		return request{resource: path}
	}
	var r request
	if len(parts) > 2 && parts[0] == "namespaces" {
		r.namespace, parts = parts[1], parts[2:]
	}
	r.resource = parts[0]
	if len(parts) > 1 {
		r.name = parts[1]
	}
	if len(parts) > 2 {
		r.resource += "/" + strings.Join(parts[2:], "/")
	}
	if group != "" {
		r.resource += "." + group
	}
	switch {
	case method == http.MethodPost:
		r.verb = "create"
	case r.name == "":
		r.verb = "list"
	default:
		r.verb = "get"
	}
	return r
}
