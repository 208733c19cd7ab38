// Package upgrade answers what changes from one Istio line to another, from recordings
// of both: which verdicts turn, which values move, and what differs in the configuration
// of both proxies for the same manifests. It reads recordings, and must not import a room
// that runs anything.
package upgrade

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"twohop/internal/claim"
	"twohop/internal/given"
	"twohop/internal/verdict"
)

// Recording is what the comparison needs of a run of the whole catalogue.
type Recording struct {
	Verdict verdict.Verdict
	// Proxies are what the sidecar and the gateway were given.
	Proxies map[string]given.Config
}

// proxies in the order in which a request passes them.
var proxies = []struct{ name, file string }{{"sidecar", verdict.SidecarConfigFile}, {"gateway", verdict.GatewayConfigFile}}

// Record makes a recording of a run's files. A run that did not judge every claim is an
// error.
func Record(files verdict.Files) (*Recording, error) {
	raw, err := files.ReadFile(verdict.VerdictFile)
	if err != nil {
		return nil, err
	}
	v, err := verdict.Decode(raw)
	if err != nil {
		return nil, err
	}
	if n := v.Totals.NotRun; n > 0 || len(v.Claims) != len(claim.All()) {
		return nil, fmt.Errorf("run %s did not judge every claim", v.Run.ID)
	}
	r := &Recording{Verdict: *v, Proxies: map[string]given.Config{}}
	r.trim()
	for _, p := range proxies {
		raw, err := files.ReadFile(p.file)
		if err != nil {
			return nil, fmt.Errorf("run %s: %w", v.Run.ID, err)
		}
		if r.Proxies[p.name], err = given.Parse(raw); err != nil {
			return nil, fmt.Errorf("run %s, %s: %w", v.Run.ID, p.file, err)
		}
	}
	return r, nil
}

// trim leaves out what no comparison reads.
func (r *Recording) trim() {
	r.Verdict.Run.Evidence, r.Verdict.Run.Logs, r.Verdict.Phases = nil, nil, nil
	r.Verdict.Run.Nonce, r.Verdict.Run.ImageIDs, r.Verdict.Run.Asked = "", nil, verdict.Asked{}
	for i := range r.Verdict.Claims {
		c := &r.Verdict.Claims[i]
		c.Evidence, c.Reproduce = nil, ""
		for _, t := range []*verdict.Trial{c.Check, c.Control} {
			if t == nil {
				continue
			}
			for _, facts := range [][]verdict.Fact{t.Facts, t.Cause} {
				for j := range facts {
					facts[j].Evidence = nil
				}
			}
		}
	}
}

// Pack writes a recording.
func (r *Recording) Pack() ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := json.NewEncoder(w).Encode(r); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Unpack reads one that was packed.
func Unpack(packed []byte) (*Recording, error) {
	in, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	var r Recording
	if err := json.NewDecoder(io.LimitReader(in, 64<<20)).Decode(&r); err != nil {
		return nil, err
	}
	return &r, nil
}

// Answer is what changes from one recording to another.
type Answer struct {
	From verdict.Run `json:"from"`
	To   verdict.Run `json:"to"`
	// Verdicts compares what the claims came to.
	Verdicts verdict.Difference `json:"verdicts"`
	// Claims is how many were compared.
	Claims int `json:"claims"`
	// Given is what differs in each proxy's configuration.
	Given []Proxy `json:"given"`
	// Notes say what limits the comparison.
	Notes []string `json:"notes"`
}

// Proxy is what differs in the configuration of one of the two.
type Proxy struct {
	Name    string   `json:"name"`
	Changes []Change `json:"changes"`
}

// Change is a group of equal changes, with what the catalogue knows of it.
type Change struct {
	given.Group
	Meaning string     `json:"meaning,omitempty"`
	Claims  []claim.ID `json:"claims,omitempty"`
}

// Compare compares two recordings. rules are today's: an older recording is said to be so.
func Compare(from, to *Recording, rules string) Answer {
	a := Answer{From: from.Verdict.Run, To: to.Verdict.Run, Claims: len(to.Verdict.Claims), Verdicts: verdict.Diff(&from.Verdict, &to.Verdict)}
	for _, p := range proxies {
		was, is := from.Proxies[p.name], to.Proxies[p.name]
		found := Proxy{Name: p.name}
		for _, g := range given.Grouped(was, is) {
			found.Changes = append(found.Changes, explain(g))
		}
		a.Given = append(a.Given, found)
	}
	for _, r := range []verdict.Run{a.From, a.To} {
		if r.Rules != rules {
			a.Notes = append(a.Notes, fmt.Sprintf("The recording of Istio %s was judged by other rules than this program's (harness %s): if a verdict differs, it may be for that. \"make matrix\" records it anew.", r.Istio, r.HarnessCommit))
		}
	}
	for _, r := range []verdict.Run{a.From, a.To} {
		for _, n := range r.Notes {
			if strings.Contains(n, "upstream Envoy") {
				n = "Istio " + r.Istio + ": " + n + "."
				if !slices.Contains(a.Notes, n) {
					a.Notes = append(a.Notes, n)
				}
			}
		}
	}
	return a
}

// Same reports whether nothing changes.
func (a Answer) Same() bool {
	return a.Verdicts.Same && !slices.ContainsFunc(a.Given, func(p Proxy) bool { return len(p.Changes) > 0 })
}

func explain(g given.Group) Change {
	c := Change{Group: g}
	for _, m := range meanings {
		if m.what.MatchString(g.Kind + ": " + g.Path) {
			c.Meaning, c.Claims = m.means, m.claims
			break
		}
	}
	return c
}

// meaning says what a field of the proxies' configuration decides.
type meaning struct {
	what   *regexp.Regexp // of "kind: path"
	means  string
	claims []claim.ID
}
