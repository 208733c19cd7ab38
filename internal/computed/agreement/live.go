package agreement

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"twohop/internal/given"
	"twohop/internal/observe"
)

// Scope says which resources an answer would hold if the proxy had them.
type Scope func(kind, name string) bool

// Kinds of resources, as package given calls them; endpoints are this package's.
const (
	clusters  = "cluster"
	listeners = "listener"
	routes    = "route configuration"
	secrets   = "secret"
	endpoints = "endpoints of"
)

// section is a part of a config_dump.
type section = map[string]any

// parts makes a whole config_dump of sections, with empty ones for those that package
// given insists on.
func parts(sections ...section) (given.Config, error) {
	for _, kind := range []string{"BootstrapConfigDump", "ClustersConfigDump", "ListenersConfigDump"} {
		sections = append(sections, section{"@type": "empty." + kind})
	}
	raw, err := json.Marshal(map[string]any{"configs": sections})
	if err != nil {
		return nil, err
	}
	c, err := given.Parse(raw)
	if err != nil {
		return nil, err
	}
	return plain(c), nil
}

// plain leaves out what a resource is packed as: istiod's code gives the resource itself.
func plain(c given.Config) given.Config {
	for field := range c {
		if _, path, _ := strings.Cut(field, ": "); path == "@type" {
			delete(c, field)
		}
	}
	return c
}

// read reads a live answer that holds configuration.
func (o Observation) read() (given.Config, Scope, error) {
	u, err := url.Parse(o.Path)
	if err != nil {
		return nil, nil, err
	}
	if o.Path == observe.SecretsDumpPath {
		c, err := parsed(o.Raw)
		return c, only(secrets), err
	}
	var d struct{ Configs []section }
	if err := json.Unmarshal(o.Raw, &d); err != nil {
		return nil, nil, err
	}
	switch resource := u.Query().Get("resource"); resource {
	case "dynamic_active_clusters":
		named, err := regexp.Compile(u.Query().Get("name_regex"))
		if err != nil {
			return nil, nil, err
		}
		c, err := parts(section{"@type": "x.ClustersConfigDump", resource: d.Configs})
		return c, func(kind, name string) bool { return kind == clusters && named.MatchString(name) }, err
	case "dynamic_warming_clusters":
		c, err := parts(section{"@type": "x.ClustersConfigDump", resource: d.Configs})
		// It holds those alone that wait for something.
		return c, func(kind, name string) bool { return kind == clusters && has(c, kind, name) }, err
	case "dynamic_listeners":
		c, err := parts(section{"@type": "x.ListenersConfigDump", resource: d.Configs})
		return c, only(listeners), err
	}
	return nil, nil, fmt.Errorf("an answer of an unknown sort: %s", o.Path)
}

// parsed reads sections as they came.
func parsed(raw []byte) (given.Config, error) {
	var d struct{ Configs []section }
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, err
	}
	return parts(d.Configs...)
}

func only(kind string) Scope { return func(k, _ string) bool { return k == kind } }

func has(c given.Config, kind, name string) bool {
	for field := range c {
		if strings.HasPrefix(field, kind+" "+name+": ") {
			return true
		}
	}
	return false
}
