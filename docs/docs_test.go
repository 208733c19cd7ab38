// Package docs holds the documents, and the tests that hold them against the
// source tree. It reads files and the go command's list of packages; it must not
// import anything of the project.
package docs

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what is generated into the documents")

// root is the source tree.
const root = ".."

// room is a package of the project.
type room struct {
	ImportPath, Dir, Name string
	Imports               []string
}

// module is the project's import path.
const module = "twohop"

// name is the room's path in the source tree.
func (r room) name() string { return strings.TrimPrefix(strings.TrimPrefix(r.ImportPath, module), "/") }

// rooms lists the packages, tests left out.
func rooms(t *testing.T) []room {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,Imports,GoFiles", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var all []room
	for decoder := json.NewDecoder(bytes.NewReader(raw)); ; {
		var r struct {
			room
			GoFiles []string
		}
		if err := decoder.Decode(&r); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if len(r.GoFiles) > 0 {
			all = append(all, r.room)
		}
	}
}

// floors are the drawing's groups: what a room is for.
var floors = []struct {
	title string
	rooms []string
}{
	{"around the house", []string{"", "cmd/twohop", "scripts/newclaim", "packaging", "internal/runconfig"}},
	{"audits", []string{"internal/audit", "internal/audit/report", "internal/audit/offline", "internal/audit/corpus", "internal/channel", "internal/computed", "internal/computed/agreement", "internal/rehearse", "internal/audit/livesource", "internal/audit/online", "scripts/score"}},
	{"judges", []string{"suites", "internal/experiment", "internal/check", "internal/replay", "internal/verdict", "internal/claim", "internal/attest", "internal/matrix", "internal/given", "internal/upgrade", "versions"}},
	{"reads", []string{"internal/observe", "internal/observe/live", "internal/observe/recorded", "internal/probe", "internal/kube"}},
	{"parses", []string{"internal/envoy", "internal/walk", "internal/objects", "internal/sockets", "internal/analysis"}},
	{"subject", []string{"internal/manifest", "internal/subject", "fixtures", "partner-nginx"}},
	{"writes", []string{"internal/lab", "deploy/audit/publish"}},
	{"ground", []string{"internal/cluster", "internal/images", "internal/engine", "internal/state"}},
	{"proof of the proof", []string{"internal/mutant", "internal/replay/mutation", "internal/replay/mutation/find", "internal/replay/record", "internal/replay/recording"}},
}

// outside are rooms that only tests enter: they are not drawn.
func outside(r room) bool { return strings.HasSuffix(r.name(), "test") }

// label is the room's name on the drawing.
func label(name string) string {
	if name == "" {
		return "rules.go"
	}
	return strings.TrimPrefix(name, "internal/")
}

func node(name string) string {
	return "r_" + regexp.MustCompile(`[^a-z]`).ReplaceAllString(label(name), "_")
}

// drawing is the Mermaid flowchart of the imports. An arrow that follows from
// others (a imports b, b imports c, so a may import c as well) is left out.
func drawing(all []room) string {
	imports := map[string][]string{}
	for _, r := range all {
		if outside(r) {
			continue
		}
		imports[r.name()] = []string{}
		for _, path := range r.Imports {
			if path == module || strings.HasPrefix(path, module+"/") {
				imports[r.name()] = append(imports[r.name()], room{ImportPath: path}.name())
			}
		}
	}
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	drawn := map[string]bool{}
	for i, floor := range floors {
		fmt.Fprintf(&b, "  subgraph floor%d[\"%s\"]\n", i, floor.title)
		for _, name := range floor.rooms {
			if imports[name] != nil {
				fmt.Fprintf(&b, "    %s[\"%s\"]\n", node(name), label(name))
				drawn[name] = true
			}
		}
		b.WriteString("  end\n")
	}
	for _, r := range all {
		if outside(r) {
			continue
		}
		if !drawn[r.name()] {
			fmt.Fprintf(&b, "  %s[\"%s: on no floor yet\"]\n", node(r.name()), label(r.name()))
		}
		for _, to := range imports[r.name()] {
			if !slices.ContainsFunc(imports[r.name()], func(via string) bool { return via != to && reaches(imports, via, to) }) {
				fmt.Fprintf(&b, "  %s --> %s\n", node(r.name()), node(to))
			}
		}
	}
	return b.String()
}

func reaches(imports map[string][]string, from, to string) bool {
	return slices.ContainsFunc(imports[from], func(via string) bool { return via == to || reaches(imports, via, to) })
}

