// Command agreement holds the audit against a corpus of setups and faults, and says what
// it finds of each. It judges nothing by itself: what a fault does to traffic is a
// rehearsal's word, or that of a claim that measured it. It must not know a cluster.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"twohop/internal/audit"
	"twohop/internal/audit/corpus"
	"twohop/internal/audit/offline"
	"twohop/internal/computed"
	"twohop/internal/images"
	"twohop/internal/objects"
	"twohop/internal/rehearse"
	"twohop/internal/state"
)

// line is what is known of one fault.
type line struct {
	ID     string
	Object objects.Ref
	Field  string
	// Named says that a finding of the fault's object fails or is unknown; Other that only
	// other objects are named. Worst is the worst severity of a finding that the setup
	// without the fault does not have.
	Named    bool
	Other    bool
	Worst    audit.Severity
	Findings []string
	Error    string
	// Truth is what a rehearsal, or a claim that measured it, says of the fault: "harmful",
	// "harmless", "refused" by the API server, or "" where neither can tell. Why says how.
	Truth string
	Why   string
	// Alarm says that a finding of high or critical fails which the setup does not have.
	Alarm bool
	// Istioctl says that istioctl's analyzers say something that they do not of the setup.
	Istioctl bool
}

func main() {
	o := options{}
	flag.StringVar(&o.dir, "corpus", "internal/audit/corpus/testdata/correct", "folder of setups")
	flag.StringVar(&o.program, "program", "", "the helper with istiod's code; found or compiled if empty")
	flag.StringVar(&o.envoy, "envoy", "", "Envoy to rehearse with; found or fetched if empty")
	flag.StringVar(&o.istioctl, "istioctl", "", "istioctl, to ask its analyzers about the same faults")
	flag.StringVar(&o.only, "setup", "", "only setups whose name holds this")
	flag.IntVar(&o.every, "every", 37, "every n-th fault: all of them take hours")
	flag.IntVar(&o.workers, "workers", 2, "how many at once")
	flag.StringVar(&o.table, "table", "", "file to write the score to")
	flag.StringVar(&o.lines, "lines", "", "file to write a line of JSON for each fault to")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type options struct {
	dir, program, envoy, istioctl, only string
	every, workers                      int
	table, lines                        string
}

// programs finds what is not named.
func (o *options) programs(ctx context.Context) error {
	cache, err := state.Dir()
	if err != nil {
		return err
	}
	if o.program == "" {
		say := func(s string) { fmt.Fprintln(os.Stderr, s) }
		if o.program, err = computed.Program(ctx, ".", cache, computed.DefaultLine, say); err != nil {
			return err
		}
	}
	if o.envoy == "" {
		line, err := images.ReadLine(".", computed.DefaultLine)
		if err != nil {
			return err
		}
		if o.envoy, err = rehearse.Envoy(ctx, cache, line.Envoy); err != nil {
			return err
		}
	}
	if o.istioctl == "" {
		found, err := filepath.Glob(filepath.Join(cache, "tools-*", "istioctl"))
		if err == nil && len(found) > 0 {
			o.istioctl = found[0]
		}
	}
	return nil
}

func run(o options) error {
	if err := o.programs(context.Background()); err != nil {
		return err
	}
	setups, err := corpus.Load(o.dir)
	if err != nil {
		return err
	}
	type job struct {
		setup corpus.Setup
		fault corpus.Fault
	}
	jobs := make(chan job)
	var wg sync.WaitGroup
	var lock sync.Mutex
	var all []line
	for range o.workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			j := judge{options: o, clean: map[string]map[string]bool{}, said: map[string]map[string]bool{}, stage: map[string]*stage{}}
			for job := range jobs {
				l := j.line(job.setup, job.fault)
				lock.Lock()
				all = append(all, l)
				lock.Unlock()
			}
			j.end()
		}()
	}
	n := 0
	for _, s := range setups {
		if !strings.Contains(s.Name, o.only) {
			continue
		}
		for _, f := range corpus.Faults(s) {
			if n++; n%o.every == 0 {
				jobs <- job{s, f}
			}
		}
	}
	close(jobs)
	wg.Wait()
	slices.SortFunc(all, func(a, b line) int { return strings.Compare(a.ID, b.ID) })
	if o.lines != "" {
		if err := writeLines(o.lines, all); err != nil {
			return err
		}
	}
	text := table(all, len(setups), n, o)
	if o.table == "" {
		_, err := os.Stdout.WriteString(text)
		return err
	}
	return os.WriteFile(o.table, []byte(text), 0o644)
}

