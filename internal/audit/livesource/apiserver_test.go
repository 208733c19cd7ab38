package livesource

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	//lint:ignore SA1019 client-go's own port-forward speaks with this package's types
	"k8s.io/apimachinery/pkg/util/httpstream"
	//lint:ignore SA1019 as above
	"k8s.io/apimachinery/pkg/util/httpstream/spdy"
)

// apiserver answers lists page by page, gets, reviews and port-forwards, and remembers
// what it was asked.
type apiserver struct {
	// groups are the group versions beside v1, the preferred first, with their resources.
	groups map[string][]string // "networking.istio.io": {"v1 virtualservices VirtualService"}
	// objects are items, by resource ("pods", "gateways.networking.istio.io").
	objects map[string][]map[string]any
	// many are made while they are asked for, by resource.
	many map[string]func(i int) json.RawMessage
	n    map[string]int
	// forbids refuses; reviews say the same.
	forbids func(verb, resource, namespace string) bool
	// lies makes reviews allow everything.
	lies bool
	// expire answers the second page of a resource with 410, once.
	expire map[string]bool
	// rejects fails the second page of a resource.
	rejects map[string]bool
	// ports serve those of pods, by "NAMESPACE/NAME:PORT".
	ports map[string]http.Handler
	// accounts may list secrets: "system:serviceaccount:NAMESPACE:NAME".
	accounts map[string]bool

	mu   sync.Mutex
	seen []string // "METHOD path?query"
	url  string
}

