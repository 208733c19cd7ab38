package walk

import (
	"encoding/json"
	"fmt"
	"strings"
)

type rawRoutes struct {
	Name       string `json:"name"`
	IgnorePort bool   `json:"ignore_port_in_host_matching"`
	Hosts      []struct {
		Name    string     `json:"name"`
		Domains []string   `json:"domains"`
		Routes  []rawRoute `json:"routes"`
	} `json:"virtual_hosts"`
}

type rawRoute struct {
	Name  string `json:"name"`
	Match struct {
		Prefix    *string `json:"prefix"`
		Path      *string `json:"path"`
		Separated *string `json:"path_separated_prefix"`
		Regex     *struct {
			Regex string `json:"regex"`
		} `json:"safe_regex"`
		Headers []rawHeaderMatch  `json:"headers"`
		Query   []json.RawMessage `json:"query_parameters"`
	} `json:"match"`
	Route struct {
		Cluster       string          `json:"cluster"`
		Weighted      rawWeighted     `json:"weighted_clusters"`
		HostLiteral   string          `json:"host_rewrite_literal"`
		HostHeader    string          `json:"host_rewrite_header"`
		HostRegex     json.RawMessage `json:"host_rewrite_path_regex"`
		AutoHost      bool            `json:"auto_host_rewrite"`
		Timeout       string          `json:"timeout"`
		ClusterHeader string          `json:"cluster_header"`
		Retry         *struct {
			On    string `json:"retry_on"`
			Times *int   `json:"num_retries"`
		} `json:"retry_policy"`
		Mirrors []struct {
			Cluster string `json:"cluster"`
		} `json:"request_mirror_policies"`
	} `json:"route"`
	Removed []string `json:"request_headers_to_remove"`
	Direct  *struct {
		Status int `json:"status"`
	} `json:"direct_response"`
	Redirect json.RawMessage `json:"redirect"`
	Metadata struct {
		Filter map[string]struct {
			Config string `json:"config"`
		} `json:"filter_metadata"`
	} `json:"metadata"`
	PerFilter map[string]struct {
		Abort json.RawMessage `json:"abort"`
		Delay json.RawMessage `json:"delay"`
	} `json:"typed_per_filter_config"`
}

type rawHeaderMatch struct {
	Name    string `json:"name"`
	Exact   string `json:"exact_match"`
	Present bool   `json:"present_match"`
	Invert  bool   `json:"invert_match"`
	String  struct {
		Exact  string `json:"exact"`
		Prefix string `json:"prefix"`
		Suffix string `json:"suffix"`
		Regex  struct {
			Regex string `json:"regex"`
		} `json:"safe_regex"`
	} `json:"string_match"`
}

func (c *Config) routes(raw []byte) error {
	type entry struct {
		Config *rawRoutes `json:"route_config"`
	}
	var section struct {
		Static  []entry `json:"static_route_configs"`
		Dynamic []entry `json:"dynamic_route_configs"`
	}
	if err := json.Unmarshal(raw, &section); err != nil {
		return fmt.Errorf("config dump: routes: %w", err)
	}
	for _, e := range append(section.Static, section.Dynamic...) {
		if e.Config != nil && e.Config.Name != "" {
			c.Routes[e.Config.Name] = e.Config.routes()
		}
	}
	return nil
}

func (r rawRoutes) routes() Routes {
	out := Routes{Name: r.Name, IgnorePort: r.IgnorePort}
	for _, h := range r.Hosts {
		v := VirtualHost{Name: h.Name, Domains: h.Domains}
		for _, route := range h.Routes {
			v.Routes = append(v.Routes, route.route())
		}
		out.Hosts = append(out.Hosts, v)
	}
	return out
}

func (r rawRoute) route() Route {
	out := Route{
		Name: r.Name, Match: r.match(), Source: r.Metadata.Filter["istio"].Config, Redirect: len(r.Redirect) > 0,
		Authority: r.Route.HostLiteral, AuthorityOther: r.Route.HostHeader != "" || len(r.Route.HostRegex) > 0 || r.Route.AutoHost || r.Route.ClusterHeader != "",
		Timeout: r.Route.Timeout, Removed: r.Removed,
	}
	if r.Route.Cluster != "" {
		out.Clusters = []Share{{Cluster: r.Route.Cluster}}
	}
	out.Clusters = append(out.Clusters, r.Route.Weighted.shares()...)
	for _, k := range r.Route.Weighted.Clusters {
		if k.HostRewrite != "" {
			out.Authority = k.HostRewrite
		}
	}
	for _, m := range r.Route.Mirrors {
		out.Mirrors = append(out.Mirrors, m.Cluster)
	}
	if r.Direct != nil {
		out.Direct = r.Direct.Status
	}
	if p := r.Route.Retry; p != nil {
		out.RetryOn, out.Retries = p.On, 1 // Envoy's default
		if p.Times != nil {
			out.Retries = *p.Times
		}
	}
	fault := r.PerFilter["envoy.filters.http.fault"]
	out.Abort, out.Delay = len(fault.Abort) > 0, len(fault.Delay) > 0
	return out
}

func (r rawRoute) match() Match {
	m := Match{Kind: "other", Query: len(r.Match.Query) > 0, Exact: map[string]string{}}
	switch p := r.Match; {
	case p.Prefix != nil:
		m.Kind, m.Value = "prefix", *p.Prefix
	case p.Path != nil:
		m.Kind, m.Value = "path", *p.Path
	case p.Separated != nil:
		m.Kind, m.Value = "separated-prefix", *p.Separated
	case p.Regex != nil:
		m.Kind, m.Value = "regex", p.Regex.Regex
	}
	for _, h := range r.Match.Headers {
		if h.Name == ":authority" {
			continue // the virtual host has asked for it already
		}
		m.Headers = append(m.Headers, h.Name)
		if exact := h.Exact + h.String.Exact; exact != "" && !h.Invert {
			m.Exact[h.Name] = exact
		}
	}
	return m
}

// hostFor is the virtual host for an authority: Envoy looks for the name itself, then
// the longest suffix, then the longest prefix, then "*" (source/common/router/config_impl.cc).
func (r Routes) hostFor(authority string) (VirtualHost, bool) {
	authority = strings.ToLower(authority)
	if r.IgnorePort {
		authority = withoutPort(authority)
	}
	var best VirtualHost
	rank, length := 0, 0
	for _, v := range r.Hosts {
		for _, d := range v.Domains {
			d = strings.ToLower(d)
			n := 0
			switch {
			case d == authority:
				n = 4
			case d == "*":
				n = 1
			case strings.HasPrefix(d, "*") && strings.HasSuffix(authority, d[1:]) && len(authority) > len(d)-1:
				n = 3
			case strings.HasSuffix(d, "*") && strings.HasPrefix(authority, d[:len(d)-1]) && len(authority) > len(d)-1:
				n = 2
			}
			if n > rank || n == rank && n > 0 && len(d) > length {
				best, rank, length = v, n, len(d)
			}
		}
	}
	return best, rank > 0
}

func withoutPort(authority string) string {
	if i := strings.LastIndexByte(authority, ':'); i > 0 && !strings.HasSuffix(authority, "]") {
		return authority[:i]
	}
	return authority
}
