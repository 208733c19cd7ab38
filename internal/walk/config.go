// Package walk follows a request through the configuration of one proxy: which
// listener and filter chain take it, which route, which cluster, and with what name and
// certificates it goes on. It is pure: it reads a config dump, whoever made it, and
// must not import anything of the project but internal/envoy.
package walk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"twohop/internal/envoy"
)

// Config is the configuration of one proxy.
type Config struct {
	Listeners []Listener
	Routes    map[string]Routes
	Clusters  map[string]*envoy.Cluster
	// Endpoints are those of EDS clusters, by cluster; nil if the dump has none of any.
	Endpoints map[string][]Endpoint
	// Rejected are updates that the proxy refused.
	Rejected []envoy.Rejection
	Warming  []string
	// Secrets are those that the proxy has or waits for; nil if the dump does not say, as a
	// computed one.
	Secrets []envoy.Secret
}

// Endpoint is where a cluster connects to.
type Endpoint struct {
	Address string
	Port    int
	// Health is Envoy's word, empty for healthy.
	Health string
	// TLSMode is "istio" where the endpoint's metadata asks for Istio's mutual TLS.
	TLSMode string
}

// Listener takes connections to an address.
type Listener struct {
	Name    string
	Address string
	Port    int
	Chains  []Chain
}

// Chain is a filter chain.
type Chain struct {
	Name        string
	Default     bool
	ServerNames []string
	Transport   string // "tls", "raw_buffer", "" for any
	ALPN        []string
	Prefixes    []string // of the destination address
	Port        int      // of the destination; 0 for any
	// HTTP is true for a chain with an HTTP connection manager.
	HTTP        bool
	RouteConfig string
	Inline      *Routes
	// TCP are the clusters of a TCP proxy.
	TCP []Share
	TLS *ServerTLS
	// Filters are the names of network and HTTP filters.
	Filters []string
	// RBAC are the rules of Istio's authorization filters.
	RBAC []json.RawMessage
	// OriginalSNI says that the chain forwards by SNI (Istio's AUTO_PASSTHROUGH).
	OriginalSNI bool
}

// ServerTLS is what a filter chain shows to its clients, and demands of them.
type ServerTLS struct {
	RequireClientCertificate bool
	CertificateSDS           []string
	ValidationSDS            string
	ALPN                     []string
}

// Share is a cluster and its weight; 0 where it is the only one.
type Share struct {
	Cluster string
	Weight  int
}

// Routes is a route configuration.
type Routes struct {
	Name       string
	Hosts      []VirtualHost
	IgnorePort bool
}

// VirtualHost has the routes for some domains.
type VirtualHost struct {
	Name    string
	Domains []string
	Routes  []Route
}

// Route says where requests go that match.
type Route struct {
	Name     string
	Match    Match
	Clusters []Share
	// Source is the path of the object that istiod made the route of, such as
	// "/apis/networking.istio.io/v1/namespaces/NS/virtual-service/NAME"; empty if none.
	Source   string
	Direct   int // status of an answer of the proxy's own; 0 if it forwards
	Redirect bool
	Mirrors  []string
	// Authority replaces the request's; empty if it stays.
	Authority string
	// AuthorityOther says that the route makes the authority of something that is not
	// known here, such as a header.
	AuthorityOther bool
	Retries        int // at most; 0 if it makes none
	RetryOn        string
	Timeout        string
	// Removed are request headers that the route takes away.
	Removed []string
	// Abort says that the route answers some requests with an injected fault.
	Abort, Delay bool
}

// Match is what a route asks of a request.
type Match struct {
	Kind  string // "prefix", "path", "separated-prefix", "regex", "other"
	Value string
	// Headers that it asks for, for people; Exact are those with an exact value.
	Headers []string
	Exact   map[string]string
	Query   bool
}

