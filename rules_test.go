package twohop

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "twohop"

// room is a package of this module, with what it imports of it.
type room struct {
	ImportPath                string
	Imports                   []string
	Deps                      []string // direct and indirect
	TestImports, XTestImports []string
}

func rooms(t *testing.T) map[string]room {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,TestImports,XTestImports", "./...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	all := map[string]room{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var r room
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimPrefix(r.ImportPath, module+"/")] = r
	}
}

// ours are the packages of this module among imports, without the module's name.
func ours(imports []string) (found []string) {
	for _, path := range imports {
		if name, ok := strings.CutPrefix(path, module+"/"); ok {
			found = append(found, name)
		}
	}
	return found
}

// These write: to a cluster, to a container engine, to a node.
var writes = []string{"deploy/audit/publish", "internal/lab", "internal/cluster", "internal/images", "internal/engine", "internal/kube", "internal/kube/kubetest"}

// These read and judge, and run over a recording where there is no cluster.
var reads = []string{
	"fixtures", "partner-nginx", "suites",
	"internal/analysis", "internal/check", "internal/claim", "internal/envoy", "internal/experiment", "internal/given", "internal/manifest", "internal/matrix",
	"internal/attest", "internal/observe", "internal/observe/recorded", "internal/probe", "internal/replay", "internal/replay/mutation", "internal/replay/recording",
	"internal/sockets", "internal/subject", "internal/upgrade", "internal/verdict", "versions",
	"internal/objects", "internal/walk", "internal/channel", "internal/computed", "internal/audit", "internal/audit/offline", "internal/audit/report", "internal/audit/corpus", "internal/audit/online",
}

func TestNoReadingRoomDependsOnAWritingOne(t *testing.T) {
	all := rooms(t)
	for _, name := range reads {
		r, ok := all[name]
		if !ok {
			t.Errorf("there is no room %s: name it as it is called now", name)
		}
		for _, dep := range ours(r.Deps) {
			if slices.Contains(writes, dep) || strings.HasPrefix(dep, "internal/observe/live") {
				t.Errorf("%s depends on %s", name, dep)
			}
		}
		for _, path := range r.Imports {
			// client-go's scheme is a table of types; all else of it connects.
			if strings.HasPrefix(path, "k8s.io/client-go/") && path != "k8s.io/client-go/kubernetes/scheme" {
				t.Errorf("%s imports a Kubernetes client: %s", name, path)
			}
		}
	}
	// What observes a cluster may connect to it, and not change it.
	for _, dep := range ours(all["internal/observe/live"].Deps) {
		if slices.Contains(writes, dep) {
			t.Errorf("internal/observe/live depends on %s", dep)
		}
	}
}

// Each room of the module is said to read or to write, or it wires them together.
func TestEveryRoomHasAKind(t *testing.T) {
	wiring := []string{"cmd/twohop", "internal/observe/live", "internal/observe/live/livetest", "internal/runconfig", "internal/mutant", "internal/state",
		"internal/replay/mutation/find", "internal/replay/record", "docs", "scripts", "scripts/newclaim", "scripts/score", "internal/rehearse", "internal/audit/livesource", "internal/computed/agreement", "internal/computed/computedtest", "packaging", "deploy", module}
	for name := range rooms(t) {
		if !slices.Contains(slices.Concat(reads, writes, wiring), name) && !strings.HasPrefix(name, "images/") {
			t.Errorf("does %s read or write? Add it to the list", name)
		}
	}
}

func TestOnlyTheSuitesLifecycleDeploys(t *testing.T) {
	// Ginkgo's lifecycle, and tests of what is carried out on a lab in memory.
	tests := []string{"suites", "internal/lab", "internal/mutant"}
	for name, r := range rooms(t) {
		if slices.Contains(ours(r.Imports), "internal/lab") {
			t.Errorf("%s imports the lab", name)
		}
		if !slices.Contains(tests, name) && slices.Contains(ours(slices.Concat(r.TestImports, r.XTestImports)), "internal/lab") {
			t.Errorf("a test of %s imports the lab", name)
		}
	}
}

func TestWhatRoomsMayImport(t *testing.T) {
	all := rooms(t)
	for name, want := range map[string][]string{
		"internal/verdict":          {"internal/claim"},
		"internal/envoy":            nil,
		"internal/claim":            nil,
		"internal/subject":          nil,
		"internal/sockets":          nil,
		"internal/kube":             nil,
		"internal/observe":          {"internal/probe", "internal/subject"},
		"internal/observe/recorded": {"internal/observe", "internal/subject"},
	} {
		if got := ours(all[name].Imports); !slices.Equal(got, want) {
			t.Errorf("%s imports %v of the project, and it may %v", name, got, want)
		}
	}
}

