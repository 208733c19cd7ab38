package offline

import (
	"fmt"
	"strings"

	"twohop/internal/audit"
	"twohop/internal/channel"
	"twohop/internal/given"
	"twohop/internal/objects"
)

// Changes are what another Istio line would give the same proxies otherwise, as findings
// of check 30. from and to are of the same mesh's objects.
func Changes(from, to *Gathered) ([]audit.Finding, error) {
	was := map[objects.Ref][]byte{}
	for w, dump := range from.Answer.Dumps {
		was[w.Ref] = dump
	}
	var found []audit.Finding
	for _, w := range to.Mesh.Workloads {
		dump, computed := to.Answer.Dumps[w]
		before, known := was[w.Ref]
		if !computed || !known {
			continue
		}
		a, err := given.ParseResources(before)
		if err != nil {
			return nil, err
		}
		b, err := given.ParseResources(dump)
		if err != nil {
			return nil, err
		}
		for _, g := range given.Grouped(a, b) {
			found = append(found, change(w, g, from.Run.Istio, to.Run.Istio))
		}
	}
	return found, nil
}

func change(w *channel.Workload, g given.Group, from, to string) audit.Finding {
	where := strings.TrimSpace(g.Kind + " " + first(g.Resources))
	kind, hop := "sidecar", 1
	if w.Proxy == channel.Router {
		kind, hop = "gateway", 2
	}
	value := func(v string) string {
		if v == "" {
			return "nothing"
		}
		return v
	}
	return audit.Finding{
		ID: "30", Severity: audit.Low, Status: audit.Fail, Hop: hop, Object: w.Ref, Proxy: kind + " " + w.Namespace + "/" + w.Name,
		Title: "Istio " + to + " generates the same configuration as " + from,
		Seen:  fmt.Sprintf("%s: %s: %s with %s, %s with %s", where, g.Path, value(g.Was), from, value(g.Is), to), Wanted: "a review of whether this change affects the channel",
	}
}

func first(names []string) string {
	switch len(names) {
	case 0:
		return ""
	case 1:
		return names[0]
	}
	return fmt.Sprintf("%s and %d more", names[0], len(names)-1)
}
