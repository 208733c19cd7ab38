package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const root = ".."

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// hook is an entry of .pre-commit-hooks.yaml.
type hook struct {
	ID            string   `json:"id"`
	Name          string   `json:"name"`
	Description   string   `json:"description"`
	Language      string   `json:"language"`
	Entry         string   `json:"entry"`
	Args          []string `json:"args"`
	PassFilenames *bool    `json:"pass_filenames"`
	Types         []string `json:"types"`
}

func readHook(t *testing.T) hook {
	t.Helper()
	var hooks []hook
	if err := yaml.UnmarshalStrict(readFile(t, filepath.Join(root, ".pre-commit-hooks.yaml")), &hooks); err != nil {
		t.Fatal(err)
	}
	if len(hooks) != 1 {
		t.Fatalf("%d hooks", len(hooks))
	}
	return hooks[0]
}

// The hook compiles nothing, and audits a folder, not the files that were changed.
func TestPreCommitHook(t *testing.T) {
	h := readHook(t)
	if h.ID != "twohop-audit" || h.Name == "" || h.Language != "system" || h.PassFilenames == nil || *h.PassFilenames || !strings.HasPrefix(h.Entry, "twohop audit ") {
		t.Errorf("%+v", h)
	}
}

// composite is action.yml.
type composite struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Inputs      map[string]struct {
		Description string  `json:"description"`
		Required    bool    `json:"required"`
		Default     *string `json:"default"`
	} `json:"inputs"`
	Outputs map[string]struct {
		Description string `json:"description"`
		Value       string `json:"value"`
	} `json:"outputs"`
	Runs struct {
		Using string `json:"using"`
		Steps []struct {
			Name  string            `json:"name"`
			ID    string            `json:"id"`
			Shell string            `json:"shell"`
			Run   string            `json:"run"`
			Uses  string            `json:"uses"`
			If    string            `json:"if"`
			Env   map[string]string `json:"env"`
			With  map[string]string `json:"with"`
		} `json:"steps"`
	} `json:"runs"`
}

// What the action uses it declares, and the other way round; no expression is pasted into
// a shell; the script gets each variable that it reads.
func TestAction(t *testing.T) {
	raw := readFile(t, filepath.Join(root, "action.yml"))
	var a composite
	if err := yaml.UnmarshalStrict(raw, &a); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`\binputs\.([\w-]+)`).FindAllStringSubmatch(string(raw), -1) {
		used[m[1]] = true
		if _, ok := a.Inputs[m[1]]; !ok {
			t.Errorf("input %s is used and not declared", m[1])
		}
	}
	for name, in := range a.Inputs {
		if !used[name] {
			t.Errorf("input %s is declared and not used", name)
		}
		if in.Description == "" || !in.Required && in.Default == nil {
			t.Errorf("input %s has no description, or neither is required nor has a default", name)
		}
	}
	steps := map[string]bool{}
	env := map[string]bool{}
	for _, s := range a.Runs.Steps {
		steps[s.ID] = true
		if strings.Contains(s.Run, "${{") {
			t.Errorf("step %s: pass the expression by env", s.Name)
		}
		if (s.Run == "") == (s.Uses == "") || s.Run != "" && s.Shell == "" {
			t.Errorf("step %s has to run something in a shell, or use an action", s.Name)
		}
		if s.Uses != "" && !regexp.MustCompile(`@v\d+$`).MatchString(s.Uses) {
			t.Errorf("step %s: %s has no major version", s.Name, s.Uses)
		}
		for name := range s.Env {
			env[name] = true
		}
	}
	if a.Runs.Using != "composite" {
		t.Errorf("it runs as %q", a.Runs.Using)
	}
	for _, m := range regexp.MustCompile(`\bsteps\.([\w-]+)\.outputs\.([\w-]+)`).FindAllStringSubmatch(string(raw), -1) {
		if !steps[m[1]] || !strings.Contains(string(readFile(t, "action.sh")), m[2]+"=%s") {
			t.Errorf("no step sets %s", m[0])
		}
	}
	for _, name := range []string{"VERSION", "REPOSITORY", "PATHS", "FAIL_ON", "ISTIO", "EXCEPTIONS", "GH_TOKEN"} {
		if !env[name] {
			t.Errorf("action.sh needs %s, and no step passes it", name)
		}
	}
}