func (a *apiserver) start(t *testing.T, namespaces ...string) *Source {
	t.Helper()
	server := httptest.NewServer(a)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	a.url = server.URL
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":%q}}],
"contexts":[{"name":"c","context":{"cluster":"c","user":"u","namespace":"app"}}],"users":[{"name":"u","user":{"token":"t"}}]}`, server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(file, "", namespaces)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (a *apiserver) requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.seen)
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: reason, Code: int32(code), Message: string(reason),
	})
}

func (a *apiserver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.seen = append(a.seen, r.Method+" "+r.URL.RequestURI())
	a.mu.Unlock()
	if a.discovery(w, r.URL.Path) {
		return
	}
	at := parsePath(r.Method, r.URL.Path)
	switch {
	case at.resource == "pods/portforward":
		a.portForward(w, r, at)
	case r.Method == http.MethodPost:
		a.review(w, r, at)
	case a.forbids != nil && a.forbids(at.verb, at.resource, at.namespace):
		refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden)
	case at.verb == "get":
		for _, o := range a.objects[at.resource] {
			if m := o["metadata"].(map[string]any); m["name"] == at.name && (at.namespace == "" || m["namespace"] == at.namespace) {
				reply(w, o)
				return
			}
		}
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound)
	case at.verb == "list":
		a.list(w, r, at)
	default:
		refuse(w, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed)
	}
}

// list answers a page; the token is the number of the next item.
func (a *apiserver) list(w http.ResponseWriter, r *http.Request, at request) {
	query := r.URL.Query()
	var items []any
	selector, _ := labels.Parse(query.Get("labelSelector"))
	for _, o := range a.objects[at.resource] {
		m := o["metadata"].(map[string]any)
		if at.namespace != "" && m["namespace"] != at.namespace {
			continue
		}
		set := labels.Set{}
		if l, ok := m["labels"].(map[string]any); ok {
			for k, v := range l {
				set[k] = v.(string)
			}
		}
		if selector.Matches(set) {
			items = append(items, o)
		}
	}
	from, _ := strconv.Atoi(query.Get("continue"))
	a.mu.Lock()
	expired := a.expire[at.resource] && from > 0
	if expired {
		a.expire[at.resource] = false
	}
	a.mu.Unlock()
	if expired {
		refuse(w, http.StatusGone, metav1.StatusReasonExpired)
		return
	}
	if a.rejects[at.resource] && from > 0 {
		refuse(w, http.StatusInternalServerError, metav1.StatusReasonInternalError)
		return
	}
	total := len(items)
	many := a.many[at.resource]
	if many != nil && query.Get("labelSelector") == "" {
		total += a.n[at.resource]
	}
	to := total
	if limit, _ := strconv.Atoi(query.Get("limit")); limit > 0 {
		to = min(total, from+limit)
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, `{"kind":"XList","apiVersion":"v1","items":[`)
	for i := from; i < to; i++ {
		if i > from {
			fmt.Fprint(w, ",")
		}
		if i < len(items) {
			_ = json.NewEncoder(w).Encode(items[i])
		} else {
			_, _ = w.Write(many(i - len(items)))
		}
	}
	next := ""
	if to < total {
		next = strconv.Itoa(to)
	}
	fmt.Fprintf(w, `],"metadata":{"resourceVersion":"1","continue":%q}}`, next)
}

func (a *apiserver) review(w http.ResponseWriter, r *http.Request, at request) {
	body, _ := io.ReadAll(r.Body)
	allows := func(verb, resource, namespace string) bool {
		return a.lies || a.forbids == nil || !a.forbids(verb, resource, namespace)
	}
	resource, _, _ := strings.Cut(at.resource, ".")
	switch resource {
	case "selfsubjectreviews":
		reply(w, map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "status": map[string]any{"userInfo": map[string]any{"username": "auditor"}}})
	case "selfsubjectaccessreviews":
		var q authorizationv1.SelfSubjectAccessReview
		_ = json.Unmarshal(body, &q)
		ra := q.Spec.ResourceAttributes
		name := ra.Resource
		if ra.Group != "" {
			name += "." + ra.Group
		}
		q.Status.Allowed = allows(ra.Verb, name, ra.Namespace)
		reply(w, q)
	case "selfsubjectrulesreviews":
		var q authorizationv1.SelfSubjectRulesReview
		_ = json.Unmarshal(body, &q)
		for name := range a.resources() {
			plural, group, _ := strings.Cut(name, ".")
			for _, verb := range []string{"get", "list"} {
				if allows(verb, name, q.Spec.Namespace) {
					q.Status.ResourceRules = append(q.Status.ResourceRules, authorizationv1.ResourceRule{Verbs: []string{verb}, APIGroups: []string{group}, Resources: []string{plural}})
				}
			}
		}
		reply(w, q)
	case "subjectaccessreviews":
		var q authorizationv1.SubjectAccessReview
		_ = json.Unmarshal(body, &q)
		if a.forbids != nil && a.forbids("create", at.resource, "") {
			refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden)
			return
		}
		ra := q.Spec.ResourceAttributes
		q.Status.Allowed = a.accounts[q.Spec.User] && ra.Verb == "list" && ra.Resource == "secrets" && len(q.Spec.Groups) == 0
		reply(w, q)
	default:
		refuse(w, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed)
	}
}

// resources are all that it has, by name.
func (a *apiserver) resources() map[string]bool {
	found := map[string]bool{"pods": true, "services": true, "namespaces": true, "configmaps": true, "secrets": true, "endpointslices.discovery.k8s.io": true}
	for group, list := range a.groups {
		for _, r := range list {
			found[strings.Fields(r)[1]+"."+group] = true
		}
	}
	return found
}

func (a *apiserver) discovery(w http.ResponseWriter, path string) bool {
	switch path {
	case "/version":
		reply(w, map[string]string{"major": "1", "minor": "36", "gitVersion": "v1.36.1"})
	case "/api":
		reply(w, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
	case "/apis":
		list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
		for _, group := range slices.Sorted(maps.Keys(a.groups)) {
			g := metav1.APIGroup{Name: group}
			for _, r := range a.groups[group] {
				v := metav1.GroupVersionForDiscovery{GroupVersion: group + "/" + strings.Fields(r)[0], Version: strings.Fields(r)[0]}
				if !slices.Contains(g.Versions, v) {
					g.Versions = append(g.Versions, v)
				}
			}
			g.PreferredVersion = g.Versions[0]
			list.Groups = append(list.Groups, g)
		}
		reply(w, list)
	default:
		parts := strings.Split(strings.Trim(path, "/"), "/")
		if len(parts) != 3 || parts[0] != "apis" {
			return false
		}
		list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: parts[1] + "/" + parts[2]}
		for _, r := range a.groups[parts[1]] {
			if f := strings.Fields(r); f[0] == parts[2] {
				list.APIResources = append(list.APIResources, metav1.APIResource{Name: f[1], Kind: f[2], Namespaced: true})
			}
		}
		reply(w, list)
	}
	return true
}

// portForward speaks SPDY as the kubelet does, and serves HTTP at the pod's port.
func (a *apiserver) portForward(w http.ResponseWriter, r *http.Request, at request) {
	if a.forbids != nil && a.forbids("create", at.resource, at.namespace) {
		refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden)
		return
	}
	if _, err := httpstream.Handshake(r, w, []string{"portforward.k8s.io"}); err != nil {
		return
	}
	streams := make(chan httpstream.Stream, 10)
	connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		streams <- s
		return nil
	})
	if connection == nil {
		return
	}
	defer connection.Close()
	var problems httpstream.Stream
	for {
		select {
		case <-connection.CloseChan():
			return
		case s := <-streams:
			if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				problems = s
				continue
			}
			handler := a.ports[at.namespace+"/"+at.name+":"+s.Headers().Get(corev1.PortHeader)]
			if handler == nil {
				fmt.Fprint(problems, "failed to connect to localhost: connection refused")
				_ = problems.Close()
				_ = s.Reset()
				continue
			}
			_ = problems.Close()
			server := &http.Server{Handler: handler}
			go func() { _ = server.Serve(&once{conn: serverConn{s}}) }()
		}
	}
}

// once is a listener for one connection.
type once struct {
	conn net.Conn
	done bool
}

func (o *once) Accept() (net.Conn, error) {
	if o.done {
		time.Sleep(time.Hour) // until the test ends
	}
	o.done = true
	return o.conn, nil
}
func (*once) Close() error   { return nil }
func (*once) Addr() net.Addr { return address{} }

type serverConn struct{ httpstream.Stream }

func (serverConn) LocalAddr() net.Addr              { return address{} }
func (serverConn) RemoteAddr() net.Addr             { return address{} }
func (serverConn) SetDeadline(time.Time) error      { return nil }
func (serverConn) SetReadDeadline(time.Time) error  { return nil }
func (serverConn) SetWriteDeadline(time.Time) error { return nil }
