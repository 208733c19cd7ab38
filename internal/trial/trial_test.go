package trial

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/onsi/gomega"

	"twohop/internal/claim"
	"twohop/internal/lab"
	"twohop/internal/subject"
	"twohop/internal/verdict"
)

// keeper is a run's folder in memory.
type keeper struct {
	evidence []string
	scripts  []string
	recorded []verdict.Finding

	failEvidence, failScript, failRecord error
}

func (k *keeper) SaveEvidence(_ claim.ID, name, kind, witness, command string, raw []byte) (verdict.Evidence, error) {
	k.evidence = append(k.evidence, name)
	return verdict.Evidence{Path: "evidence/" + name, Kind: kind, Witness: witness, Command: command}, k.failEvidence
}

func (k *keeper) SaveScript(_ claim.ID, script []byte) (string, error) {
	k.scripts = append(k.scripts, string(script))
	return "reproduce.sh", k.failScript
}

func (k *keeper) Record(f verdict.Finding) error {
	// What a run's folder writes, it has to be able to write.
	if _, err := json.Marshal(f); err != nil {
		return err
	}
	k.recorded = append(k.recorded, f)
	return k.failRecord
}

// status is an experiment without a cluster: the check sees the statuses given,
// one each time, and wants 200.
func status(statuses ...int) func(*T) Experiment {
	return func(*T) Experiment {
		at := 0
		return Experiment{
			Check: func(_ context.Context, t *T) error {
				path, err := t.Save("curl.txt", verdict.KindCurl, verdict.WitnessClient, "curl", nil)
				if err != nil {
					return err
				}
				t.Fact("status", statuses[at], gomega.Equal(200), path)
				at++
				return nil
			},
			Cause: func(_ context.Context, t *T) error {
				t.Fact("flags", "UF", gomega.Equal("UF"))
				return nil
			},
		}
	}
}

func run(experiment func(*T) Experiment, k *keeper) verdict.Finding {
	return Run(context.Background(), &lab.Lab{Subject: subject.Default()}, "G1", k, experiment)
}

func TestTheSameCheckIsMadeTwice(t *testing.T) {
	held := []verdict.Fact{{Name: "status", Expected: "200", Seen: "200", OK: true}}
	failed := []verdict.Fact{{Name: "status", Expected: "200", Seen: "503"}}
	cause := []verdict.Fact{{Name: "flags", Expected: "UF", Seen: "UF", OK: true}}
	for _, tt := range []struct {
		name           string
		statuses       []int
		check, control verdict.Trial
	}{
		{"the control comes out negative", []int{200, 503}, verdict.Trial{Facts: held}, verdict.Trial{Facts: failed, Cause: cause}},
		{"the check does", []int{503, 200}, verdict.Trial{Facts: failed, Cause: cause}, verdict.Trial{Facts: held}},
		{"neither does", []int{200, 200}, verdict.Trial{Facts: held}, verdict.Trial{Facts: held}},
		{"both do", []int{503, 503}, verdict.Trial{Facts: failed, Cause: cause}, verdict.Trial{Facts: failed, Cause: cause}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := &keeper{}
			got := run(status(tt.statuses...), k)
			want := verdict.Finding{Claim: "G1", Attempts: 1, Check: &tt.check, Control: &tt.control, Reproduce: "reproduce.sh"}
			ignore := []cmp.Option{
				cmpopts.IgnoreFields(verdict.Finding{}, "Start", "DurationMillis", "Evidence"),
				cmpopts.IgnoreFields(verdict.Fact{}, "Evidence"),
			}
			if diff := cmp.Diff(want, got, ignore...); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff([]string{"check-curl.txt", "control-curl.txt"}, k.evidence); diff != "" {
				t.Errorf("evidence: -want +got:\n%s", diff)
			}
			if diff := cmp.Diff([]verdict.Finding{got}, k.recorded); diff != "" {
				t.Errorf("what was recorded is not what was returned:\n%s", diff)
			}
		})
	}
}

func TestWithoutACauseNothingIsProven(t *testing.T) {
	got := run(func(t *T) Experiment {
		e := status(200, 503)(t)
		e.Cause = nil
		return e
	}, &keeper{})
	if got.Error != "" || got.Control == nil || len(got.Control.Cause) != 0 {
		t.Fatalf("%+v", got)
	}
	if v, reason := verdict.Judge("G1", got); v != claim.Inconclusive {
		t.Errorf("%s: %s", v, reason)
	}
}

