package replay

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"twohop/internal/experiment"
	"twohop/internal/observe"
	"twohop/internal/verdict"
)

// tampering alters a run; the problems have to name the place.
type tampering struct {
	name string
	edit func(f *forger)
	want string
}

// run stands for the run as a whole where a claim is asked for.
const run = experiment.RunID

// inObservations alters what was seen.
var inObservations = []tampering{
	{"the partner saw no client certificate", func(f *forger) { f.alter("G2", "check", "partner", `"SUCCESS"`, `"NONE"`) },
		`G2: check: fact "partner: verification of the client certificate"`},
	{"the gateway's log is emptied", func(f *forger) {
		w, token := f.window("G1", "check", "gateway"), f.token("G1", "check")
		f.rewrite(w.Log, func(_ int, l observe.LogLine) []observe.LogLine {
			if bytes.Contains(l.Text, []byte(token)) {
				return nil
			}
			return []observe.LogLine{l}
		})
		f.files[f.entry("G1", "check", "-gateway.log").Path] = []byte{}
	}, `G1: check: fact "gateway: requests of this token"`},
	{"another limit in the cluster", func(f *forger) {
		f.replace(f.entry("G3", "check", "sidecar-cluster.json"), `"max_connections": 77`, `"max_connections": 78`, -1)
	}, `G3: check: fact "client sidecar, outbound|8443|`},
	{"plaintext becomes TLS at the partner", func(f *forger) { f.alter("G4", "check", "partner", `"tls":""`, `"tls":"TLSv1.3"`) },
		`G4: check: fact "partner: TLS version"`},
	{"another Istio", func(f *forger) { f.v.Run.Istio = "1.30" }, "The run's istio says"},
	{"another Istio, as istiod says", func(f *forger) {
		f.v.Run.Istio = "1.30"
		f.replace(f.entry(run, "lab-1", "/version"), "1.31", "1.30", -1)
	}, "What lab 1 was made of: istiod says that it is 1.30"},
	{"other image ids", func(f *forger) { f.v.Run.ImageIDs["istio-proxy"] = "sha256:" + strings.Repeat("0", 64) }, "The run's imageIDs says"},
	{"other image digests", func(f *forger) {
		for name := range f.v.Run.Asked.Images {
			f.v.Run.Asked.Images[name] = "sha256:" + strings.Repeat("0", 64)
		}
	}, "The run's header"},
	{"G1 of another run", func(f *forger) {
		files, err := other()
		f.must(err)
		theirs := forge(f.t, files.Clone())
		for name, raw := range theirs.files {
			if strings.HasPrefix(name, "evidence/G1/") || name == "reproduce/G1.sh" {
				f.files[name] = raw
			}
		}
		f.claim("G1").Finding = theirs.claim("G1").Finding
	}, "G1: the check cannot be made again: observation G1/check/04 answers"},
	{"G1 of another run, with its logs", func(f *forger) {
		files, err := other()
		f.must(err)
		theirs := forge(f.t, files.Clone())
		for name, raw := range theirs.files {
			if strings.HasPrefix(name, "evidence/G1/") || name == "reproduce/G1.sh" {
				f.files[name] = raw
			}
		}
		finding := theirs.claim("G1").Finding
		for i := range finding.Evidence {
			for j := range finding.Evidence[i].Windows {
				w := &finding.Evidence[i].Windows[j]
				from, _ := observe.ParseLog(theirs.files[w.Log], true)
				into, _ := observe.ParseLog(f.files[w.Log], true)
				lines, _ := from.Range(w.From, w.To)
				w.From, w.To = into.Len(), into.Len()+len(lines)
				for k, l := range lines {
					f.files[w.Log] = append(f.files[w.Log], observe.FormatLine(w.From+k, l)...)
				}
			}
		}
		f.claim("G1").Finding = finding
	}, "G1: the check cannot be made again: observation G1/check/04 answers"},
	{"curl's status", func(f *forger) {
		f.replace(f.entry("G1", "check", "requests "), `"response_code":200`, `"response_code":204`, -1)
		f.replace(f.entry("G1", "check", "requests "), `"http_code":200`, `"http_code":204`, -1)
	}, `G1: check: fact "curl: HTTP status"`},
	{"curl's response", func(f *forger) {
		f.replace(f.entry("G4", "check", "requests "), "The plain HTTP request was sent to HTTPS port", "Bad Request", -1)
	}, `G4: check: fact "partner's response"`},
	{"a secret's state", func(f *forger) {
		f.replace(f.entry("G2", "check", "mask=dynamic_active_sec"), "kubernetes://partner-client-credential", "kubernetes://partner-client-certificate", -1)
	}, "G2: check: "},
	{"the gateway's address", func(f *forger) {
		e := f.entry("G2", "check", "pods")
		f.replace(e, `"ip": "10.244.`, `"ip": "10.245.`, -1)
	}, `G2: check: fact "partner: the caller is the gateway"`},
	{"a pod's log is another's", func(f *forger) {
		e := f.entry("G1", "check", "pods")
		f.replace(e, "logs/gateway-", "logs/partner-", -1)
	}, "G1: the check cannot be made again: observation G1/check/01: the window on the log of the gateway"},
	{"the ground's certificates", func(f *forger) {
		f.copyCertificate("ServerCA", "ClientCA")
	}, "The subject cannot be made again: the certificates of the lab: the client certificate"},
	{"the ground's other CA", func(f *forger) {
		f.copyCertificate("ClientCA", "Stranger")
	}, "The subject cannot be made again: the certificates of the lab: the stranger's certificate"},
	{"the ground's lab", func(f *forger) { f.replace(f.entry(run, "lab-1", "input ground"), `"Lab": 1`, `"Lab": 2`, 1) }, "lab"},
	{"the ground's images", func(f *forger) {
		f.replace(f.entry(run, "lab-1", "input ground"), "localhost/twohop/workload", "localhost/twohop/workload2", -1)
	}, "manifest.yaml is not the subject that the run deployed"},
	{"a fact's evidence file is another's", func(f *forger) {
		f.swapFiles(f.entry("G2", "check", "/clusters?format=json"), f.entry("G2", "control", "/clusters?format=json"))
		f.swapFiles(f.entry("G1", "check", "sidecar-cluster.json"), f.entry("G1", "control", "sidecar-cluster.json"))
	}, `G1: check: fact "client sidecar, outbound|8443|`},
	{"check and control swapped", func(f *forger) {
		c := f.claim("G2-control")
		for i := range c.Evidence {
			c.Evidence[i].Stage = map[string]string{"check": "control", "control": "check"}[c.Evidence[i].Stage]
		}
		c.Check, c.Control = c.Control, c.Check
	}, "G2-control: "},
	{"two claims' observations swapped", func(f *forger) {
		f.swapFiles(f.entry("G1", "check", "sidecar-cluster.json"), f.entry("G3", "check", "sidecar-cluster.json"))
		a, b := f.entry("G1", "check", "requests "), f.entry("G2", "check", "requests ")
		f.swapFiles(a, b)
		a.Windows, b.Windows, a.Question, b.Question = b.Windows, a.Windows, b.Question, a.Question
	}, "G1: the check cannot be made again: observation G1/check/04 answers"},
	{"an observation dropped", func(f *forger) { f.drop("G2", f.entry("G2", "check", "/clusters?format=json")) },
		"G2: the check cannot be made again: the recording has no observation G2/check/03"},
	{"an observation added", func(f *forger) {
		c := f.claim("G2")
		e := copyOf(f.t, *f.entry("G2", "check", "/clusters?format=json"))
		e.Ordinal, e.Path = 90, "evidence/G2/check-090-gateway-hosts.json"
		f.files[e.Path] = f.files["evidence/G2/check-003-gateway-hosts.json"]
		c.Evidence = append(c.Evidence, e)
	}, "G2: the check does not use the observation G2/check/90"},
	{"an observation twice", func(f *forger) {
		c := f.claim("G2")
		e := copyOf(f.t, *f.entry("G2", "check", "/clusters?format=json"))
		f.files["evidence/G2/check-003-again.json"] = f.files[e.Path]
		e.Path = "evidence/G2/check-003-again.json"
		c.Evidence = append(c.Evidence, e)
	}, "G2: two observations have the place check 3"},
	{"an error added", func(f *forger) { f.entry("G1", "check", "requests ").Error = "exec: connection refused" },
		"G1: the check cannot be made again: exec: connection refused"},
	{"an error added that a change had", func(f *forger) { f.entry("G1", "control", "input change").Error = "the API server refused" },
		"G1: the check cannot be made again: control: the API server refused"},
	{"a question altered", func(f *forger) { f.entry("G1", "check", "sidecar").Question = "admin gateway /config_dump" },
		"G1: the check cannot be made again: observation G1/check/02 answers"},
	{"a command altered", func(f *forger) {
		e := f.entry("G1", "check", "requests ")
		e.Command = strings.Replace(e.Command, "curl", "curl --insecure", 1)
	}, "G1: the check cannot be made again: observation G1/check/04 is described as"},
	{"a witness altered", func(f *forger) { f.entry("G1", "check", "-gateway.log").Witness = verdict.WitnessPartner },
		"G1: the check cannot be made again: observation G1/check/04 is described as"},
	{"a kind altered", func(f *forger) { f.entry("G1", "check", "requests ").Kind = verdict.KindText },
		"G1: the check cannot be made again: observation G1/check/04 is described as"},
	{"a file renamed", func(f *forger) {
		e := f.entry("G1", "check", "sidecar-cluster.json")
		old := e.Path
		e.Path = "evidence/G1/check-002-sidecar-clusters.json"
		f.files[e.Path] = f.files[old]
		delete(f.files, old)
		for i := range f.claim("G1").Check.Facts {
			for j, p := range f.claim("G1").Check.Facts[i].Evidence {
				if p == old {
					f.claim("G1").Check.Facts[i].Evidence[j] = e.Path
				}
			}
		}
	}, "G1: the check cannot be made again: observation G1/check/02 is described as"},
	{"the lines for people altered", func(f *forger) { f.replace(f.entry("G1", "check", "-partner.log"), `"SUCCESS"`, `"NONE"`, -1) },
		"evidence/G1/check-004-partner.log is not what follows from the observations"},
	{"what was applied altered", func(f *forger) {
		f.replace(f.entry("G1", "control", "applied.yaml"), "kind: DestinationRule", "kind: DestinationRules", -1)
	}, "evidence/G1/control-001-applied.yaml is not what follows from the observations"},
	{"istioctl's word", func(f *forger) {
		f.replace(f.entry("G3", "check", "istioctl proxy-config"), "77", "78", 1)
	}, "G3: "},
	{"the API server's word", func(f *forger) {
		f.replace(f.entry("G3-yaml", "check", "dry-run create"), "must be of type string", "is odd", -1)
	},
		"G3-yaml: check: "},
	{"Envoy's version", func(f *forger) { f.v.Run.Envoy = "1.40.0" }, "The run's envoy says"},
	{"Kubernetes' version", func(f *forger) { f.v.Run.Kubernetes = "v1.37.0" }, "The run's kubernetes says"},
	{"istiod's revision", func(f *forger) { f.v.Run.IstioRevision = "v0.0.0-20260101000000-000000000000" }, "The run's istioRevision says"},
	{"an image id dropped", func(f *forger) { delete(f.v.Run.ImageIDs, "nginx") }, "The run's imageIDs says"},
	{"a node's version", func(f *forger) { f.replace(f.entry(run, "lab-1", "/api/v1/nodes"), "v1.36.1", "v1.35.0", -1) }, "What lab 1 was made of: the kubelets are v1.35.0"},
}

