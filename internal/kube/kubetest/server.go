// Package kubetest is an API server in memory, for unit tests of code that
// writes to a cluster. It stores objects and answers as the real one does where
// callers depend on it: what exists already, what is not there and what changed
// in between are refused with the same reasons. It validates nothing and runs no
// pods, but for those that RunPods pretends to run.
package kubetest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/e2e-framework/klient/k8s"

	"twohop/internal/kube"
	_ "twohop/internal/manifest" // registers Istio's kinds
)

// Server is the API server.
type Server struct {
	mu      sync.Mutex
	objects map[string]k8s.Object // by the path of the API
	version int
	writes  []string
	history []event
	changed chan struct{} // closed and renewed at each event
	// refuse answers a write in the server's place.
	refuse func(verb, path string) error
	runs   bool // pods
}

// event is a change, for those who watch.
type event struct {
	path    string
	version int
	metav1.WatchEvent
}

// resources are the kinds that it knows. Others do not exist.
var resources = map[schema.GroupVersion][]metav1.APIResource{
	{Version: "v1"}: {
		{Name: "namespaces", Kind: "Namespace"},
		{Name: "configmaps", Kind: "ConfigMap", Namespaced: true}, {Name: "events", Kind: "Event", Namespaced: true},
		{Name: "pods", Kind: "Pod", Namespaced: true}, {Name: "secrets", Kind: "Secret", Namespaced: true},
		{Name: "serviceaccounts", Kind: "ServiceAccount", Namespaced: true}, {Name: "services", Kind: "Service", Namespaced: true},
	},
	{Group: "apps", Version: "v1"}: {{Name: "deployments", Kind: "Deployment", Namespaced: true}},
	{Group: "rbac.authorization.k8s.io", Version: "v1"}: {
		{Name: "roles", Kind: "Role", Namespaced: true}, {Name: "rolebindings", Kind: "RoleBinding", Namespaced: true},
	},
	{Group: "networking.istio.io", Version: "v1"}: {
		{Name: "destinationrules", Kind: "DestinationRule", Namespaced: true}, {Name: "gateways", Kind: "Gateway", Namespaced: true},
		{Name: "serviceentries", Kind: "ServiceEntry", Namespaced: true}, {Name: "sidecars", Kind: "Sidecar", Namespaced: true},
		{Name: "virtualservices", Kind: "VirtualService", Namespaced: true},
	},
	{Group: "discovery.k8s.io", Version: "v1"}: {{Name: "endpointslices", Kind: "EndpointSlice", Namespaced: true}},
	{Group: "security.istio.io", Version: "v1"}: {
		{Name: "authorizationpolicies", Kind: "AuthorizationPolicy", Namespaced: true},
	},
}

// New starts a server that holds the given objects and ends with the test, and
// connects to it.
func New(t *testing.T, objects ...k8s.Object) (*Server, *kube.Client) {
	t.Helper()
	s := &Server{objects: map[string]k8s.Object{}, changed: make(chan struct{})}
	for _, o := range objects {
		path, err := pathOf(o)
		if err != nil {
			t.Fatal(err)
		}
		s.store(path, o.DeepCopyObject().(k8s.Object))
	}
	listener := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		listener.CloseClientConnections()
		listener.Close()
	})
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c",
"clusters":[{"name":"c","cluster":{"server":%q}}],"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],"users":[{"name":"u","user":{}}]}`, listener.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := kube.New(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return s, client
}

// Writes are the requests so far that change something, as "verb path", in order.
func (s *Server) Writes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.writes)
}