// action runs a step's script in a folder that holds what GitHub gives it. The program gh
// copies from releases.
func action(t *testing.T, step, temp, releases string, env ...string) (code int, output string) {
	t.Helper()
	bin := t.TempDir()
	fake := `#!/bin/bash
while (($#)); do
	case $1 in
	--pattern) wanted+=("$2"); shift ;;
	esac
	shift
done
for w in "${wanted[@]}"; do cp -- "$RELEASES/$w" .; done
`
	if err := os.WriteFile(filepath.Join(bin, "gh"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("action.sh")
	if err != nil {
		t.Fatal(err)
	}
	readFile(t, "action.sh") // so that go test knows what it depends on
	cmd := exec.Command(script, step)
	cmd.Dir = temp
	cmd.Env = append([]string{
		"PATH=" + bin + ":/usr/bin:/bin", "HOME=" + temp, "RUNNER_OS=Linux", "RUNNER_ARCH=X64", "RUNNER_TEMP=" + temp, "RELEASES=" + releases,
		"GITHUB_OUTPUT=" + filepath.Join(temp, "output"), "GITHUB_STEP_SUMMARY=" + filepath.Join(temp, "summary"), "REPOSITORY=o/r",
	}, env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// fakeRelease makes an archive with a twohop that does what script says.
func fakeRelease(t *testing.T, script string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "twohop"), []byte("#!/bin/bash\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-c", "tar -czf twohop_v1.2.3_linux_amd64.tar.gz twohop && sha256sum *.tar.gz >SHA256SUMS")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

func TestActionFetch(t *testing.T) {
	releases := fakeRelease(t, "exit 0")
	if code, out := action(t, "fetch", t.TempDir(), releases, "VERSION=v1.2.3"); code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
	for name, tt := range map[string]struct{ env, says string }{
		"a branch":        {"VERSION=main", "is no release"},
		"another system":  {"RUNNER_OS=Windows", "use a Linux or macOS runner"},
		"another machine": {"RUNNER_ARCH=ARM", "no release for ARM"},
	} {
		if code, out := action(t, "fetch", t.TempDir(), releases, "VERSION=v1.2.3", tt.env); code != 3 || !strings.Contains(out, tt.says) {
			t.Errorf("%s: exit %d\n%s", name, code, out)
		}
	}
	archive := filepath.Join(releases, "twohop_v1.2.3_linux_amd64.tar.gz")
	if err := os.WriteFile(archive, append(readFile(t, archive), 0), 0o644); err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	if code, out := action(t, "fetch", temp, releases, "VERSION=v1.2.3"); code != 3 || !strings.Contains(out, "not what SHA256SUMS says") {
		t.Errorf("a broken archive: exit %d\n%s", code, out)
	}
	if _, err := os.Stat(filepath.Join(temp, "twohop", "twohop")); err == nil {
		t.Error("a broken archive was unpacked")
	}
}

// Findings are an output, so that they are uploaded before the job fails; an audit that
// could not be made fails at once.
func TestActionAudit(t *testing.T) {
	inputs := []string{"PATHS=a b\n\nc\n", "FAIL_ON=high", "ISTIO=", "EXCEPTIONS="}
	for code := range 4 {
		temp := t.TempDir()
		releases := fakeRelease(t, `echo "$@"; exit `+string(rune('0'+code)))
		if got, out := action(t, "fetch", temp, releases, "VERSION=v1.2.3"); got != 0 {
			t.Fatal(out)
		}
		got, out := action(t, "audit", temp, releases, inputs...)
		output, _ := os.ReadFile(filepath.Join(temp, "output"))
		if code > 1 {
			if got != code || len(output) > 0 {
				t.Errorf("the audit ends with %d: exit %d, outputs %q\n%s", code, got, output, out)
			}
			continue
		}
		if want := "exit-code=" + string(rune('0'+code)) + "\nsarif=" + temp + "/twohop-audit.sarif\n"; got != 0 || string(output) != want {
			t.Errorf("the audit ends with %d: exit %d, outputs %q\n%s", code, got, output, out)
		}
		if got, want := string(readFile(t, filepath.Join(temp, "twohop-audit.sarif"))), "audit --filename a b --filename c --fail-on high --output sarif\n"; got != want {
			t.Errorf("it ran %q", got)
		}
	}
	if code, out := action(t, "audit", t.TempDir(), "", "PATHS=\n", "FAIL_ON=high", "ISTIO=", "EXCEPTIONS="); code != 3 || !strings.Contains(out, "names nothing") {
		t.Errorf("no path: exit %d\n%s", code, out)
	}
}
