package main

import (
	"fmt"
	"io"
	"strings"

	"twohop/internal/channel"
)

// writeChannels lists channels for people.
func writeChannels(w io.Writer, m *channel.Mesh, channels []*channel.Channel) error {
	var b strings.Builder
	if len(channels) == 0 {
		b.WriteString("No external host is meant to leave through a gateway here.\n")
	}
	for _, c := range channels {
		fmt.Fprintf(&b, "%s\n", c.Host)
		var ports []string
		for _, p := range c.Ports {
			ports = append(ports, p.String())
		}
		fmt.Fprintf(&b, "  ports      %s\n", strings.Join(ports, ", "))
		list(&b, "why", c.Why)
		list(&b, "callers", workloadNames(c.Callers))
		list(&b, "gateways", workloadNames(c.Routers))
		var made []string
		for _, o := range c.Objects() {
			made = append(made, o.String())
		}
		list(&b, "objects", made)
		b.WriteString("\n")
	}
	for _, u := range m.Unknown {
		fmt.Fprintf(&b, "unknown: %s: %s\n", u.Ref, u.What)
	}
	for _, a := range m.Assumed {
		fmt.Fprintf(&b, "assumed: %s\n", a)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func list(b *strings.Builder, title string, lines []string) {
	for i, l := range lines {
		if i > 0 {
			title = ""
		}
		fmt.Fprintf(b, "  %-10s %s\n", title, l)
	}
}

func workloadNames(ws []*channel.Workload) (names []string) {
	for _, w := range ws {
		n := w.Ref.String()
		if w.Assumed != "" {
			n += " (assumed)"
		}
		names = append(names, n)
	}
	return names
}