func (m Match) String() string {
	s := m.Kind + " " + m.Value
	if len(m.Headers) > 0 {
		s += " with " + strings.Join(m.Headers, ", ")
	}
	return s
}

// Any reports whether the route takes every request.
func (m Match) Any() bool {
	return m.Kind == "prefix" && m.Value == "/" && len(m.Headers) == 0 && !m.Query
}

// Parse reads a config dump: Envoy's, istiod's, or one that was computed. One without
// clusters or listeners is an error.
func Parse(dump []byte) (*Config, error) {
	snake, err := spelledAsEnvoy(dump)
	if err != nil {
		return nil, err
	}
	clusters, err := envoy.ParseConfigDump(snake)
	if err != nil {
		return nil, err
	}
	c := &Config{Routes: map[string]Routes{}, Clusters: map[string]*envoy.Cluster{}}
	for _, k := range clusters.Clusters() {
		c.Clusters[k.Name()] = k
	}
	for _, k := range clusters.Warming() {
		c.Warming = append(c.Warming, k.Name())
	}
	c.Rejected = clusters.Rejected()
	var top struct {
		Configs []json.RawMessage `json:"configs"`
	}
	if err := json.Unmarshal(snake, &top); err != nil {
		return nil, fmt.Errorf("config dump: %w", err)
	}
	listeners := false
	for _, raw := range top.Configs {
		var head struct {
			Type string `json:"@type"`
		}
		if err := json.Unmarshal(raw, &head); err != nil {
			return nil, fmt.Errorf("config dump: %w", err)
		}
		switch head.Type[strings.LastIndex(head.Type, ".")+1:] {
		case "ListenersConfigDump":
			listeners = true
			err = c.listeners(raw)
		case "RoutesConfigDump":
			err = c.routes(raw)
		case "EndpointsConfigDump":
			err = c.endpoints(raw)
		case "SecretsConfigDump":
			if c.Secrets, err = envoy.ParseSecrets(snake); c.Secrets == nil {
				c.Secrets = []envoy.Secret{}
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if !listeners {
		return nil, fmt.Errorf("config dump: there is no ListenersConfigDump")
	}
	return c, nil
}

// spelledAsEnvoy spells a dump's field names as Envoy does; istiod and istioctl write
// camelCase. Keys of free maps that have capitals do not occur in what is read here.
func spelledAsEnvoy(dump []byte) ([]byte, error) {
	if !bytes.Contains(dump, []byte(`"dynamicListeners"`)) && !bytes.Contains(dump, []byte(`"dynamicActiveClusters"`)) {
		return dump, nil
	}
	d := json.NewDecoder(bytes.NewReader(dump))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("config dump: %w", err)
	}
	return json.Marshal(snakeKeys(v))
}

func snakeKeys(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			// Names of extensions and of labels have dots, slashes or hyphens; tlsMode is a
			// label of Istio's own, in metadata and in matches of it.
			if !strings.ContainsAny(key, "./-") && key != "tlsMode" {
				key = snake(key)
			}
			out[key] = snakeKeys(value)
		}
		return out
	case []any:
		for i := range v {
			v[i] = snakeKeys(v[i])
		}
	}
	return v
}

