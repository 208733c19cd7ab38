package envoy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Listener is what the claims need to know of a listener. It is read
// leniently: whatever else a listener holds, known here or not, is skipped.
type Listener struct {
	Name    string
	Address string // "host:port"
	Version string // of the update that brought it; empty for static ones and for istioctl's
	Warming bool
	Chains  []FilterChain
	// Rejected is the update of this listener that the proxy refused, if any.
	Rejected *Rejection
}

// FilterChain is one filter chain of a listener; the default one is last.
type FilterChain struct {
	Name            string
	Default         bool
	ServerNames     []string // SNI; none: any
	Transport       string   // transport protocol to match: "tls", "raw_buffer", ""
	ALPN            []string // application protocols to match
	DestinationPort uint32   // to match; 0: any
	Filters         []string // names of the network filters, in order
	// RouteConfig is the name of the routes that its HTTP connection manager
	// asks for; empty where there is none or they are inline.
	RouteConfig string
	// Inline holds the routes that came with the listener.
	Inline *RouteConfig
	// TCPCluster is where its TCP proxy sends bytes, if it has one cluster.
	TCPCluster string
	// TLS is nil where the chain is plaintext.
	TLS *DownstreamTLS
}

// DownstreamTLS is what a filter chain presents to and demands of its clients.
type DownstreamTLS struct {
	// RequireClientCertificate is nil where the config does not say; Envoy
	// then does not require one.
	RequireClientCertificate *bool
	CertificateSDS           []string
	ValidationSDS            string
	ALPN                     []string
}

// ParseListeners reads a proxy's listeners from an answer of GET /config_dump
// (in full, of ?mask=dynamic_listeners, or of ?resource=dynamic_listeners or
// static_listeners) or from what `istioctl proxy-config listener -o json`
// prints.
func ParseListeners(raw []byte) ([]Listener, error) {
	if isList(raw) {
		var bodies []json.RawMessage
		if err := json.Unmarshal(raw, &bodies); err != nil {
			return nil, fmt.Errorf("listeners: %w", err)
		}
		var found []Listener
		for _, body := range bodies {
			l, err := parseListener(body)
			if err != nil {
				return nil, err
			}
			found = append(found, l)
		}
		return found, nil
	}
	_, in, err := entries(raw, "ListenersConfigDump", "static_listeners", "dynamic_listeners")
	if err != nil {
		return nil, err
	}
	var found []Listener
	for _, e := range in {
		l, err := dumpedListener(e.body)
		if err != nil {
			return nil, err
		}
		found = append(found, l)
	}
	return found, nil
}

// FindListener returns the listener of that name, or an *AbsentError.
func FindListener(listeners []Listener, name string) (Listener, error) {
	var have []string
	for _, l := range listeners {
		if l.Name == name {
			return l, nil
		}
		have = append(have, l.Name)
	}
	return Listener{}, &AbsentError{Kind: "listener", Name: name, Have: have}
}

