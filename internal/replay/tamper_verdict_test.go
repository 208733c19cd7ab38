package replay

import (
	"strings"
	"time"

	"twohop/internal/claim"
	"twohop/internal/verdict"
)

// inVerdict alters what is said of what was seen.
var inVerdict = []tampering{
	{"a fact's seen", func(f *forger) { f.fact(f.claim("G1").Check, "gateway: SNI").Seen = "other.example.com" }, `G1: check: fact "gateway: SNI of hop 1": seen is`},
	{"a fact's expected", func(f *forger) { f.fact(f.claim("G3").Check, "maxConnections").Expected = "99" }, `G3: check: fact "client sidecar, outbound|8443|`},
	{"a fact's mark", func(f *forger) { f.fact(f.claim("G1").Check, "gateway: SNI").OK = false; f.rejudge("G1") }, `G1: check: fact "gateway: SNI of hop 1": ok is`},
	{"a fact need not flip", func(f *forger) {
		f.fact(f.claim("G1").Check, "curl").Flips, f.fact(f.claim("G1").Control, "curl").Flips = false, false
	}, `flips is nothing in the verdict and true`},
	{"a fact is no failure", func(f *forger) { f.fact(f.claim("G4").Check, "curl").Negative = false }, `G4: check: fact "curl: HTTP status": negative is`},
	{"a fact is no reason", func(f *forger) { f.fact(f.claim("G4").Check, "partner's response").Because = false }, `G4: check: fact "partner's response": because is`},
	{"a fact's evidence", func(f *forger) {
		f.fact(f.claim("G1").Check, "curl").Evidence = []string{"evidence/G1/check-001-pods.json"}
	}, `G1: check: fact "curl: HTTP status": evidence is`},
	{"a fact's name", func(f *forger) { f.fact(f.claim("G1").Check, "gateway: SNI").Name = "gateway: no SNI" }, `name is "gateway: no SNI" in the verdict`},
	{"a fact dropped", func(f *forger) {
		f.claim("G1").Check.Facts = f.claim("G1").Check.Facts[:len(f.claim("G1").Check.Facts)-1]
		f.claim("G1").Control.Facts = f.claim("G1").Control.Facts[:len(f.claim("G1").Control.Facts)-1]
		f.rejudge("G1")
	}, "G1: check: the verdict lacks the fact"},
	{"a fact added", func(f *forger) {
		for _, trial := range []*verdict.Trial{f.claim("G1").Check, f.claim("G1").Control} {
			fact := copyOf(f.t, *f.fact(trial, "sidecar: attempts"))
			fact.Name = "gateway: is fast"
			trial.Facts = append(trial.Facts, fact)
		}
		f.rejudge("G1")
	}, `G1: check: the fact "gateway: is fast" does not follow from the observations`},
	{"a cause dropped", func(f *forger) {
		f.claim("G1").Control.Cause = f.claim("G1").Control.Cause[1:]
		f.rejudge("G1")
	}, "G1: control: "},
	{"a cause's seen", func(f *forger) { f.claim("G1").Control.Cause[1].Seen = "UF" }, `G1: control: cause "sidecar: response flags": seen is`},
	{"the change's words", func(f *forger) { f.claim("G1").Control.Change = "nothing much"; f.rejudge("G1") }, `G1: control: the change is said to be "nothing much"`},
	{"a verdict", func(f *forger) { f.claim("G1").Verdict = claim.Refuted; f.recount() }, "G1: verdict: the verdict says"},
	{"a reason", func(f *forger) { f.claim("G1").Reason = "Trust me." }, "G1: reason: the verdict says"},
	{"a statement", func(f *forger) { f.claim("G1").Statement = "Hop 1 is something." }, "G1: statement: the verdict says"},
	{"a lesson", func(f *forger) { f.claim("G3-yaml").Lesson = "Write 300." }, "G3-yaml: lesson: the verdict says"},
	{"what is expected", func(f *forger) { f.claim("G3-yaml").Expected = claim.Supported; f.recount() }, "G3-yaml: expected: the verdict says"},
	{"a section", func(f *forger) { f.claim("G1").Section = "§99" }, "G1: section: the verdict says"},
	{"a chapter", func(f *forger) { f.claim("G1").Chapter = claim.Pool }, "G1: chapter: the verdict says"},
	{"attempts", func(f *forger) { f.claim("G1").Attempts = 3 }, "G1: attempts: the verdict says"},
	{"another lab", func(f *forger) { f.claim("G1").Lab = 2 }, "G1: the claim was judged in lab 2, and the run has no such lab"},
	{"an error hidden", func(f *forger) { f.claim("G1").Error = "something"; f.rejudge("G1") }, "G1: error: the verdict says"},
	{"a table", func(f *forger) {
		f.claim("G1").Table = &verdict.Table{Title: "t", Header: []string{"a"}, Rows: [][]string{{"b"}}}
	}, "G1: table: the verdict says"},
	{"the totals", func(f *forger) { f.v.Totals.Supported++ }, "The totals are"},
	{"the result", func(f *forger) { f.v.Result, f.v.ExitCode = verdict.Different, 1 }, "The result says different"},
	{"the exit code", func(f *forger) { f.v.ExitCode = 3 }, "The exit code says 3"},
	{"the message", func(f *forger) { f.v.Message = "All well, and more." }, "The message says"},
	{"a claim not run", func(f *forger) {
		c := f.claim("G4")
		for _, e := range c.Evidence {
			delete(f.files, e.Path)
		}
		delete(f.files, c.Reproduce)
		c.Finding, c.Verdict, c.Reason = verdict.Finding{}, claim.NotRun, "The spec recorded no finding."
		f.recount()
	}, "G4: the verdict says that it did not run, and line"},
	{"a claim dropped with its files", func(f *forger) {
		for _, e := range f.claim("G4").Evidence {
			delete(f.files, e.Path)
		}
		delete(f.files, f.claim("G4").Reproduce)
		f.v.Claims = f.v.Claims[:len(f.v.Claims)-1]
		f.recount()
	}, "G4: the selection"},
	{"a claim dropped and the selection edited", func(f *forger) {
		for _, e := range f.claim("G4").Evidence {
			delete(f.files, e.Path)
		}
		delete(f.files, f.claim("G4").Reproduce)
		f.v.Claims = f.v.Claims[:len(f.v.Claims)-1]
		f.v.Run.Selection = "G1,G2,G2-control,G2-rbac,G3,G3-yaml"
		f.recount()
	}, "The run's header"},
	{"a claim added", func(f *forger) {
		c := copyOf(f.t, *f.claim("G1"))
		c.ID, c.Finding, c.Verdict = "H2-rotation", verdict.Finding{}, claim.NotRun
		f.v.Claims = append(f.v.Claims, c)
		f.recount()
	}, "H2-rotation: the verdict lists this claim"},
	{"a claim twice", func(f *forger) { f.v.Claims = append(f.v.Claims, copyOf(f.t, *f.claim("G1"))); f.recount() }, "G1: verdict.json lists the claim twice"},
	{"claims in another order", func(f *forger) { f.v.Claims[0], f.v.Claims[1] = f.v.Claims[1], f.v.Claims[0] }, "order"},
	{"the API version", func(f *forger) { f.v.APIVersion = "twohop/v2" }, "apiVersion"},
	{"a phase before the run", func(f *forger) { f.v.Phases[0].Start = f.v.Run.Start.Add(-time.Hour) }, "The phase engine"},
	{"a phase longer than the run", func(f *forger) { f.v.Phases[0].DurationMillis = 3_600_000 }, "The phase engine"},
	{"a claim after the run", func(f *forger) { f.claim("G1").Start = f.v.Run.Start.Add(time.Hour) }, "G1: "},
	{"a claim longer than the run", func(f *forger) { f.claim("G1").DurationMillis = 3_600_000 }, "G1: "},
	{"an observation longer than its claim", func(f *forger) { f.entry("G1", "check", "requests ").TookMillis = 3_600_000 }, "G1: "},
	{"no evidence of what it was made on", func(f *forger) {
		for _, e := range f.v.Run.Evidence {
			delete(f.files, e.Path)
		}
		f.v.Run.Evidence = nil
	}, "Nothing shows what the run was made on"},
}