// A judge whose source is not in the hash could change unseen.
func TestRulesCoverWhatJudges(t *testing.T) {
	all := rooms(t)
	for _, judge := range []string{"suites", "internal/replay"} {
		for _, name := range append(ours(all[judge].Deps), judge) {
			entries, err := fs.Glob(sources, name+"/*.go")
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) == 0 {
				t.Errorf("%s judges (%s needs it) and is not among the rules' sources", name, judge)
			}
		}
	}
	if _, err := fs.Stat(sources, "go.sum"); err != nil {
		t.Error(err)
	}
	if a, b := Rules(), Rules(); a != b || len(a) != 32 {
		t.Errorf("%s, %s", a, b)
	}
}

// mutable are the variables of packages that are written to.
var mutable = map[string]string{
	"suites.defined": "the registry of experiments, complete once the program has started",
}

// What a package keeps between calls is state that no reader of a call can see.
func TestPackagesKeepNoState(t *testing.T) {
	unused := map[string]bool{}
	for name := range mutable {
		unused[name] = true
	}
	for _, dir := range sourceDirs(t) {
		p := parsePackage(t, dir)
		for _, name := range p.written() {
			full := filepath.ToSlash(dir) + "." + name
			if _, ok := mutable[full]; !ok {
				t.Errorf("%s is a variable that is written to", full)
			}
			delete(unused, full)
		}
	}
	for name := range unused {
		t.Errorf("%s is listed as a variable that is written to, and is none", name)
	}
}

func sourceDirs(t *testing.T) (dirs []string) {
	t.Helper()
	for _, root := range []string{"internal", "suites"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && d.Name() != "testdata" {
				dirs = append(dirs, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return dirs
}

// source is a package without its tests, and the variables that it declares.
type source struct {
	files []*ast.File
	vars  map[string]*ast.ValueSpec
}

func parsePackage(t *testing.T, dir string) source {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	s := source{vars: map[string]*ast.ValueSpec{}}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.add(f)
	}
	return s
}

func (s *source) add(f *ast.File) {
	s.files = append(s.files, f)
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			for _, name := range v.Names {
				if name.Name != "_" {
					s.vars[name.Name] = v
				}
			}
		}
	}
}

// written lists the variables that are assigned to, in whole or in part, whose
// address is taken, or whose type is made to be changed.
func (s *source) written() (names []string) {
	add := func(e ast.Expr) {
		if name, ok := s.root(e); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for name, v := range s.vars {
		if selector, ok := v.Type.(*ast.SelectorExpr); ok {
			if pkg, ok := selector.X.(*ast.Ident); ok && (pkg.Name == "sync" || pkg.Name == "atomic") {
				names = append(names, name)
			}
		}
	}
	for _, f := range s.files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					for _, e := range n.Lhs {
						add(e)
					}
				}
			case *ast.IncDecStmt:
				add(n.X)
			case *ast.RangeStmt:
				if n.Tok == token.ASSIGN {
					add(n.Key)
					add(n.Value)
				}
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					add(n.X)
				}
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "delete" || f.Name == "clear") {
					add(n.Args[0])
				}
			}
			return true
		})
	}
	slices.Sort(names)
	return names
}

// root is the package's variable that an expression is, or lies in.
func (s *source) root(e ast.Expr) (string, bool) {
	for {
		switch x := e.(type) {
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.Ident:
			v, ok := s.vars[x.Name]
			// The parser resolves names within a file; a local one is another.
			return x.Name, ok && (x.Obj == nil || x.Obj.Decl == v)
		default:
			return "", false
		}
	}
}

// The check of variables finds what it is for.
func TestWrittenVariables(t *testing.T) {
	const text = `package p
import "sync"
var constant = []int{1}
var assigned, element, counted, addressed, emptied, ranged, field = 1, map[string]int{}, 0, 0, map[string]int{}, 0, struct{ a int }{}
var lock sync.Mutex
func f() {
	assigned = 2
	element["a"] = 3
	counted++
	_ = &addressed
	clear(emptied)
	for ranged = range 3 {}
	field.a = 1
	constant := constant[0]
	constant = 5
}`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := source{vars: map[string]*ast.ValueSpec{}}
	s.add(f)
	want := []string{"addressed", "assigned", "counted", "element", "emptied", "field", "lock", "ranged"}
	if got := s.written(); !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}