// ServedNames returns the server names of all chains, sorted, each once.
func (l Listener) ServedNames() []string {
	var names []string
	for _, c := range l.Chains {
		names = append(names, c.ServerNames...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ChainFor returns the chains that name a server name literally.
func (l Listener) ChainFor(serverName string) []FilterChain {
	var found []FilterChain
	for _, c := range l.Chains {
		if slices.Contains(c.ServerNames, serverName) {
			found = append(found, c)
		}
	}
	return found
}

// dumpedListener reads an entry of a config dump: its active state, else its
// warming one, else (refused from the start) only its name and the refusal.
func dumpedListener(o object) (Listener, error) {
	name, err := o.text("name")
	if err != nil {
		return Listener{}, fmt.Errorf("listener: %w", err)
	}
	l := Listener{Name: name}
	state, warming := o, false
	if body := o.get("listener"); body == nil {
		state = nil
		for _, s := range []string{"active_state", "warming_state"} {
			if body := o.get(s); body != nil && state == nil {
				warming = s == "warming_state"
				if err := json.Unmarshal(body, &state); err != nil {
					return Listener{}, fmt.Errorf("listener %q: %s: %w", name, s, err)
				}
			}
		}
	}
	if state != nil {
		body := state.get("listener")
		if body == nil {
			return Listener{}, fmt.Errorf("listener %q: a state without a listener", name)
		}
		if l, err = parseListener(body); err != nil {
			return Listener{}, err
		}
		if l.Name == "" {
			l.Name = name
		}
		l.Warming = warming
		if l.Version, err = state.text("version_info"); err != nil {
			return Listener{}, fmt.Errorf("listener %q: %w", l.Name, err)
		}
	}
	if body := o.get("error_state"); body != nil {
		r, err := rejection(body)
		if err != nil {
			return Listener{}, fmt.Errorf("listener %q: error_state: %w", l.Name, err)
		}
		l.Rejected = &r
		if l.Name == "" {
			// Envoy prints a refused update once by name and once without.
			l.Name = r.Name
		}
	} else if state == nil && o.get("draining_state") == nil {
		return Listener{}, fmt.Errorf("listener %q has neither an active, a warming, a draining nor an error state", name)
	}
	return l, nil
}

func parseListener(body []byte) (Listener, error) {
	var raw struct {
		Name    string `json:"name"`
		Address struct {
			Socket *struct {
				Address string `json:"address"`
				Port    uint32 `json:"port_value"`
			} `json:"socket_address"`
			Pipe *struct {
				Path string `json:"path"`
			} `json:"pipe"`
			Internal *struct {
				Name string `json:"server_listener_name"`
			} `json:"envoy_internal_address"`
		} `json:"address"`
		Chains  []rawChain `json:"filter_chains"`
		Default *rawChain  `json:"default_filter_chain"`
	}
	if err := snakeKeys(body, &raw); err != nil {
		return Listener{}, fmt.Errorf("listener: %w: %s", err, excerpt(body))
	}
	l := Listener{Name: raw.Name}
	switch a := raw.Address; {
	case a.Socket != nil && a.Socket.Port == 0:
		return Listener{}, fmt.Errorf("listener %q has no port: %s", raw.Name, excerpt(body))
	case a.Socket != nil:
		l.Address = joinHostPort(a.Socket.Address, strconv.FormatUint(uint64(a.Socket.Port), 10))
	case a.Pipe != nil:
		l.Address = "unix://" + a.Pipe.Path
	case a.Internal != nil:
		l.Address = "envoy://" + a.Internal.Name
	}
	for _, c := range raw.Chains {
		l.Chains = append(l.Chains, c.chain())
	}
	if raw.Default != nil {
		c := raw.Default.chain()
		c.Default = true
		l.Chains = append(l.Chains, c)
	}
	return l, nil
}

type rawChain struct {
	Name  string `json:"name"`
	Match struct {
		ServerNames     []string `json:"server_names"`
		Transport       string   `json:"transport_protocol"`
		ALPN            []string `json:"application_protocols"`
		DestinationPort uint32   `json:"destination_port"`
	} `json:"filter_chain_match"`
	Filters []struct {
		Name   string `json:"name"`
		Config struct {
			Type string `json:"@type"`
			RDS  struct {
				Name string `json:"route_config_name"`
			} `json:"rds"`
			RouteConfig *rawRoutes `json:"route_config"`
			// A TCP proxy's cluster. Filters of other types may use the word
			// otherwise, so it stays raw until the type is known.
			Cluster json.RawMessage `json:"cluster"`
		} `json:"typed_config"`
	} `json:"filters"`
	Socket *struct {
		Config struct {
			Type    string `json:"@type"`
			Require *bool  `json:"require_client_certificate"`
			Common  struct {
				ALPN     []string  `json:"alpn_protocols"`
				SDS      []rawName `json:"tls_certificate_sds_secret_configs"`
				Combined struct {
					SDS rawName `json:"validation_context_sds_secret_config"`
				} `json:"combined_validation_context"`
				ValidationSDS rawName `json:"validation_context_sds_secret_config"`
			} `json:"common_tls_context"`
		} `json:"typed_config"`
	} `json:"transport_socket"`
}

type rawName struct {
	Name string `json:"name"`
}

func (c rawChain) chain() FilterChain {
	out := FilterChain{
		Name: c.Name, ServerNames: c.Match.ServerNames, Transport: c.Match.Transport,
		ALPN: c.Match.ALPN, DestinationPort: c.Match.DestinationPort,
	}
	for _, f := range c.Filters {
		out.Filters = append(out.Filters, f.Name)
		if f.Config.RDS.Name != "" {
			out.RouteConfig = f.Config.RDS.Name
		}
		if f.Config.RouteConfig != nil {
			r := f.Config.RouteConfig.routes("")
			out.Inline = &r
		}
		if strings.HasSuffix(f.Config.Type, ".TcpProxy") {
			// Weighted clusters leave it out.
			_ = json.Unmarshal(f.Config.Cluster, &out.TCPCluster)
		}
	}
	if c.Socket != nil && strings.HasSuffix(c.Socket.Config.Type, ".DownstreamTlsContext") {
		common := c.Socket.Config.Common
		t := &DownstreamTLS{RequireClientCertificate: c.Socket.Config.Require, ALPN: common.ALPN}
		for _, s := range common.SDS {
			t.CertificateSDS = append(t.CertificateSDS, s.Name)
		}
		if t.ValidationSDS = common.Combined.SDS.Name; t.ValidationSDS == "" {
			t.ValidationSDS = common.ValidationSDS.Name
		}
		out.TLS = t
	}
	return out
}

// ParseListenerPorts reads an answer of GET /listeners?format=json: the TCP
// ports that the proxy has bound, in Envoy's order.
func ParseListenerPorts(raw []byte) ([]int, error) {
	var top struct {
		Statuses *[]struct {
			Name  string `json:"name"`
			Local struct {
				Socket *struct {
					Port int `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(raw, &top); err != nil {
		return nil, fmt.Errorf("listeners: %w: %s", err, excerpt(raw))
	}
	if top.Statuses == nil {
		return nil, fmt.Errorf("listeners: no listener_statuses in %s", excerpt(raw))
	}
	var ports []int
	for _, l := range *top.Statuses {
		if l.Local.Socket != nil {
			ports = append(ports, l.Local.Socket.Port)
		}
	}
	return ports, nil
}