// Whatever goes wrong, the finding is recorded, and says so.
func TestTroubleIsAFinding(t *testing.T) {
	boom := errors.New("boom")
	broken := func(in string) func(*T) Experiment {
		return func(t *T) Experiment {
			e := status(200, 503)(t)
			check, nth := e.Check, 0
			e.Check = func(ctx context.Context, t *T) error {
				if nth++; in == "check" || in == "control" && nth == 2 {
					return boom
				}
				if in == "panic" {
					var nothing *lab.Lab
					_ = nothing.Subject
				}
				return check(ctx, t)
			}
			if in == "cause" {
				e.Cause = func(context.Context, *T) error { return boom }
			}
			return e
		}
	}
	for _, tt := range []struct {
		name       string
		experiment func(*T) Experiment
		keeper     keeper
		says       []string
	}{
		{"the check", broken("check"), keeper{}, []string{"boom"}},
		{"the control", broken("control"), keeper{}, []string{"control: boom"}},
		{"the cause", broken("cause"), keeper{}, []string{"control: look for the cause: boom"}},
		{"a panic in the check", broken("panic"), keeper{}, []string{"the check panicked", "nil pointer", "trial_test.go"}},
		{"a panic before it", func(*T) Experiment { panic("no fixture") }, keeper{}, []string{"the check panicked: no fixture"}},
		{"the evidence", status(200, 503), keeper{failEvidence: errors.New("disk full")}, []string{"save evidence: disk full"}},
		{"the script", status(200, 503), keeper{failScript: errors.New("disk full")}, []string{"disk full"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := run(tt.experiment, &tt.keeper)
			for _, part := range tt.says {
				if !strings.Contains(got.Error, part) {
					t.Errorf("the error %q does not say %q", got.Error, part)
				}
			}
			if len(tt.keeper.recorded) != 1 || len(tt.keeper.scripts) != 1 {
				t.Errorf("recorded %d findings and %d scripts, want one of each", len(tt.keeper.recorded), len(tt.keeper.scripts))
			}
			if v, reason := verdict.Judge("G1", got); v != claim.Inconclusive {
				t.Errorf("%s: %s", v, reason)
			}
		})
	}
	if got := run(status(200, 503), &keeper{failRecord: boom}); got.Error != "boom" {
		t.Errorf("a finding that cannot be recorded: %+v", got)
	}
}

// A script that the shell reads differently reproduces nothing.
func TestScript(t *testing.T) {
	k := &keeper{}
	run(func(trial *T) Experiment {
		trial.script.add("a change\nin two lines", "kubectl apply -f -", []byte("kind: A\nnote: $HOME `date` 'x'"))
		trial.Step("a call", "printf '%s\\n' called")
		return status(200, 503)(trial)
	}, k)
	got := k.scripts[0]
	want := `#!/bin/sh
# How to see claim G1 by hand, step by step, on a lab of your own:
#   make up && export KUBECONFIG=$(bin/twohop kubeconfig)
# The lab is deploy/client -n twohop-app, deploy/partner-egressgateway -n twohop-egress and deploy/partner -n twohop-partner. Names of pods and addresses are those of the
# run; yours differ.
set -x

# a change in two lines
kubectl apply -f - <<'YAML'
kind: A
note: $HOME ` + "`date`" + ` 'x'
YAML

# a call
printf '%s\n' called
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}

	// A shell runs it, and hands kubectl the document as it is.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte("#!/bin/sh\ncat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	sh := exec.Command("sh", "-c", got)
	sh.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := sh.Output()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("kind: A\nnote: $HOME `date` 'x'\ncalled\n", string(out)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestChangesAreJoined(t *testing.T) {
	if got := changes(nil); got != "" {
		t.Errorf("%q", got)
	}
	if got := changes([]lab.Variation{{Change: "a"}, {Change: "b"}}); got != "a; b" {
		t.Errorf("%q", got)
	}
}

func TestHost(t *testing.T) {
	for in, want := range map[string]string{"10.0.0.1:443": "10.0.0.1", "10.0.0.1": "10.0.0.1", "": ""} {
		if got := Host(in); got != want {
			t.Errorf("Host(%q) is %q, want %q", in, got, want)
		}
	}
}
