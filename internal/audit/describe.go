package audit

import (
	"maps"
	"slices"

	"twohop/internal/channel"
)

// describe is what the report says of the channel.
func (e *egress) describe() Channel {
	c := Channel{Host: e.Host, Why: e.Why, Objects: e.Objects(), Hops: []Hop{}, Callers: []string{}, Gateways: []string{}, Ports: []string{}}
	for _, p := range e.Ports {
		c.Ports = append(c.Ports, p.String())
	}
	for _, w := range e.Callers {
		c.Callers = append(c.Callers, described(w))
	}
	for _, w := range e.Routers {
		c.Gateways = append(c.Gateways, described(w))
	}
	first, second := false, false
	var plain bool
	for _, key := range slices.Sorted(maps.Keys(e.hops)) {
		h := e.hops[key]
		c.Hops = append(c.Hops, h)
		first, second = first || h.Number == 1, second || h.Number == 2
		plain = plain || h.TLS != "mutual"
	}
	c.DoubleTLS = first && second && !plain
	return c
}

func described(w *channel.Workload) string {
	s := w.Ref.String()
	if w.Assumed != "" {
		s += " (assumed)"
	}
	return s
}
