package walk

import (
	"strings"
	"testing"
)

const dump = `{"configs":[
{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","dynamic_active_clusters":[
 {"cluster":{"name":"outbound|8443|partner|gw.ns.svc.cluster.local","type":"EDS","eds_cluster_config":{"service_name":"outbound|8443|partner|gw.ns.svc.cluster.local"}}},
 {"cluster":{"name":"auto","type":"EDS","eds_cluster_config":{"service_name":"auto"},"transport_socket_matches":[
   {"name":"tlsMode-istio","match":{"tlsMode":"istio"},"transport_socket":{"name":"envoy.transport_sockets.tls","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext","sni":"outbound_.80_._.x"}}},
   {"name":"tlsMode-disabled","match":{},"transport_socket":{"name":"envoy.transport_sockets.raw_buffer","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}]}}]},
{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","dynamic_listeners":[
 {"name":"0.0.0.0_80","active_state":{"listener":{"name":"0.0.0.0_80","address":{"socket_address":{"address":"0.0.0.0","port_value":80}},
  "filter_chains":[{"filters":[{"name":"hcm","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","rds":{"route_config_name":"80"}}}]}]}}},
 {"name":"0.0.0.0_8443","active_state":{"listener":{"name":"0.0.0.0_8443","address":{"socket_address":{"address":"0.0.0.0","port_value":8443}},
  "filter_chains":[
   {"filter_chain_match":{"server_names":["api.example.com"],"transport_protocol":"tls"},
    "transport_socket":{"name":"tls","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext","require_client_certificate":true,"common_tls_context":{"tls_certificate_sds_secret_configs":[{"name":"default"}]}}},
    "filters":[{"name":"hcm","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","rds":{"route_config_name":"https.8443"}}}]},
   {"filter_chain_match":{"server_names":["*.example.com"],"transport_protocol":"tls"},"filters":[{"name":"tcp","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","cluster":"wild"}}]}]}}},
 {"name":"virtualOutbound","active_state":{"listener":{"name":"virtualOutbound","address":{"socket_address":{"address":"0.0.0.0","port_value":15001}},
  "filter_chains":[{"name":"virtualOutbound-catchall-tcp","filters":[{"name":"tcp","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","cluster":"PassthroughCluster"}}]}]}}}]},
{"@type":"type.googleapis.com/envoy.admin.v3.RoutesConfigDump","dynamic_route_configs":[
 {"route_config":{"name":"80","virtual_hosts":[
  {"name":"api","domains":["api.example.com","api.example.com:80"],"routes":[
   {"match":{"prefix":"/health"},"route":{"cluster":"direct"}},
   {"match":{"prefix":"/"},"route":{"weighted_clusters":{"clusters":[{"name":"a","weight":90},{"name":"b","weight":10}]},"host_rewrite_literal":"other.example.com"},
    "metadata":{"filter_metadata":{"istio":{"config":"/apis/networking.istio.io/v1/namespaces/n/virtual-service/v"}}}},
   {"match":{"path":"/never"},"route":{"cluster":"shadowed"}}]},
  {"name":"wild","domains":["*.example.com"],"routes":[{"match":{"prefix":"/"},"direct_response":{"status":418}}]},
  {"name":"allow_any","domains":["*"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"PassthroughCluster"}}]}]}}]},
{"@type":"type.googleapis.com/envoy.admin.v3.EndpointsConfigDump","dynamic_endpoint_configs":[
 {"endpoint_config":{"cluster_name":"outbound|8443|partner|gw.ns.svc.cluster.local"}},
 {"endpoint_config":{"cluster_name":"auto","endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"10.0.0.1","port_value":80}}},
   "metadata":{"filter_metadata":{"envoy.transport_socket_match":{"tlsMode":"istio"}}}}]}]}}]}]}`

