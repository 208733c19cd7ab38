package envoy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Stats is an answer of GET /stats, in text.
type Stats struct {
	Values     map[string]uint64 // counters and gauges
	Texts      map[string]string // text readouts
	Histograms map[string]string // as printed
}

// ParseStats reads an answer of GET /stats[?filter=…] in Envoy's text form.
// An answer without a line is empty: no stat matched, or none is collected.
// Every other line than "NAME: NUMBER", a quoted text or a histogram is an
// error, and so is a name that comes twice with two values.
func ParseStats(raw []byte) (*Stats, error) {
	if len(raw) > 0 && raw[len(raw)-1] != '\n' {
		return nil, fmt.Errorf("stats: the answer is cut off: its last line has no end: %s", excerpt(raw[bytes.LastIndexByte(raw, '\n')+1:]))
	}
	s := &Stats{Values: map[string]uint64{}, Texts: map[string]string{}, Histograms: map[string]string{}}
	for i, line := range strings.Split(string(raw), "\n") {
		if line = strings.TrimRight(line, "\r"); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok || name == "" {
			return nil, fmt.Errorf("stats: line %d is not \"name: value\": %s", i+1, excerpt([]byte(line)))
		}
		switch {
		case strings.HasPrefix(value, `"`):
			text, ok := strings.CutSuffix(value[1:], `"`)
			if !ok {
				return nil, fmt.Errorf("stats: line %d: text without an end: %s", i+1, excerpt([]byte(line)))
			}
			s.Texts[name] = text
		case strings.HasPrefix(value, "P0("), value == "No recorded values":
			s.Histograms[name] = value
		default:
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("stats: line %d: neither a number, a text nor a histogram: %s", i+1, excerpt([]byte(line)))
			}
			if old, twice := s.Values[name]; twice && old != n {
				return nil, fmt.Errorf("stats: %s comes twice, as %d and %d", name, old, n)
			}
			s.Values[name] = n
		}
	}
	return s, nil
}

// Value returns a counter or gauge; false where the proxy does not print it,
// which is not zero: it may not be collected at all.
func (s *Stats) Value(name string) (uint64, bool) {
	v, ok := s.Values[name]
	return v, ok
}

// ClusterStatus is a cluster's line-up of hosts in an answer of
// GET /clusters?format=json.
type ClusterStatus struct {
	Name  string
	Hosts []Host
}

// Host is one upstream host as the proxy sees it now.
type Host struct {
	Address  string // "host:port"
	Hostname string
	// Flags are the reasons against the host, such as "failed_outlier_check"
	// or "failed_active_health_check"; none: the proxy holds it for healthy.
	Flags []string
	// EDSHealth is what discovery says: "HEALTHY", "UNHEALTHY", …; "" where
	// Envoy prints none.
	EDSHealth string
	// Stats by name, such as cx_active, cx_total, cx_connect_fail, rq_total,
	// rq_error. Envoy prints all of them, zero ones without a value.
	Stats map[string]uint64
}

// ParseClusterStatuses reads an answer of GET /clusters?format=json.
func ParseClusterStatuses(raw []byte) ([]ClusterStatus, error) {
	var top struct {
		Statuses *[]struct {
			Name  string `json:"name"`
			Hosts []struct {
				Address struct {
					Socket *struct {
						Address string `json:"address"`
						Port    uint32 `json:"port_value"`
					} `json:"socket_address"`
					Pipe *struct {
						Path string `json:"path"`
					} `json:"pipe"`
					Internal *struct {
						Name     string `json:"server_listener_name"`
						Endpoint string `json:"endpoint_id"`
					} `json:"envoy_internal_address"`
				} `json:"address"`
				Hostname string `json:"hostname"`
				Stats    []struct {
					Name  string   `json:"name"`
					Value uintText `json:"value"`
				} `json:"stats"`
				Health map[string]json.RawMessage `json:"health_status"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := json.Unmarshal(raw, &top); err != nil {
		return nil, fmt.Errorf("cluster statuses: %w: %s", err, excerpt(raw))
	}
	if top.Statuses == nil {
		return nil, fmt.Errorf("cluster statuses: no cluster_statuses in %s", excerpt(raw))
	}
	var found []ClusterStatus
	for _, c := range *top.Statuses {
		status := ClusterStatus{Name: c.Name}
		for _, h := range c.Hosts {
			host := Host{Hostname: h.Hostname, Stats: map[string]uint64{}}
			switch a := h.Address; {
			case a.Socket != nil:
				host.Address = joinHostPort(a.Socket.Address, strconv.FormatUint(uint64(a.Socket.Port), 10))
			case a.Pipe != nil:
				host.Address = "unix://" + a.Pipe.Path
			case a.Internal != nil:
				host.Address = "envoy://" + a.Internal.Name + "/" + a.Internal.Endpoint
			default:
				return nil, fmt.Errorf("cluster status %q: a host without an address", c.Name)
			}
			for _, s := range h.Stats {
				host.Stats[s.Name] = uint64(s.Value)
			}
			for _, flag := range sortedKeys(h.Health) {
				switch v := string(h.Health[flag]); {
				case flag == "eds_health_status":
					host.EDSHealth = strings.Trim(v, `"`)
				case v == "true":
					host.Flags = append(host.Flags, flag)
				}
			}
			status.Hosts = append(status.Hosts, host)
		}
		found = append(found, status)
	}
	return found, nil
}
