package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"twohop/internal/audit/offline"
	"twohop/internal/channel"
)

func newChannelsCmd() *cobra.Command {
	var f yamlFlags
	cmd := &cobra.Command{
		Use:   "channels -f PATH",
		Short: "List the external hosts that are meant to leave through a gateway",
		Long: `Channels reads YAML and lists each external host that is meant to leave through an
egress gateway: why, its callers and ports, and the objects that route it. It also lists
objects that it does not support.`,
		Example: `  twohop channels -f manifests/`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(f.paths) == 0 {
				return usageError("say what to read: -f and a file, a folder or - for standard input")
			}
			o, err := f.options(cmd)
			if err != nil {
				return err
			}
			m, channels, _, err := offline.Read(o)
			if err != nil {
				return err
			}
			return writeChannels(cmd.OutOrStdout(), m, channels)
		},
	}
	f.add(cmd)
	return cmd
}

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