func snake(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

type rawListener struct {
	Name    string `json:"name"`
	Address struct {
		Socket *struct {
			Address string `json:"address"`
			Port    int    `json:"port_value"`
		} `json:"socket_address"`
	} `json:"address"`
	Chains  []rawChain `json:"filter_chains"`
	Default *rawChain  `json:"default_filter_chain"`
}

func (c *Config) listeners(raw []byte) error {
	type state struct {
		Listener *rawListener `json:"listener"`
	}
	var section struct {
		Static  []state `json:"static_listeners"`
		Dynamic []struct {
			Name    string `json:"name"`
			Active  *state `json:"active_state"`
			Warming *state `json:"warming_state"`
			Error   *struct {
				Details string `json:"details"`
			} `json:"error_state"`
		} `json:"dynamic_listeners"`
	}
	if err := json.Unmarshal(raw, &section); err != nil {
		return fmt.Errorf("config dump: listeners: %w", err)
	}
	for _, s := range section.Static {
		if s.Listener != nil {
			c.Listeners = append(c.Listeners, s.Listener.listener())
		}
	}
	for _, d := range section.Dynamic {
		if d.Error != nil {
			c.Rejected = append(c.Rejected, envoy.Rejection{Name: d.Name, Details: d.Error.Details})
		}
		if d.Warming != nil {
			c.Warming = append(c.Warming, d.Name)
		}
		if d.Active != nil && d.Active.Listener != nil {
			c.Listeners = append(c.Listeners, d.Active.Listener.listener())
		}
	}
	return nil
}

func (r *rawListener) listener() Listener {
	l := Listener{Name: r.Name}
	if s := r.Address.Socket; s != nil {
		l.Address, l.Port = s.Address, s.Port
	}
	for _, chain := range r.Chains {
		l.Chains = append(l.Chains, chain.chain())
	}
	if r.Default != nil {
		chain := r.Default.chain()
		chain.Default = true
		l.Chains = append(l.Chains, chain)
	}
	return l
}

type rawChain struct {
	Name  string `json:"name"`
	Match struct {
		ServerNames []string `json:"server_names"`
		Transport   string   `json:"transport_protocol"`
		ALPN        []string `json:"application_protocols"`
		Port        int      `json:"destination_port"`
		Prefixes    []struct {
			Address string `json:"address_prefix"`
			Length  int    `json:"prefix_len"`
		} `json:"prefix_ranges"`
	} `json:"filter_chain_match"`
	Filters []struct {
		Name   string          `json:"name"`
		Config json.RawMessage `json:"typed_config"`
	} `json:"filters"`
	Socket *struct {
		Config struct {
			Type    string `json:"@type"`
			Require bool   `json:"require_client_certificate"`
			Common  struct {
				ALPN     []string `json:"alpn_protocols"`
				SDS      []named  `json:"tls_certificate_sds_secret_configs"`
				Combined struct {
					SDS named `json:"validation_context_sds_secret_config"`
				} `json:"combined_validation_context"`
				Validation named `json:"validation_context_sds_secret_config"`
			} `json:"common_tls_context"`
		} `json:"typed_config"`
	} `json:"transport_socket"`
}

type named struct {
	Name string `json:"name"`
}

func (r rawChain) chain() Chain {
	c := Chain{Name: r.Name, ServerNames: r.Match.ServerNames, Transport: r.Match.Transport, ALPN: r.Match.ALPN, Port: r.Match.Port}
	for _, p := range r.Match.Prefixes {
		c.Prefixes = append(c.Prefixes, fmt.Sprintf("%s/%d", p.Address, p.Length))
	}
	for _, f := range r.Filters {
		c.Filters = append(c.Filters, f.Name)
		c.filter(f.Config)
	}
	if r.Socket != nil && strings.HasSuffix(r.Socket.Config.Type, ".DownstreamTlsContext") {
		common := r.Socket.Config.Common
		t := &ServerTLS{RequireClientCertificate: r.Socket.Config.Require, ALPN: common.ALPN, ValidationSDS: common.Combined.SDS.Name}
		if t.ValidationSDS == "" {
			t.ValidationSDS = common.Validation.Name
		}
		for _, s := range common.SDS {
			t.CertificateSDS = append(t.CertificateSDS, s.Name)
		}
		c.TLS = t
	}
	return c
}

// filter reads a network filter. One that cannot be read is of a kind that does not
// matter here: its name is kept.
func (c *Chain) filter(raw json.RawMessage) {
	var f struct {
		Type string `json:"@type"`
		RDS  struct {
			Name string `json:"route_config_name"`
		} `json:"rds"`
		Inline   *rawRoutes  `json:"route_config"`
		Cluster  string      `json:"cluster"`
		Weighted rawWeighted `json:"weighted_clusters"`
		HTTP     []struct {
			Name   string          `json:"name"`
			Config json.RawMessage `json:"typed_config"`
		} `json:"http_filters"`
		Rules json.RawMessage `json:"rules"`
	}
	if json.Unmarshal(raw, &f) != nil {
		return
	}
	switch kind := f.Type[strings.LastIndex(f.Type, ".")+1:]; kind {
	case "HttpConnectionManager":
		c.HTTP = true
		c.RouteConfig = f.RDS.Name
		if f.Inline != nil {
			r := f.Inline.routes()
			c.Inline = &r
		}
		for _, h := range f.HTTP {
			c.Filters = append(c.Filters, h.Name)
			if h.Name == "envoy.filters.http.rbac" {
				c.RBAC = append(c.RBAC, h.Config)
			}
		}
	case "TcpProxy":
		if f.Cluster != "" {
			c.TCP = append(c.TCP, Share{Cluster: f.Cluster})
		}
		c.TCP = append(c.TCP, f.Weighted.shares()...)
	case "RBAC":
		c.RBAC = append(c.RBAC, raw)
	}
	for _, name := range c.Filters {
		c.OriginalSNI = c.OriginalSNI || name == "envoy.filters.network.sni_cluster"
	}
}

type rawWeighted struct {
	Clusters []struct {
		Name   string      `json:"name"`
		Weight json.Number `json:"weight"`
		// HostRewrite is Envoy's host_rewrite_literal of one of several clusters.
		HostRewrite string `json:"host_rewrite_literal"`
	} `json:"clusters"`
}

func (r rawWeighted) shares() (found []Share) {
	for _, k := range r.Clusters {
		weight, _ := strconv.Atoi(k.Weight.String())
		found = append(found, Share{Cluster: k.Name, Weight: weight})
	}
	return found
}

func (c *Config) endpoints(raw []byte) error {
	type load struct {
		Config *struct {
			Name      string `json:"cluster_name"`
			Endpoints []struct {
				Endpoints []struct {
					Health   string `json:"health_status"`
					Endpoint struct {
						Address struct {
							Socket *struct {
								Address string `json:"address"`
								Port    int    `json:"port_value"`
							} `json:"socket_address"`
						} `json:"address"`
					} `json:"endpoint"`
					Metadata struct {
						Filter map[string]struct {
							TLSMode string `json:"tlsMode"`
							Snake   string `json:"tls_mode"`
						} `json:"filter_metadata"`
					} `json:"metadata"`
				} `json:"lb_endpoints"`
			} `json:"endpoints"`
		} `json:"endpoint_config"`
	}
	var section struct {
		Static  []load `json:"static_endpoint_configs"`
		Dynamic []load `json:"dynamic_endpoint_configs"`
	}
	if err := json.Unmarshal(raw, &section); err != nil {
		return fmt.Errorf("config dump: endpoints: %w", err)
	}
	c.Endpoints = map[string][]Endpoint{}
	for _, l := range append(section.Static, section.Dynamic...) {
		if l.Config == nil {
			continue
		}
		found := []Endpoint{}
		for _, locality := range l.Config.Endpoints {
			for _, e := range locality.Endpoints {
				if s := e.Endpoint.Address.Socket; s != nil {
					match := e.Metadata.Filter["envoy.transport_socket_match"]
					if match.TLSMode == "" {
						match.TLSMode = match.Snake
					}
					found = append(found, Endpoint{Address: s.Address, Port: s.Port, Health: e.Health, TLSMode: match.TLSMode})
				}
			}
		}
		c.Endpoints[l.Config.Name] = found
	}
	return nil
}

// wildcard reports whether an address stands for all of a host's.
func wildcard(address string) bool {
	a, err := netip.ParseAddr(address)
	return err == nil && a.IsUnspecified()
}
