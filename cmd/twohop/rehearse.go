package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"twohop/internal/audit/offline"
	"twohop/internal/channel"
	"twohop/internal/computed"
	"twohop/internal/images"
	"twohop/internal/rehearse"
	"twohop/internal/state"
)

func newRehearseCmd() *cobra.Command {
	var f yamlFlags
	var format, envoy string
	var hosts []string
	var changes bool
	cmd := &cobra.Command{
		Use:   "rehearse -f PATH",
		Short: "Send a request through your own egress: two real Envoys, no cluster",
		Long: `Rehearse generates the configuration of the sidecar and the gateway, runs it in two real
Envoys on loopback, and sends requests to a test partner. The partner requires a client
certificate if hop 2 uses mode MUTUAL. It needs no cluster, container or root.

Each call is made unchanged (plain), then with a partner certificate for another name
(wrong-name), with one from another CA (wrong-ca), with a partner that does not trust
the client certificate (other-clients), unchanged again (again), and with the gateway
stopped (gateway-away). A call that succeeds in a changed setup is not protected. If
plain fails, the others prove nothing.

The test partner is derived from the YAML: its certificate has the names in hop 2's
subjectAltNames, and it trusts the CA of the gateway's client certificate. A rehearsal
cannot check DNS or the certificate that the real partner presents. --changes prints each field of the
configuration that the rehearsal changes: addresses, binding, and where secrets, routes
and logs come from.

Exit codes: 0 every call behaved as expected, 1 at least one did not or no host was
found, 2 usage error, 3 the rehearsal could not run.`,
		Example: `  twohop rehearse -f manifests/
  twohop rehearse -f manifests/ --istio 1.30 --changes`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(f.paths) == 0 {
				return usageError("say what to rehearse: -f and a file, a folder or - for standard input")
			}
			if format != "text" && format != formatJSON {
				return usageError("-o %s is no format: write text or json", format)
			}
			return runRehearse(cmd, &f, format, envoy, hosts, changes)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "text", "format: text or json")
	cmd.Flags().StringVar(&envoy, "envoy", os.Getenv("ENVOY_VERSION"), "Envoy version, such as 1.39.3; the line's own if empty (ENVOY_VERSION)")
	cmd.Flags().StringSliceVar(&hosts, "host", nil, "rehearse these hosts only")
	cmd.Flags().BoolVar(&changes, "changes", false, "print each configuration field that the rehearsal changes")
	return cmd
}

// rehearsal is one scene, as it is printed.
type rehearsal struct {
	Host    string            `json:"host"`
	Caller  string            `json:"caller"`
	Holds   bool              `json:"holds"`
	Calls   []rehearsed       `json:"calls"`
	Unknown []string          `json:"unknown"`
	Assumed []string          `json:"assumed"`
	Refused []string          `json:"refused"`
	Changes []rehearse.Change `json:"changes,omitempty"`
	Took    string            `json:"took"`
}

type rehearsed struct {
	Variation rehearse.Variation `json:"variation"`
	Port      int                `json:"port"`
	Holds     bool               `json:"holds"`
	// Void says that the plain call fails: then this one proves nothing.
	Void bool   `json:"void,omitempty"`
	Seen string `json:"seen"`
}