// inHeader alters what the run says of itself beforehand: the tokens tell.
var inHeader = []tampering{
	{"id", func(f *forger) { f.v.Run.ID = "20261125T000000Z-000000" }, "The run's header"},
	{"start", func(f *forger) { f.v.Run.Start = f.v.Run.Start.Add(time.Second) }, "The run's header"},
	{"nonce", func(f *forger) { f.v.Run.Nonce = strings.Repeat("0", 32) }, "The run's header"},
	{"no nonce", func(f *forger) { f.v.Run.Nonce = "" }, "The run's header"},
	{"seed", func(f *forger) { f.v.Run.Seed++ }, "The run's header"},
	{"commit", func(f *forger) { f.v.Run.HarnessCommit = "0123456789ab" }, "The run's header"},
	{"rules", func(f *forger) { f.v.Run.Rules = strings.Repeat("0", 32) }, "The run's header"},
	{"no rules", func(f *forger) { f.v.Run.Rules = "" }, "The run's header"},
	{"lane", func(f *forger) { f.v.Run.Lane = "official" }, "The run's header"},
	{"engine", func(f *forger) { f.v.Run.Engine = "docker 28.0" }, "The run's header"},
	{"cluster", func(f *forger) { f.v.Run.Cluster = "other" }, "The run's header"},
	{"lab", func(f *forger) { f.v.Run.Lab = 2 }, "The run's header"},
	{"labs", func(f *forger) { f.v.Run.Labs = 2 }, "The run's header"},
	{"domain", func(f *forger) { f.v.Run.Domain = "homelab.local" }, "The run's header"},
	{"asked Istio", func(f *forger) { f.v.Run.Asked.Istio = "1.31.1" }, "The run's header"},
	{"asked Envoy", func(f *forger) { f.v.Run.Asked.Envoy = "" }, "The run's header"},
	{"asked Kubernetes", func(f *forger) { f.v.Run.Asked.Kubernetes = "v1.30.0" }, "The run's header"},
	{"asked revision", func(f *forger) { f.v.Run.Asked.IstioRevision = "" }, "The run's header"},
}
