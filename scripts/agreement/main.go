// Command agreement holds the audit against a corpus of setups and faults, and says what
// it finds of each. It judges nothing by itself: what a fault does to traffic is a
// rehearsal's word, or that of a claim that measured it.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"

	"twohop/internal/audit"
	"twohop/internal/audit/corpus"
	"twohop/internal/audit/offline"
	"twohop/internal/computed"
	"twohop/internal/objects"
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
}

func main() {
	dir := flag.String("corpus", "internal/audit/corpus/testdata/correct", "folder of setups")
	program := flag.String("program", "", "the helper with istiod's code")
	only := flag.String("setup", "", "only setups whose name holds this")
	every := flag.Int("every", 1, "every n-th fault")
	envoy := flag.String("envoy", "", "Envoy: rehearse each fault")
	workers := flag.Int("workers", 2, "how many at once")
	flag.Parse()
	if err := run(*dir, *program, *envoy, *only, *every, *workers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dir, program, envoy, only string, every, workers int) error {
	setups, err := corpus.Load(dir)
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
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			j := judge{program: program, envoy: envoy, clean: map[string]map[string]bool{}, stage: map[string]*stage{}}
			for job := range jobs {
				l := j.line(job.setup, job.fault)
				raw, _ := json.Marshal(l)
				lock.Lock()
				out.Write(append(raw, '\n'))
				lock.Unlock()
			}
			j.end()
		}()
	}
	n := 0
	for _, s := range setups {
		if !strings.Contains(s.Name, only) {
			continue
		}
		for _, f := range corpus.Faults(s) {
			if n++; n%every == 0 {
				jobs <- job{s, f}
			}
		}
	}
	close(jobs)
	wg.Wait()
	return nil
}

// judge audits with one helper, which is started anew now and then: its fakes keep all
// that they were given.
type judge struct {
	program string
	istiod  *computed.Istiod
	asked   int
	clean   map[string]map[string]bool // findings of setups without a fault
	envoy   string
	stage   map[string]*stage
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
		l.Findings = append(l.Findings, fmt.Sprintf("%s %s hop %d %s [%s] %s %s: %s", x.Severity, x.Status, x.Hop, x.Host, x.ID, x.Object, x.Field, x.Seen))
	}
	return l
}