// inLogs alters logs and the windows on them.
var inLogs = []tampering{
	{"a line twice", func(f *forger) { f.double("G1", 0) }, "is the line before it once more"},
	{"a line twice, at another time", func(f *forger) { f.double("G2", time.Nanosecond) }, `G2: `},
	{"a line out of time", func(f *forger) { f.double("G2", -time.Minute) }, "is older than the line before it"},
	{"a line moved behind the window", func(f *forger) {
		w, token := *f.window("G1", "check", "gateway"), lineWith(f.token("G1", "check"))
		var moved observe.LogLine
		f.rewrite(w.Log, func(n int, l observe.LogLine) []observe.LogLine {
			if token(l) {
				moved = l
				return nil
			}
			if n == w.To-1 {
				return []observe.LogLine{l, moved}
			}
			return []observe.LogLine{l}
		})
		for _, on := range []*verdict.Window{f.window("G1", "check", "gateway")} {
			on.To--
		}
		f.files[f.entry("G1", "check", "-gateway.log").Path] = []byte{}
	}, "G1: "},
	{"a line that came late", func(f *forger) {
		name, token := f.window("G4", "check", "gateway").Log, f.token("G4", "check")
		log, err := observe.ParseLog(f.files[name], true)
		f.must(err)
		late := observe.LogLine{At: f.v.Run.Start.Add(time.Minute), Text: []byte(`{"path":"/probe/` + token + `"}`)}
		f.files[name] = append(bytes.Clone(f.files[name]), observe.FormatLine(log.Len(), late)...)
	}, "G4: "},
	{"a window that begins later", func(f *forger) { f.window("G1", "check", "partner").From++ }, "G1: "},
	{"a window that begins earlier", func(f *forger) { f.window("G1", "check", "gateway").From -= 4 }, "G1: "},
	{"a window that ends earlier", func(f *forger) { f.window("G1", "check", "gateway").To-- }, "is not the later one with"},
	{"a window that ends later", func(f *forger) { f.window("G1", "check", "gateway").To++ }, "is not the later one with"},
	{"a window on another pod's log", func(f *forger) {
		*f.window("G4", "check", "gateway") = *f.window("G2-rbac", "check", "gateway")
	}, "the window on the log of the gateway is on"},
	{"a window that proves no absence", func(f *forger) {
		w := f.window("G4", "check", "gateway")
		w.To, w.Flush = w.From, ""
	}, "G4: the check cannot be made again: observation G4/check/04: the window on the log of the gateway ends with no later line"},
	{"a window on another role's log", func(f *forger) {
		f.window("G4", "check", "gateway").Log = f.window("G4", "check", "partner").Log
	}, "the window on the log of the gateway is on"},
	{"a window left out", func(f *forger) {
		e := f.entry("G4", "check", "requests ")
		e.Windows = e.Windows[1:]
	}, "there is no window on the log of the gateway"},
	{"a window twice", func(f *forger) {
		e := f.entry("G4", "check", "requests ")
		e.Windows = append(e.Windows, e.Windows[0])
	}, "two windows are on the log of the gateway"},
	{"a window ends by another line", func(f *forger) {
		w, other := f.window("G4", "check", "gateway"), f.window("G4", "control", "gateway")
		w.Flush, w.To = other.Flush, other.To
	}, "is to end with"},
	{"a window ends by no line", func(f *forger) { f.window("G1", "check", "partner").Flush = "" }, "is to end with"},
	{"istiod's window ends by another gateway's push", func(f *forger) {
		f.entry("G2-rbac", "check", "flush istiod").Windows[0].Flush = "PUSH for node:partner"
	}, "G2-rbac: "},
	{"istiod's window begins later", func(f *forger) { f.entry("G2-rbac", "check", "flush istiod").Windows[0].From++ },
		"G2-rbac: the check cannot be made again: observation G2-rbac/check/12: the window on the log of the istiod begins with line"},
	{"a mark in istiod's log moved", func(f *forger) {
		for i := range f.entry("G2-rbac", "check", "pods").Windows {
			if w := &f.entry("G2-rbac", "check", "pods").Windows[i]; w.Role == "istiod" {
				w.From, w.To = 0, 0
			}
		}
		f.entry("G2-rbac", "check", "flush istiod").Windows[0].From = 0
		f.entry("G2-rbac", "control", "flush istiod").Windows[0].From = 0
	}, "G2-rbac: "},
	{"istiod's words altered", func(f *forger) {
		e := f.entry("G2-rbac", "check", "-istiod.log")
		f.rewrite(f.entry("G2-rbac", "check", "flush istiod").Windows[0].Log, func(_ int, l observe.LogLine) []observe.LogLine {
			l.Text = bytes.ReplaceAll(l.Text, []byte("is not authorized to read secrets"), []byte("is authorized"))
			return []observe.LogLine{l}
		})
		f.files[e.Path] = []byte{}
	}, "G2-rbac: check: fact \"istiod's log about"},
	{"a log gone", func(f *forger) { delete(f.files, f.v.Run.Logs[0].Path); f.v.Run.Logs = f.v.Run.Logs[1:] }, "the recording has no log logs/"},
	{"an unlisted log", func(f *forger) { f.files["logs/gateway-other.log"] = []byte{} }, "logs/gateway-other.log is there, and nothing lists it"},
}