func parsed(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOutbound(t *testing.T) {
	c := parsed(t, dump)
	ways := c.Outbound(Request{Host: "api.example.com", Port: 80})
	if len(ways) != 2 {
		t.Fatalf("%d ways: %+v", len(ways), ways)
	}
	if w := ways[0]; w.Clusters[0].Cluster != "direct" || w.Sample.Path != "/health" {
		t.Errorf("%+v", w)
	}
	if w := ways[1]; len(w.Clusters) != 2 || w.Clusters[1].Weight != 10 || w.Route.Authority != "other.example.com" || !strings.HasSuffix(w.Route.Source, "/virtual-service/v") {
		t.Errorf("%+v", w)
	}
	if w := c.Outbound(Request{Host: "api.example.com", Port: 80, Path: "/health/x"}); len(w) != 1 || w[0].Clusters[0].Cluster != "direct" {
		t.Errorf("one request takes one way: %+v", w)
	}
	if w := c.Outbound(Request{Host: "b.example.com", Port: 80}); w[0].End != "the proxy answers 418 itself" {
		t.Errorf("%+v", w)
	}
	if w := c.Outbound(Request{Host: "elsewhere.org", Port: 80}); w[0].VirtualHost != "allow_any" || w[0].Clusters[0].Cluster != Passthrough {
		t.Errorf("%+v", w)
	}
	if w := c.Outbound(Request{Host: "api.example.com", Port: 81}); w[0].Clusters[0].Cluster != Passthrough || w[0].Listener != "virtualOutbound" {
		t.Errorf("%+v", w)
	}
}

func TestAccept(t *testing.T) {
	c := parsed(t, dump)
	for _, x := range []struct {
		r    Request
		end  string
		tls  bool
		http bool
	}{
		{Request{Port: 8443, TLS: true, ServerName: "api.example.com"}, `route configuration "https.8443" is absent`, true, true},
		{Request{Port: 8443, TLS: true, ServerName: "other.example.com"}, "", false, false},
		{Request{Port: 8443, TLS: true, ServerName: "api.example.org"}, `no filter chain of 0.0.0.0_8443 for the server name "api.example.org"`, false, false},
		{Request{Port: 8443}, "no filter chain of 0.0.0.0_8443 for plaintext", false, false},
		{Request{Port: 8444, TLS: true}, "no listener on port 8444", false, false},
	} {
		w := c.Accept(x.r)[0]
		if w.End != x.end || (w.Chain.TLS != nil) != x.tls || w.HTTP() != x.http {
			t.Errorf("%+v: %q, %+v", x.r, w.End, w.Chain)
		}
	}
}

func TestUpstream(t *testing.T) {
	c := parsed(t, dump)
	u, err := c.Upstream("outbound|8443|partner|gw.ns.svc.cluster.local")
	if err != nil || !u.Known || len(u.Endpoints) != 0 {
		t.Errorf("a cluster whose endpoints are known to be none: %+v, %v", u, err)
	}
	if u, err = c.Upstream("auto"); err != nil || u.TLS == nil || !u.ByEndpoint {
		t.Errorf("TLS by the endpoints' metadata: %+v, %v", u, err)
	}
	if _, err = c.Upstream("none"); err == nil {
		t.Error("a cluster that is absent is no error")
	}
}

func TestOtherSpelling(t *testing.T) {
	camel := strings.NewReplacer("dynamic_active_clusters", "dynamicActiveClusters", "eds_cluster_config", "edsClusterConfig", "service_name", "serviceName",
		"dynamic_listeners", "dynamicListeners", "active_state", "activeState", "socket_address", "socketAddress", "port_value", "portValue", "filter_chains", "filterChains",
		"typed_config", "typedConfig", "route_config_name", "routeConfigName", "dynamic_route_configs", "dynamicRouteConfigs", "route_config", "routeConfig",
		"virtual_hosts", "virtualHosts", "filter_chain_match", "filterChainMatch", "transport_socket_matches", "transportSocketMatches",
		"dynamic_endpoint_configs", "dynamicEndpointConfigs", "endpoint_config", "endpointConfig", "cluster_name", "clusterName", "lb_endpoints", "lbEndpoints", "filter_metadata", "filterMetadata").Replace(dump)
	c := parsed(t, camel)
	if w := c.Outbound(Request{Host: "api.example.com", Port: 80}); len(w) != 2 || w[0].Clusters[0].Cluster != "direct" {
		t.Errorf("%+v", w)
	}
	if u, err := c.Upstream("auto"); err != nil || u.TLS == nil {
		t.Errorf("tlsMode is a label, not a field: %+v, %v", u, err)
	}
}

func TestWhatIsNoDump(t *testing.T) {
	for _, text := range []string{"", "[]", `{"configs":[]}`, `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump"}]}`} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q is taken for a config dump", text)
		}
	}
}

func TestHosts(t *testing.T) {
	r := Routes{IgnorePort: true, Hosts: []VirtualHost{{Name: "exact", Domains: []string{"a.b.c"}}, {Name: "suffix", Domains: []string{"*.b.c"}}, {Name: "longer", Domains: []string{"*.x.b.c"}}, {Name: "prefix", Domains: []string{"a.*"}}}}
	for authority, want := range map[string]string{"A.b.c:8080": "exact", "z.b.c": "suffix", "z.x.b.c": "longer", "a.z": "prefix", "b.z": ""} {
		v, ok := r.hostFor(authority)
		if v.Name != want || ok != (want != "") {
			t.Errorf("%s: %q %v", authority, v.Name, ok)
		}
	}
}