// The drawing in architecture.md is that of the source tree, and each room has
// its paragraph there.
func TestArchitecture(t *testing.T) {
	text, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	all := rooms(t)
	fence := regexp.MustCompile("(?s)(<!-- drawn: .*? -->\n```mermaid\n).*?(```)")
	found := fence.FindSubmatchIndex(text)
	if found == nil {
		t.Fatal("architecture.md has no drawing: a comment <!-- drawn: … -->, and a block of mermaid after it")
	}
	want := slices.Concat(text[:found[3]], []byte(drawing(all)), text[found[4]:])
	if *update {
		if err := os.WriteFile("architecture.md", want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(string(want), string(text)); diff != "" {
		t.Errorf("the drawing is not that of the source tree: run make docs\n-want +got:\n%s", diff)
	}
	for _, r := range all {
		if name := r.name(); name != "" && !outside(r) && !bytes.Contains(text, []byte("`"+name+"`")) {
			t.Errorf("architecture.md has no paragraph about `%s`", name)
		}
		if bytes.Contains(want, []byte(label(r.name())+": on no floor yet")) {
			t.Errorf("say on which floor %s is, in docs_test.go", r.ImportPath)
		}
	}
}

// Each room says what it knows and what it may not: at least two sentences, and
// one of them a limit.
func TestPackageComments(t *testing.T) {
	limit := regexp.MustCompile(`must (not )?(import|know)|imports nothing|knows? (no|only|nothing|neither)|and nothing of|It is data|opens no|runs (nothing|no)`)
	for _, r := range rooms(t) {
		text := packageComment(t, r.Dir)
		switch sentences := regexp.MustCompile(`[.:]( |$)`).FindAllString(strings.Join(strings.Fields(text), " "), -1); {
		case text == "":
			t.Errorf("%s has no package comment", r.ImportPath)
		case len(sentences) < 2 || !limit.MatchString(strings.Join(strings.Fields(text), " ")):
			t.Errorf("the package comment of %s has to say what the room knows, and what it must not import or know:\n%s", r.ImportPath, text)
		}
	}
}

// packageComment is the comment before the package clause of one of the files.
func packageComment(t *testing.T, dir string) (text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	comment := regexp.MustCompile(`(?m)^((?:// .*\n|//\n)+)package `)
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m := comment.FindSubmatch(raw)
		if m == nil || strings.HasSuffix(path, "_test.go") || bytes.HasPrefix(m[1], []byte("//go:")) {
			continue
		}
		if text != "" {
			t.Errorf("%s has two package comments", dir)
		}
		text = strings.ReplaceAll(string(m[1]), "// ", "")
	}
	return text
}

// documents are all that is written in Markdown.
func documents(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if len(all) < 10 {
		t.Fatalf("only %d documents: %v", len(all), all)
	}
	return all
}

// What the documents point at is there: files, and targets of make.
func TestDocumentsPointAtWhatIsThere(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	there := func(target string) bool {
		return regexp.MustCompile(`(?m)^([a-z0-9 -]+ )?` + target + `( [a-z0-9 -]+)?:`).Match(makefile)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	target := regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z0-9-]*)")
	for _, path := range documents(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s points at %s, which is not there", path, m[1])
			}
		}
		for _, m := range target.FindAllStringSubmatch(string(text), -1) {
			if !there(m[1]) {
				t.Errorf("%s says make %s, and the Makefile has no such target", path, m[1])
			}
		}
	}
}

// CONTRIBUTING.md shows the skeletons that make new-claim writes.
func TestContributingShowsTheSkeletons(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"supported", "refuted"} {
		skeleton, err := os.ReadFile(filepath.Join(root, "scripts", "newclaim", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		shown := "```go\n" + string(skeleton) + "```\n"
		if !bytes.Contains(text, []byte(shown)) {
			t.Errorf("CONTRIBUTING.md does not show the skeleton of a claim that is %s, which is\n%s", name, shown)
		}
	}
}

// A decision has its number, its three parts, and at most 40 lines; the list of
// them is complete.
func TestDecisions(t *testing.T) {
	files, err := filepath.Glob("adr/0*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	list, err := os.ReadFile("adr/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		if n := strings.Count(text, "\n"); n > 40 {
			t.Errorf("%s has %d lines: 40 are the most", path, n)
		}
		if want := fmt.Sprintf("# %04d. ", i+1); !strings.HasPrefix(text, want) || !strings.HasPrefix(filepath.Base(path), want[2:6]+"-") {
			t.Errorf("%s does not begin with %q", path, want)
		}
		for _, part := range []string{"\n## Context\n", "\n## Decision\n", "\n## Consequences\n"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s lacks %q", path, strings.TrimSpace(part))
			}
		}
		if !bytes.Contains(list, []byte("("+filepath.Base(path)+")")) {
			t.Errorf("adr/README.md does not list %s", path)
		}
	}
}
