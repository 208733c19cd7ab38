package rehearse

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"twohop/internal/envoy"
)

// Layout says where things lie for one proxy of a rehearsal.
type Layout struct {
	// Sidecar is true for the application's own proxy.
	Sidecar bool
	// Dir is the folder of its sockets and logs.
	Dir string
	// Bind is the loopback port for an address that a listener binds.
	Bind func(Binding) int
	// Lead is the loopback port for an endpoint; one that nobody listens on where the
	// endpoint is not part of the rehearsal.
	Lead func(Endpoint) int
	// Direct is where connections end that go to where the application had called.
	Direct int
}

// Endpoint is an address that a cluster connects to.
type Endpoint struct {
	Cluster string
	// Host is the one that istiod made the cluster for.
	Host    string
	Address string
	Port    int
	// Workload is "NAME;NAMESPACE;…" where istiod says whose it is.
	Workload string
	// External says that a ServiceEntry puts the host outside of the mesh, or that DNS
	// finds it.
	External bool
}

// Secret is one that the configuration asks for.
type Secret struct {
	Name string
	// CA is true for one that others are verified with, false for a certificate.
	CA bool
	// Server is true where the proxy is a server with it, for these names.
	Server      bool
	ServerNames []string
}

// Boot is what a proxy is started with.
type Boot struct {
	Bootstrap []byte
	// Resources are all but the secrets.
	Resources Resources
	Secrets   []Secret
	Changes   []Change
	Unknown   []string
}

// The files and sockets of a proxy's folder.
const (
	bootstrapFile = "bootstrap.json"
	adminSocket   = "admin"
	barrierSocket = "barrier"
	configSocket  = "config"
	accessLogFile = "access.log"
	ownLogFile    = "own.log" // what the configuration's own access logs write
	envoyLogFile  = "envoy.log"
)

// Bootstrap makes what a proxy runs with. The resources stay what istiod sent,
// but for the changes that are listed: each is found by comparing the two, and one of a
// field that the rehearsal may not touch is an error.
func Bootstrap(p Proxy, l Layout) (*Boot, error) {
	resources, err := read(p.Dump)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", p.Namespace, p.Name, err)
	}
	b := &boot{Boot: Boot{Resources: Resources{}}, layout: l, secrets: map[string]int{}}
	b.index(resources)
	for _, r := range resources {
		if r.kind == "listener" {
			b.dropFilters(r)
		}
		was := r.tree
		r.tree = clone(was).(object)
		switch r.kind {
		case "cluster":
			if !b.cluster(r) {
				b.Changes = append(b.Changes, Change{Kind: LeftOut, Resource: r.String(), Was: compact(was)})
				continue
			}
			b.Resources.add(clusterKind, r.name, r.tree)
		case "listener":
			b.listener(r)
			b.Resources.add(listenerKind, r.name, r.tree)
		case "route":
			b.Resources.add(routeKind, r.name, r.tree)
		}
		b.compare(r, was)
	}
	if b.err != nil {
		return nil, b.err
	}
	b.Boot.Bootstrap = b.bootstrap(p)
	for i := range b.Changes {
		b.Changes[i].Proxy = p.Namespace + "/" + p.Name
	}
	return &b.Boot, nil
}

type boot struct {
	Boot
	layout Layout
	// endpoints has those of EDS, routes which the dump has.
	endpoints map[string]object
	routes    map[string]bool
	secrets   map[string]int // places in Secrets
	err       error
}

func (b *boot) index(resources []resource) {
	b.endpoints, b.routes = map[string]object{}, map[string]bool{}
	for _, r := range resources {
		switch r.kind {
		case "route":
			b.routes[r.name] = true
		case "endpoints":
			b.endpoints[r.name] = r.tree
		}
	}
}

func serviceName(cluster object) string {
	return cmp.Or(text(cluster, "eds_cluster_config", "service_name"), text(cluster, "name"))
}

// compare lists what differs from what istiod sent.
func (b *boot) compare(r resource, was object) {
	diff("", was, r.tree, func(field, before, after string) {
		c := Change{Resource: r.String(), Field: field, Was: before, Is: after}
		if c.Kind = kindOf(r.kind, text(was, "type"), field); c.Kind == "" && b.err == nil {
			b.err = fmt.Errorf("the rehearsal would change %s of %s, which is not its to change: this is a defect of twohop", field, r)
		}
		switch {
		case c.Kind == AccessLog && before == "":
			c.Is = "a log of JSON lines, in " + b.path(accessLogFile)
		case c.Kind == Endpoints && field == "load_assignment":
			c.Is = "the endpoints that the dump has for it"
		}
		b.Changes = append(b.Changes, c)
	})
}