// inFiles alters files beside the verdict.
var inFiles = []tampering{
	{"the script", func(f *forger) { f.substitute("reproduce/G1.sh", "set -u", "set -e", 1) }, "G1: reproduce/G1.sh is not the script of what was observed"},
	{"no script", func(f *forger) { delete(f.files, "reproduce/G1.sh") }, "G1: the script reproduce/G1.sh cannot be read"},
	{"another claim's script", func(f *forger) { f.claim("G1").Reproduce = "reproduce/G2.sh" }, "G1: reproduce"},
	{"a script nobody lists", func(f *forger) { f.files["reproduce/G9.sh"] = []byte("#!/bin/sh\n") }, "reproduce/G9.sh is there, and nothing lists it"},
	{"manifest.yaml", func(f *forger) { f.substitute("manifest.yaml", "kind: Gateway", "kind: Gateways", 1) }, "manifest.yaml is not the subject that the run deployed"},
	{"no manifest.yaml", func(f *forger) { delete(f.files, "manifest.yaml") }, "manifest.yaml cannot be read"},
	{"evidence that nothing lists", func(f *forger) { f.files["evidence/G1/check-099-more.txt"] = []byte("x") }, "evidence/G1/check-099-more.txt is there, and nothing lists it"},
	{"evidence of no claim", func(f *forger) { f.files["evidence/G9/check-001-x.txt"] = []byte("x") }, "evidence/G9/check-001-x.txt is there, and nothing lists it"},
	{"evidence gone", func(f *forger) { delete(f.files, f.entry("G1", "check", "requests ").Path) }, "G1: evidence evidence/G1/check-004-curl.txt cannot be checked: it is missing"},
	{"another claim's file", func(f *forger) { f.entry("G1", "check", "requests ").Path = f.entry("G2", "check", "requests ").Path }, "is not the file of the claim's observation G1/check/04"},
}

func TestTamperings(t *testing.T) {
	quick := whole
	quick.made = &sync.Map{}
	for _, group := range []struct {
		name string
		list []tampering
	}{{"observations", inObservations}, {"logs", inLogs}, {"verdict", inVerdict}, {"header", inHeader}, {"files", inFiles}} {
		for _, tt := range group.list {
			t.Run(group.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				f := forge(t, recordedRun(t))
				tt.edit(f)
				f.seal()
				v, err := verify(f.files, quick)
				if err != nil {
					t.Fatal(err)
				}
				if !says(v, tt.want) {
					t.Errorf("no problem says %q; there are %d:\n%s", tt.want, len(v.Problems), strings.Join(v.Problems, "\n"))
				}
			})
		}
	}
}

// The forger's own work shows nowhere: what it seals without an alteration verifies.
func TestTheForgerIsGood(t *testing.T) {
	f := forge(t, recordedRun(t))
	f.rewrite(f.window("G1", "check", "partner").Log, func(_ int, l observe.LogLine) []observe.LogLine { return []observe.LogLine{l} })
	f.seal()
	v, err := verify(f.files, whole)
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Problems) > 0 {
		t.Errorf("%q", v.Problems)
	}
}