func runRehearse(cmd *cobra.Command, f *yamlFlags, format, version string, hosts []string, changes bool) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := f.options(cmd)
	if err != nil {
		return err
	}
	if o.Program, err = program(cmd, f.line); err != nil {
		return err
	}
	g, err := offline.Gather(ctx, o)
	if err != nil {
		return err
	}
	envoy, err := envoyFor(cmd, f.line, version)
	if err != nil {
		return err
	}
	found := []rehearsal{}
	for _, c := range g.Channels {
		if len(hosts) > 0 && !slices.Contains(hosts, c.Host) {
			continue
		}
		for _, scene := range rehearse.Scenes(g.Mesh, c, g.Answer.Dumps, g.Answer.Pods) {
			scene.Envoy = envoy
			scene.Partner.Lax = asksForNone(c)
			outcome, err := rehearse.Run(ctx, scene)
			if err != nil {
				return fmt.Errorf("rehearse %s: %w", c.Host, err)
			}
			found = append(found, told(c, scene, outcome, changes))
		}
	}
	if format == formatJSON {
		out := json.NewEncoder(cmd.OutOrStdout())
		out.SetIndent("", "  ")
		err = out.Encode(map[string]any{"apiVersion": "twohop.rehearsal/v1", "rehearsals": found})
	} else {
		err = writeRehearsals(cmd.OutOrStdout(), found, g.Mesh.Assumed)
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(found, func(r rehearsal) bool { return !r.Holds }) || len(found) == 0 {
		return &exitError{code: exitDifferent}
	}
	return nil
}

// asksForNone reports whether hop 2's rules present no client certificate: then the
// partner asks for none, or nobody could call it.
func asksForNone(c *channel.Channel) bool {
	for _, r := range c.Hop2 {
		if strings.Contains(string(r.JSON), `"MUTUAL"`) {
			return false
		}
	}
	return len(c.Hop2) > 0
}

func told(c *channel.Channel, scene rehearse.Scene, o *rehearse.Outcome, changes bool) rehearsal {
	r := rehearsal{
		Host: c.Host, Caller: scene.Sidecar.Namespace + "/" + scene.Sidecar.Name, Holds: true, Calls: []rehearsed{},
		Unknown: append([]string{}, o.Unknown...), Assumed: append([]string{}, o.Assumed...), Refused: []string{}, Took: o.Took.Round(1e6).String(),
	}
	for _, x := range o.Rejected {
		r.Refused = append(r.Refused, x.Proxy+": "+x.Details)
	}
	for _, j := range scene.Judge(o) {
		r.Holds = r.Holds && j.Holds && !j.Void
		r.Calls = append(r.Calls, rehearsed{Variation: j.Variation, Port: j.Call.Port, Holds: j.Holds, Void: j.Void, Seen: j.Why})
	}
	if changes {
		r.Changes = o.Changes
	}
	return r
}

// envoyFor finds the Envoy that a line is run with.
func envoyFor(cmd *cobra.Command, line, version string) (string, error) {
	cache, err := state.Dir()
	if err != nil {
		return "", err
	}
	if version == "" {
		root, err := sourceTree()
		if err != nil {
			return "", usageError("name an Envoy with --envoy: this is no source tree that pins one")
		}
		if line == "" {
			line = computed.DefaultLine
		}
		pinned, err := images.ReadLine(root, line)
		if err != nil {
			return "", usageError("%v", err)
		}
		version = pinned.Envoy
	}
	return rehearse.Envoy(cmd.Context(), cache, version)
}

func writeRehearsals(w io.Writer, found []rehearsal, assumed []string) error {
	var b strings.Builder
	if len(found) == 0 {
		b.WriteString("No external host is meant to leave through a gateway here: nothing was rehearsed.\n")
	}
	for _, r := range found {
		fmt.Fprintf(&b, "%s, called by %s\n", r.Host, r.Caller)
		for _, c := range r.Calls {
			mark := "holds"
			switch {
			case c.Void:
				mark = "-    "
			case !c.Holds:
				mark = "FAILS"
			}
			fmt.Fprintf(&b, "  %s  %-14s port %d: %s\n", mark, c.Variation, c.Port, c.Seen)
		}
		list(&b, "refused", r.Refused)
		list(&b, "unknown", r.Unknown)
		list(&b, "assumed", r.Assumed)
		for _, c := range r.Changes {
			fmt.Fprintf(&b, "  changed    %s, %s: %s: %s -> %s (%s)\n", c.Proxy, c.Resource, c.Field, c.Was, c.Is, c.Kind)
		}
		fmt.Fprintf(&b, "  took       %s\n", r.Took)
	}
	list(&b, "assumed", assumed)
	_, err := io.WriteString(w, b.String())
	return err
}