func writeLines(path string, all []line) error {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	for _, l := range all {
		if err := out.Encode(l); err != nil {
			return err
		}
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// judge audits with one helper, which is started anew now and then: its fakes keep all
// that they were given.
type judge struct {
	options
	istiod *computed.Istiod
	asked  int
	clean  map[string]map[string]bool // findings of setups without a fault
	said   map[string]map[string]bool // what istioctl says of them
	stage  map[string]*stage
}

const askedMost = 100

func (j *judge) audit(docs []byte) (*audit.Report, *offline.Gathered, error) {
	if j.asked++; j.istiod == nil || j.asked > askedMost {
		j.end()
		var err error
		if j.istiod, err = computed.Start(context.Background(), j.program); err != nil {
			return nil, nil, err
		}
		j.asked = 0
	}
	set := &objects.Set{}
	if err := set.Parse("setup.yaml", docs); err != nil {
		return nil, nil, err
	}
	m, channels, mesh, err := offline.Find(set, "")
	if err != nil {
		return nil, nil, err
	}
	g, err := offline.Ask(j.istiod, m, channels, mesh)
	if err != nil {
		j.istiod = nil
		return nil, nil, err
	}
	return audit.Judge(g.Input), g, nil
}

func (j *judge) end() {
	if j.istiod != nil {
		_ = j.istiod.Close()
		j.istiod = nil
	}
}

func key(f audit.Finding) string { return fmt.Sprint(f.ID, f.Object, f.Field, f.Seen) }

func (j *judge) line(s corpus.Setup, f corpus.Fault) line {
	l := line{ID: f.ID, Object: f.Object, Field: f.Field}
	if j.clean[s.Name] == nil {
		r, g, err := j.audit(s.Docs)
		if err != nil {
			l.Error = err.Error()
			return l
		}
		j.clean[s.Name] = map[string]bool{}
		for _, f := range r.Findings {
			j.clean[s.Name][key(f)] = true
		}
		if j.envoy != "" {
			if j.said[s.Name], err = j.analyzers(s.Docs); err != nil {
				l.Error = err.Error()
				return l
			}
			if j.stage[s.Name], err = j.rehearse(g, nil); err != nil {
				l.Error = "rehearse the setup: " + err.Error()
				return l
			}
		}
	}
	r, g, err := j.audit(f.Docs)
	if err != nil {
		l.Error = err.Error()
		return l
	}
	j.truth(&l, f, g, j.stage[s.Name])
	j.analyze(&l, s, f)
	for _, x := range r.Findings {
		if j.clean[s.Name][key(x)] {
			continue
		}
		if l.Worst == "" || !l.Worst.AtLeast(x.Severity) {
			l.Worst = x.Severity
		}
		// An object that is missing has no name to be found by.
		if x.Object.Kind == f.Object.Kind && (x.Object.Name == f.Object.Name || x.Object.Name == "") || strings.Contains(x.Seen+x.Wanted, f.Object.Name) {
			l.Named = true
		} else {
			l.Other = true
		}
		l.Alarm = l.Alarm || x.Status == audit.Fail && x.Severity.AtLeast(audit.High)
		l.Findings = append(l.Findings, fmt.Sprintf("%s %s hop %d %s [%s] %s %s: %s", x.Severity, x.Status, x.Hop, x.Host, x.ID, x.Object, x.Field, x.Seen))
	}
	return l
}