// Refuse lets a function answer writes; where it returns nil they go on.
func (s *Server) Refuse(f func(verb, path string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

// Get returns a copy of what is stored under an object's kind and name, or nil.
func (s *Server) Get(t *testing.T, like k8s.Object) k8s.Object {
	t.Helper()
	o, err := s.Lookup(like)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// Lookup is Get for goroutines other than the test's.
func (s *Server) Lookup(like k8s.Object) (k8s.Object, error) {
	path, err := pathOf(like)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.objects[path]; o != nil {
		return o.DeepCopyObject().(k8s.Object), nil
	}
	return nil, nil
}

// Put stores an object as somebody else's write.
func (s *Server) Put(t *testing.T, o k8s.Object) {
	t.Helper()
	path, err := pathOf(o)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store(path, o.DeepCopyObject().(k8s.Object))
}

// pathOf is where the API has an object.
func pathOf(o k8s.Object) (string, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil {
		return "", err
	}
	for _, kind := range kinds {
		for _, r := range resources[kind.GroupVersion()] {
			if r.Kind == kind.Kind {
				return collection(kind.GroupVersion(), r, o.GetNamespace()) + "/" + o.GetName(), nil
			}
		}
	}
	return "", fmt.Errorf("kubetest does not know the kind %v: add it to its table", kinds)
}

func collection(gv schema.GroupVersion, r metav1.APIResource, namespace string) string {
	path := "/api/v1"
	if gv.Group != "" {
		path = "/apis/" + gv.String()
	}
	if r.Namespaced && namespace != "" {
		path += "/namespaces/" + namespace
	}
	return path + "/" + r.Name
}

// target is what a path names.
type target struct {
	gv              schema.GroupVersion
	resource        metav1.APIResource
	namespace, name string
}

func parse(path string) (target, bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var at target
	switch {
	case len(parts) >= 2 && parts[0] == "api":
		at.gv, parts = schema.GroupVersion{Version: parts[1]}, parts[2:]
	case len(parts) >= 3 && parts[0] == "apis":
		at.gv, parts = schema.GroupVersion{Group: parts[1], Version: parts[2]}, parts[3:]
	default:
		return at, false
	}
	if len(parts) >= 3 && parts[0] == "namespaces" {
		at.namespace, parts = parts[1], parts[2:]
	}
	if len(parts) == 0 || len(parts) > 2 {
		return at, false
	}
	if len(parts) == 2 {
		at.name = parts[1]
	}
	for _, r := range resources[at.gv] {
		if r.Name == parts[0] {
			at.resource = r
			return at, true
		}
	}
	return at, false
}

// store keeps an object and tells those who watch. The lock is held.
func (s *Server) store(path string, o k8s.Object) {
	s.version++
	what := "MODIFIED"
	if s.objects[path] == nil {
		what = "ADDED"
		o.SetUID(types.UID(fmt.Sprintf("uid-%d", s.version)))
	}
	o.SetResourceVersion(strconv.Itoa(s.version))
	if service, ok := o.(*corev1.Service); ok && service.Spec.ClusterIP == "" {
		service.Spec.ClusterIP = fmt.Sprintf("10.96.0.%d", s.version)
		service.Spec.ClusterIPs = []string{service.Spec.ClusterIP}
	}
	s.start(o)
	s.objects[path] = o
	s.tell(path, what, o)
}

func (s *Server) tell(path, what string, o k8s.Object) {
	raw, err := encode(o)
	if err != nil {
		panic(err) // an object that was decoded before
	}
	e := event{path: path, version: s.version, WatchEvent: metav1.WatchEvent{Type: what}}
	e.Object.Raw = raw
	s.history = append(s.history, e)
	close(s.changed)
	s.changed = make(chan struct{})
}

// encode writes an object with its kind, which decoding had taken away.
func encode(o k8s.Object) ([]byte, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil {
		return nil, err
	}
	o = o.DeepCopyObject().(k8s.Object)
	o.GetObjectKind().SetGroupVersionKind(kinds[0])
	return json.Marshal(o)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if discovery(w, r.URL.Path) {
		return
	}
	at, ok := parse(r.URL.Path)
	if !ok {
		answer(w, apierrors.NewGenericServerResponse(http.StatusNotFound, r.Method, schema.GroupResource{}, "", "kubetest has no "+r.URL.Path, 0, false))
		return
	}
	if r.Method == http.MethodGet && at.name == "" {
		s.list(w, r, at)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		answer(w, err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	verb := map[string]string{http.MethodPost: "create", http.MethodPut: "update", http.MethodDelete: "delete", http.MethodGet: "get"}[r.Method]
	path := r.URL.Path
	var sent k8s.Object
	if verb == "create" || verb == "update" {
		decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
		if err != nil {
			answer(w, apierrors.NewBadRequest(err.Error()))
			return
		}
		sent = decoded.(k8s.Object)
		if verb == "create" {
			path += "/" + sent.GetName()
		}
	}
	group := schema.GroupResource{Group: at.gv.Group, Resource: at.resource.Name}
	if verb != "get" && s.refuse != nil {
		if err := s.refuse(verb, path); err != nil {
			answer(w, err)
			return
		}
	}
	current := s.objects[path]
	switch {
	case verb == "create" && current != nil:
		answer(w, apierrors.NewAlreadyExists(group, sent.GetName()))
		return
	case verb != "create" && current == nil:
		answer(w, apierrors.NewNotFound(group, at.name))
		return
	case verb == "update" && sent.GetResourceVersion() != "" && sent.GetResourceVersion() != current.GetResourceVersion():
		answer(w, apierrors.NewConflict(group, at.name, fmt.Errorf("the object has been modified")))
		return
	case verb == "update":
		if service, ok := sent.(*corev1.Service); ok && service.Spec.ClusterIP != current.(*corev1.Service).Spec.ClusterIP {
			answer(w, apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, at.name, nil))
			return
		}
	}
	if verb != "get" && r.URL.Query().Get("dryRun") == "" {
		s.writes = append(s.writes, verb+" "+path)
		if verb == "delete" {
			s.version++
			delete(s.objects, path)
			s.tell(path, "DELETED", current)
			if d, ok := current.(*appsv1.Deployment); ok {
				s.stop(d, "")
			}
		} else {
			s.store(path, sent)
		}
	}
	if sent == nil {
		sent = current
	}
	raw, err := encode(sent)
	if err != nil {
		answer(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(raw)
}

// list answers a list, or a watch with what is there and what comes.
func (s *Server) list(w http.ResponseWriter, r *http.Request, at target) {
	query := r.URL.Query()
	label, err := labels.Parse(query.Get("labelSelector"))
	if err != nil {
		answer(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	field, err := fields.ParseSelector(query.Get("fieldSelector"))
	if err != nil {
		answer(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	if query.Get("sendInitialEvents") != "" {
		answer(w, apierrors.NewInvalid(schema.GroupKind{Kind: "ListOptions"}, "", nil)) // the client lists then
		return
	}
	wanted := func(labelSet labels.Set, name string) bool {
		return label.Matches(labelSet) && field.Matches(fields.Set{"metadata.name": name, "involvedObject.name": name})
	}
	in := func(path string) bool {
		here, _ := parse(path)
		return here.gv == at.gv && here.resource.Name == at.resource.Name && (at.namespace == "" || here.namespace == at.namespace)
	}
	if query.Get("watch") == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		items := []json.RawMessage{}
		for _, path := range slices.Sorted(maps.Keys(s.objects)) {
			o := s.objects[path]
			if !in(path) || !wanted(o.GetLabels(), o.GetName()) {
				continue
			}
			raw, err := encode(o)
			if err != nil {
				answer(w, err)
				return
			}
			if metadataOnly(r) {
				raw = onlyMetadata(raw)
			}
			items = append(items, raw)
		}
		gv, kind := at.gv.String(), at.resource.Kind+"List"
		if metadataOnly(r) {
			gv, kind = metav1.SchemeGroupVersion.String(), "PartialObjectMetadataList"
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"apiVersion": gv, "kind": kind,
			"metadata": map[string]string{"resourceVersion": strconv.Itoa(s.version)}, "items": items,
		})
		return
	}
	since, err := strconv.Atoi(query.Get("resourceVersion"))
	if err != nil {
		answer(w, apierrors.NewBadRequest("kubetest watches from a resourceVersion only"))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	for sent := 0; ; {
		s.mu.Lock()
		fresh, changed := s.history[sent:], s.changed
		sent = len(s.history)
		s.mu.Unlock()
		for _, e := range fresh {
			var o metav1.PartialObjectMetadata
			if e.version > since && in(e.path) && json.Unmarshal(e.Object.Raw, &o) == nil && wanted(o.Labels, o.Name) {
				_ = json.NewEncoder(w).Encode(e.WatchEvent)
			}
		}
		_ = out.Flush()
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	}
}

// discovery answers what kinds there are.
func discovery(w http.ResponseWriter, path string) bool {
	var body any
	gv := schema.GroupVersion{Version: "v1"}
	switch {
	case path == "/version":
		body = map[string]string{"major": "1", "minor": "36", "gitVersion": "v1.36.1"}
	case path == "/api":
		body = metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}}
	case path == "/apis":
		list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
		for gv := range resources {
			if gv.Group == "" {
				continue
			}
			v := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
			list.Groups = append(list.Groups, metav1.APIGroup{Name: gv.Group, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v})
		}
		body = list
	default:
		if rest, ok := strings.CutPrefix(path, "/apis/"); ok {
			group, version, _ := strings.Cut(rest, "/")
			gv = schema.GroupVersion{Group: group, Version: version}
		} else if path != "/api/v1" {
			return false
		}
		list, ok := resources[gv]
		if !ok {
			return false
		}
		body = metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String(), APIResources: list}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
	return true
}

// answer writes an error as the API server does.
func answer(w http.ResponseWriter, err error) {
	status := apierrors.NewInternalError(err).Status()
	if s, ok := err.(apierrors.APIStatus); ok {
		status = s.Status()
	}
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_ = json.NewEncoder(w).Encode(status)
}
