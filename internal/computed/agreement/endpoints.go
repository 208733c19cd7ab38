package agreement

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"

	"twohop/internal/given"
	"twohop/internal/manifest"
	"twohop/internal/observe"
	"twohop/internal/subject"
)

// socket is an address as Envoy writes it.
type socket struct {
	SocketAddress struct {
		Address   string `json:"address"`
		PortValue int    `json:"port_value"`
	} `json:"socket_address"`
	Pipe *struct{ Path string } `json:"pipe"`
}

// assignment is where a cluster's requests may go.
type assignment struct {
	ClusterName string `json:"cluster_name"`
	Endpoints   []struct {
		LbEndpoints []struct {
			Endpoint struct{ Address socket }
		} `json:"lb_endpoints"`
	}
}

// people tells addresses by who has them: no two runs share one.
type people map[string]string

// anybody is who nobody knows; without stands for a cluster that has no address at all.
const anybody, without = "another", "no address"

// addresses is the one field that a cluster's endpoints have here.
const addresses = "addresses"

// partnersName stands for the address that DNS has for the partner's Service.
const partnersName = "the partner's Service"

// knownTo are those whom an observation knows by their live addresses, and the same by
// the addresses that were made for the computation.
func knownTo(cast observe.Cast, g *Given, s subject.Subject) people {
	p := people{cast.PartnerService: partnersName}
	for _, pod := range cast.Pods {
		p[pod.IP] = string(pod.Role)
		namespace, name := workload(s, pod.Role)
		for address, w := range g.Pods {
			if w.Namespace == namespace && w.Name == name {
				p[address] = string(pod.Role)
			}
		}
	}
	// DNS keeps the cluster's own domain, whatever istiod's is.
	p[s.PartnerService+"."+s.Partner.Namespace+".svc.cluster.local"] = partnersName
	return p
}

func (p people) name(s socket) string {
	who, ok := p[s.SocketAddress.Address]
	switch {
	case s.Pipe != nil:
		return s.Pipe.Path
	case ok:
	case net.ParseIP(s.SocketAddress.Address) != nil:
		who = anybody
	default:
		who = s.SocketAddress.Address
	}
	return fmt.Sprintf("%s:%d", who, s.SocketAddress.PortValue)
}

// list makes a field of a cluster's addresses, each once: a workload of the computation
// has one pod, however many replicas a cluster runs.
func (p people) list(into given.Config, cluster string, sockets []socket) {
	var all []string
	for _, s := range sockets {
		all = append(all, p.name(s))
	}
	slices.Sort(all)
	into[endpoints+" "+cluster+": "+addresses] = strings.Join(slices.Compact(all), ", ")
}

// liveEndpoints reads /clusters: all addresses that a proxy has.
func liveEndpoints(raw []byte, p people) (given.Config, error) {
	var d struct {
		ClusterStatuses []struct {
			Name         string
			HostStatuses []struct{ Address socket } `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, err
	}
	c := given.Config{}
	for _, status := range d.ClusterStatuses {
		if strings.Contains(status.Name, manifest.SentinelDomain) {
			continue // what the harness tells a push by
		}
		var sockets []socket
		for _, h := range status.HostStatuses {
			sockets = append(sockets, h.Address)
		}
		p.list(c, status.Name, sockets)
	}
	return c, nil
}

// computedEndpoints are those of the clusters that istiod's code sends addresses for, or
// writes them in.
func computedEndpoints(dump []byte, p people) (given.Config, error) {
	var d struct {
		Configs []struct {
			Clusters []struct {
				Cluster struct {
					Name           string
					LoadAssignment assignment `json:"load_assignment"`
				}
			} `json:"dynamic_active_clusters"`
			Endpoints []struct {
				Config assignment `json:"endpoint_config"`
			} `json:"dynamic_endpoint_configs"`
		}
	}
	if err := json.Unmarshal(dump, &d); err != nil {
		return nil, err
	}
	sent := map[string]assignment{}
	for _, section := range d.Configs {
		for _, e := range section.Endpoints {
			sent[e.Config.ClusterName] = e.Config
		}
	}
	c := given.Config{}
	for _, section := range d.Configs {
		for _, e := range section.Clusters {
			a, ok := sent[e.Cluster.Name]
			if !ok {
				a = e.Cluster.LoadAssignment
			}
			p.list(c, e.Cluster.Name, a.sockets())
		}
	}
	return c, nil
}

func (a assignment) sockets() (all []socket) {
	for _, locality := range a.Endpoints {
		for _, e := range locality.LbEndpoints {
			all = append(all, e.Endpoint.Address)
		}
	}
	return all
}