func (b *boot) cluster(r resource) bool {
	if strings.Contains(text(r.tree, "cluster_type", "name"), "dynamic_forward_proxy") {
		// It would ask the machine's DNS for real names.
		b.unknown("%s looks hosts up while it forwards, which has no place in a rehearsal: it was left out", r)
		return false
	}
	b.sds(r.tree, nil, false)
	switch kind := text(r.tree, "type"); {
	case kind == "EDS":
		// In the cluster itself: of a mesh with a thousand clusters, each would ask.
		load, known := b.endpoints[serviceName(r.tree)]
		if !known {
			b.unknown("the dump has no endpoints for %s: it gets none", r)
			load = object{}
		}
		was := load
		load = clone(load).(object)
		b.loadAssignment(r.tree, load)
		b.compare(resource{"endpoints", serviceName(r.tree), load}, was)
		r.tree["type"], r.tree["load_assignment"] = "STATIC", load
		delete(r.tree, "eds_cluster_config")
	case kind == "ORIGINAL_DST" && b.layout.Sidecar && !strings.HasPrefix(r.name, "Inbound"):
		r.tree["type"], r.tree["lb_policy"] = "STATIC", "ROUND_ROBIN"
		delete(r.tree, "original_dst_lb_config")
		r.tree["load_assignment"] = object{"cluster_name": r.name, "endpoints": []any{object{"lb_endpoints": []any{object{
			"endpoint": object{"address": object{"socket_address": object{"address": loopback, "port_value": integer(b.layout.Direct)}}},
		}}}}}
	default:
		b.loadAssignment(r.tree, r.tree["load_assignment"])
	}
	b.leftovers(r)
	return true
}

// loadAssignment leads a cluster's endpoints to loopback.
func (b *boot) loadAssignment(cluster object, load any) {
	name := text(cluster, "name")
	parts := strings.Split(name, "|")
	external, _ := at(cluster, "metadata", "filter_metadata", "istio", "external").(bool)
	for _, locality := range list(load, "endpoints") {
		for _, e := range list(locality, "lb_endpoints") {
			socket, ok := at(e, "endpoint", "address", "socket_address").(object)
			if !ok {
				continue // a listener of the proxy's own
			}
			port := b.layout.Lead(Endpoint{
				Cluster: name, Host: parts[len(parts)-1], Address: text(socket, "address"), Port: number(socket, "port_value"),
				Workload: text(e, "metadata", "filter_metadata", "istio", "workload"),
				External: external || strings.HasSuffix(text(cluster, "type"), "_DNS"),
			})
			socket["address"], socket["port_value"] = loopback, integer(port)
		}
	}
}

func (b *boot) listener(r resource) {
	for i, socket := range sockets(r.tree) {
		port := b.layout.Bind(Binding{r.name, i, number(socket, "port_value")})
		socket["address"], socket["port_value"] = loopback, integer(port)
	}
	if r.name == virtualOutbound && len(list(r.tree, "filter_chains")) > 0 {
		// The original destination comes in the PROXY protocol's header instead of from
		// the kernel. The field is the only one by which the header counts more than the
		// kernel's word (source/common/listener_manager/listener_impl.cc).
		list(r.tree, "filter_chains")[0].(object)["use_proxy_proto"] = true
	}
	for _, chain := range append(list(r.tree, "filter_chains"), at(r.tree, "default_filter_chain")) {
		b.sds(chain, serverNames(chain), true)
		for _, filter := range list(chain, "filters") {
			config, _ := at(filter, "typed_config").(object)
			switch typ := text(config, "@type"); {
			case strings.HasSuffix(typ, ".HttpConnectionManager"):
				b.accessLog(config, "http")
				b.rds(r, config)
			case strings.HasSuffix(typ, ".TcpProxy"):
				b.accessLog(config, "tcp")
			}
		}
	}
	b.accessLog(r.tree, "listener")
	b.leftovers(r)
}

// dropFilters takes out the filters of Istio's own build of Envoy, which no released Envoy
// knows; one of them would make it refuse all listeners.
func (b *boot) dropFilters(r resource) {
	each(r.tree, func(o object) {
		for _, field := range []string{"filters", "http_filters"} {
			filters := list(o, field)
			if len(filters) == 0 {
				continue
			}
			o[field] = slices.DeleteFunc(filters, func(f any) bool {
				name := text(f, "name")
				if !strings.HasPrefix(name, "istio.") && name != "envoy.filters.network.metadata_exchange" {
					return false
				}
				b.Changes = append(b.Changes, Change{Kind: LeftOut, Resource: r.String(), Field: field + "[" + name + "]", Was: compact(f)})
				b.unknown("what the filter %s does, which only Istio's own build of Envoy has", name)
				return true
			})
		}
	})
}

func serverNames(chain any) (names []string) {
	for _, n := range list(chain, "filter_chain_match", "server_names") {
		if s, ok := n.(string); ok {
			names = append(names, s)
		}
	}
	return names
}

func (b *boot) rds(r resource, manager object) {
	rds, ok := manager["rds"].(object)
	if !ok {
		return
	}
	name := text(rds, "route_config_name")
	if !b.routes[name] {
		b.unknown("the dump has no route configuration %q, which %s asks for: it gets none", name, r)
	}
	rds["config_source"] = source()
}

