package rehearse

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// resource is one of a proxy's, as its control plane sent it.
type resource struct {
	kind string // "cluster", "listener", "route", "endpoints"
	name string
	tree object
}

func (r resource) String() string { return r.kind + " " + r.name }

// kinds say where a config dump has what.
var kinds = map[string]struct{ list, key, name, kind string }{
	"ClustersConfigDump":  {"dynamic_active_clusters", "cluster", "name", "cluster"},
	"ListenersConfigDump": {"dynamic_listeners", "listener", "name", "listener"},
	"RoutesConfigDump":    {"dynamic_route_configs", "route_config", "name", "route"},
	"EndpointsConfigDump": {"dynamic_endpoint_configs", "endpoint_config", "cluster_name", "endpoints"},
}

// read takes the resources that a control plane sent out of a config dump. What the
// proxy had in its bootstrap is left out: a rehearsal has a bootstrap of its own.
func read(dump []byte) (found []resource, err error) {
	top, err := decode(dump)
	if err != nil {
		return nil, fmt.Errorf("config dump: not JSON: %w", err)
	}
	sections := map[string]bool{}
	for _, section := range list(top, "configs") {
		typ := text(section, "@type")
		k, ok := kinds[typ[strings.LastIndex(typ, ".")+1:]]
		if !ok {
			continue
		}
		sections[k.kind] = true
		for _, entry := range list(section, k.list) {
			if k.kind == "listener" {
				entry = at(entry, "active_state")
			}
			tree, _ := at(entry, k.key).(object)
			name := text(tree, k.name)
			if name == "" {
				continue // an update that the proxy refused
			}
			delete(tree, "@type")
			found = append(found, resource{k.kind, name, tree})
		}
	}
	for _, kind := range []string{"cluster", "listener"} {
		if !sections[kind] {
			return nil, fmt.Errorf("config dump: it has no section for %ss: ask for all of it, with Envoy's own spelling (config_dump?include_eds)", kind)
		}
	}
	return found, nil
}

// Resources is what a proxy asks its control plane for, by kind and name. As an
// http.Handler it answers as one over REST, which Envoy asks once: no file is watched,
// of which a system allows few (fs.inotify.max_user_instances).
type Resources map[string]map[string][]any

// The kinds of resources, as REST has them in its paths, and Envoy's names for them.
const (
	clusterKind  = "clusters"
	listenerKind = "listeners"
	routeKind    = "routes"
	secretKind   = "secrets"
)

var types = map[string]string{
	clusterKind:  "type.googleapis.com/envoy.config.cluster.v3.Cluster",
	listenerKind: "type.googleapis.com/envoy.config.listener.v3.Listener",
	routeKind:    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
	secretKind:   "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
}

func (r Resources) add(kind, name string, tree object) {
	tree = clone(tree).(object)
	tree["@type"] = types[kind]
	if r[kind] == nil {
		r[kind] = map[string][]any{}
	}
	r[kind][name] = append(r[kind][name], tree)
}

// response has the resources of some names; all of the kind if none is named. What is
// not there is left out.
func (r Resources) response(kind string, names []string) []byte {
	found := []any{}
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(r[kind]))
	}
	for _, n := range names {
		found = append(found, r[kind][n]...)
	}
	return encode(object{"version_info": "1", "type_url": types[kind], "resources": found})
}

func (r Resources) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	kind, known := strings.CutPrefix(request.URL.Path, "/v3/discovery:")
	var asked struct {
		Names []string `json:"resource_names"`
		Camel []string `json:"resourceNames"`
	}
	// To the end: a body that is left unread resets the stream.
	raw, err := io.ReadAll(request.Body)
	if err == nil {
		err = json.Unmarshal(raw, &asked)
	}
	if err != nil || !known || types[kind] == "" {
		http.Error(w, "not a discovery request", http.StatusBadRequest)
		return
	}
	w.Header().Set("content-type", "application/json")
	_, _ = w.Write(r.response(kind, append(asked.Names, asked.Camel...)))
}

// Binding is an address that a listener binds.
type Binding struct {
	Listener string
	Index    int // 0 for its address, from 1 for the additional ones
	Port     int
}

// bindings are those of all listeners. Those of a sidecar's that get their connections
// from another listener bind nothing.
func bindings(resources []resource) (found []Binding) {
	for _, r := range resources {
		if r.kind != "listener" {
			continue
		}
		for i, socket := range sockets(r.tree) {
			found = append(found, Binding{r.name, i, number(socket, "port_value")})
		}
	}
	return found
}

// sockets are the socket addresses that a listener binds.
func sockets(listener object) (found []object) {
	if at(listener, "bind_to_port") == false || at(listener, "deprecated_v1", "bind_to_port") == false {
		return nil
	}
	if s, ok := at(listener, "address", "socket_address").(object); ok {
		found = append(found, s)
	}
	for _, a := range list(listener, "additional_addresses") {
		if s, ok := at(a, "address", "socket_address").(object); ok {
			found = append(found, s)
		}
	}
	return found
}
