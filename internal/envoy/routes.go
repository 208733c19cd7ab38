package envoy

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// RouteConfig is one set of routes of a proxy, read as leniently as listeners.
type RouteConfig struct {
	Name         string
	Version      string // empty for static ones and for istioctl's
	VirtualHosts []VirtualHost
}

// VirtualHost is what a proxy does with the requests for some domains.
type VirtualHost struct {
	Name    string
	Domains []string
	Routes  []Route
}

// Route is where one kind of request goes.
type Route struct {
	Name  string
	Match string // "prefix:/", "path:/x", "regex:…", "separated-prefix:…"; "other" for what is none of these
	// Clusters that carry the request, with weights where there are several.
	Clusters []WeightedCluster
	// DirectStatus is the status of an answer that the proxy gives itself; nil
	// where the request is forwarded.
	DirectStatus *uint32
	Redirect     bool
	// Retry is nil where the route has no retry policy.
	Retry *Retry
}

// WeightedCluster is a cluster and its share; the weight is nil where it is
// the only one.
type WeightedCluster struct {
	Name   string
	Weight *uint32
}

// Retry is a route's retry policy.
type Retry struct {
	On    string  // conditions, comma-separated
	Times *uint32 // nil: Envoy's default of 1
}

// ParseRoutes reads a proxy's routes from an answer of GET /config_dump (in
// full, of ?mask=dynamic_route_configs, or of ?resource=dynamic_route_configs
// or static_route_configs) or from what `istioctl proxy-config route -o json`
// prints.
func ParseRoutes(raw []byte) ([]RouteConfig, error) {
	var found []RouteConfig
	if isList(raw) {
		var bodies []json.RawMessage
		if err := json.Unmarshal(raw, &bodies); err != nil {
			return nil, fmt.Errorf("routes: %w", err)
		}
		for _, body := range bodies {
			r, err := parseRoutes(body, "")
			if err != nil {
				return nil, err
			}
			found = append(found, r)
		}
		return found, nil
	}
	_, in, err := entries(raw, "RoutesConfigDump", "static_route_configs", "dynamic_route_configs")
	if err != nil {
		return nil, err
	}
	for _, e := range in {
		body := e.body.get("route_config")
		if body == nil {
			if e.body.get("error_state") != nil {
				continue
			}
			return nil, fmt.Errorf("routes: an entry of %s has neither route_config nor error_state", e.list+e.kind)
		}
		version, err := e.body.text("version_info")
		if err != nil {
			return nil, fmt.Errorf("routes: %w", err)
		}
		r, err := parseRoutes(body, version)
		if err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	return found, nil
}

// FindVirtualHosts returns the virtual hosts that serve a domain literally, in
// all route configs or in the named one; an *AbsentError where there is none.
func FindVirtualHosts(routes []RouteConfig, config, domain string) ([]VirtualHost, error) {
	var found []VirtualHost
	var have []string
	for _, r := range routes {
		if config != "" && r.Name != config {
			continue
		}
		for _, v := range r.VirtualHosts {
			for _, d := range v.Domains {
				if d == domain {
					found = append(found, v)
				}
				have = append(have, r.Name+" "+d)
			}
		}
	}
	if len(found) == 0 {
		return nil, &AbsentError{Kind: "virtual host", Name: domain, Have: have}
	}
	return found, nil
}

func parseRoutes(body []byte, version string) (RouteConfig, error) {
	var raw rawRoutes
	if err := snakeKeys(body, &raw); err != nil {
		return RouteConfig{}, fmt.Errorf("route config: %w: %s", err, excerpt(body))
	}
	return raw.routes(version), nil
}

type rawRoutes struct {
	Name  string `json:"name"`
	Hosts []struct {
		Name    string   `json:"name"`
		Domains []string `json:"domains"`
		Routes  []struct {
			Name  string `json:"name"`
			Match struct {
				Prefix    *string `json:"prefix"`
				Path      *string `json:"path"`
				Separated *string `json:"path_separated_prefix"`
				Regex     *struct {
					Regex string `json:"regex"`
				} `json:"safe_regex"`
			} `json:"match"`
			Route struct {
				Cluster  string `json:"cluster"`
				Weighted struct {
					Clusters []struct {
						Name   string    `json:"name"`
						Weight *uintText `json:"weight"`
					} `json:"clusters"`
				} `json:"weighted_clusters"`
				Retry *struct {
					On    string  `json:"retry_on"`
					Times *uint32 `json:"num_retries"`
				} `json:"retry_policy"`
			} `json:"route"`
			Direct *struct {
				Status uint32 `json:"status"`
			} `json:"direct_response"`
			Redirect json.RawMessage `json:"redirect"`
		} `json:"routes"`
	} `json:"virtual_hosts"`
}

func (r rawRoutes) routes(version string) RouteConfig {
	out := RouteConfig{Name: r.Name, Version: version}
	for _, h := range r.Hosts {
		v := VirtualHost{Name: h.Name, Domains: h.Domains}
		for _, x := range h.Routes {
			route := Route{Name: x.Name, Match: "other", Redirect: len(x.Redirect) > 0}
			switch m := x.Match; {
			case m.Prefix != nil:
				route.Match = "prefix:" + *m.Prefix
			case m.Path != nil:
				route.Match = "path:" + *m.Path
			case m.Separated != nil:
				route.Match = "separated-prefix:" + *m.Separated
			case m.Regex != nil:
				route.Match = "regex:" + m.Regex.Regex
			}
			if x.Route.Cluster != "" {
				route.Clusters = []WeightedCluster{{Name: x.Route.Cluster}}
			}
			for _, c := range x.Route.Weighted.Clusters {
				w := WeightedCluster{Name: c.Name}
				if c.Weight != nil {
					n := uint32(*c.Weight)
					w.Weight = &n
				}
				route.Clusters = append(route.Clusters, w)
			}
			if x.Direct != nil {
				route.DirectStatus = &x.Direct.Status
			}
			if x.Route.Retry != nil {
				route.Retry = &Retry{On: x.Route.Retry.On, Times: x.Route.Retry.Times}
			}
			v.Routes = append(v.Routes, route)
		}
		out.VirtualHosts = append(out.VirtualHosts, v)
	}
	return out
}

func isList(raw []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")) }