// sds has all secrets that a tree asks for come from the rehearsal.
func (b *boot) sds(tree any, names []string, server bool) {
	ask := func(v any, ca bool) {
		o, ok := v.(object)
		if !ok || o["sds_config"] == nil {
			return
		}
		name := text(o, "name")
		i, known := b.secrets[name]
		if !known {
			i = len(b.Secrets)
			b.secrets[name] = i
			b.Secrets = append(b.Secrets, Secret{Name: name, CA: ca, Server: server})
		}
		s := &b.Secrets[i]
		s.Server = s.Server && server
		s.ServerNames = append(s.ServerNames, names...)
		o["sds_config"] = source()
	}
	each(tree, func(o object) {
		for _, v := range list(o, "tls_certificate_sds_secret_configs") {
			ask(v, false)
		}
		ask(o["validation_context_sds_secret_config"], true)
	})
}

// accessLog adds a log of the rehearsal's own; those that are there write to a file.
func (b *boot) accessLog(to object, by string) {
	format, err := decode([]byte(envoy.AccessLogFormat))
	if err != nil {
		panic(err) // a constant
	}
	fields := format.(object)
	fields["log"] = by
	logs := list(to, "access_log")
	for _, l := range logs {
		if config, ok := at(l, "typed_config").(object); ok && strings.HasSuffix(text(config, "@type"), ".FileAccessLog") {
			config["path"] = b.path(ownLogFile)
		}
	}
	to["access_log"] = append(slices.Clone(logs), fileLog(b.path(accessLogFile), fields))
}

func fileLog(path string, fields object) object {
	return object{"name": "twohop.rehearsal", "typed_config": object{
		"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
		"path":  path, "log_format": object{"json_format": fields},
	}}
}

// leftovers names what the control plane would still be asked for.
func (b *boot) leftovers(r resource) {
	each(r.tree, func(o object) {
		if _, ads := o["ads"]; ads {
			b.unknown("%s has a part that istiod sends by itself, which the dump does not have", r)
		}
	})
}

func (b *boot) unknown(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(b.Unknown, s) {
		b.Unknown = append(b.Unknown, s)
	}
}

func (b *boot) path(name string) string { return b.layout.Dir + "/" + name }

// configCluster is the rehearsal's own, which answers for the control plane.
const configCluster = "twohop-config"

// source has Envoy ask the rehearsal, once.
func source() object {
	return object{"resource_api_version": "V3", "api_config_source": object{
		"api_type": "REST", "transport_api_version": "V3", "cluster_names": []any{configCluster},
		"refresh_delay": "86400s", "request_timeout": "20s",
	}}
}

const (
	loopback        = "127.0.0.1"
	virtualOutbound = "virtualOutbound"
)

func integer(n int) json.Number { return json.Number(fmt.Sprint(n)) }

// bootstrap has what Istio's own has that matters to a request, and one listener on a
// socket in the folder: once its line is in the access log, no earlier one is missing.
func (b *boot) bootstrap(p Proxy) []byte {
	format, err := decode([]byte(envoy.AccessLogFormat))
	if err != nil {
		panic(err) // a constant
	}
	kind := "router"
	if b.layout.Sidecar {
		kind = "sidecar"
	}
	id := fmt.Sprintf("%s~%s~%s.%s~%s.svc.cluster.local", kind, cmp.Or(p.IP, loopback), p.Name, p.Namespace, p.Namespace)
	return encode(object{
		"node":  object{"id": id, "cluster": p.Name + "." + p.Namespace},
		"admin": object{"address": object{"pipe": object{"path": b.path(adminSocket)}}},
		// pkg/bootstrap/config.go, extractRuntimeFlags
		"layered_runtime": object{"layers": []any{object{"name": "istio", "static_layer": object{
			"re2.max_program_size.error_level":                         integer(32768),
			"envoy.reloadable_features.http_reject_path_with_fragment": false,
		}}}},
		"bootstrap_extensions": []any{object{"name": "envoy.bootstrap.internal_listener", "typed_config": object{
			"@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
		}}},
		"dynamic_resources": object{"cds_config": source(), "lds_config": source()},
		"static_resources": object{"clusters": []any{object{
			"name": configCluster, "type": "STATIC",
			// All ask at once, and one that is turned away asks again after a day.
			"circuit_breakers": object{"thresholds": []any{object{
				"max_connections": integer(1 << 20), "max_pending_requests": integer(1 << 20), "max_requests": integer(1 << 20),
			}}},
			"load_assignment": object{"cluster_name": configCluster, "endpoints": []any{object{"lb_endpoints": []any{object{
				"endpoint": object{"address": object{"pipe": object{"path": b.path(configSocket)}}},
			}}}}},
		}}, "listeners": []any{object{
			"name":    "twohop-barrier",
			"address": object{"pipe": object{"path": b.path(barrierSocket)}},
			"filter_chains": []any{object{"filters": []any{object{"name": "http", "typed_config": object{
				"@type":       "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
				"stat_prefix": "twohop-barrier",
				"access_log":  []any{fileLog(b.path(accessLogFile), format.(object))},
				"route_config": object{"virtual_hosts": []any{object{"name": "all", "domains": []any{"*"}, "routes": []any{object{
					"match": object{"prefix": "/"}, "direct_response": object{"status": integer(204)},
				}}}}},
				"http_filters": []any{object{"name": "router", "typed_config": object{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}},
			}}}}},
		}}},
	})
}
