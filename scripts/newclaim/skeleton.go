package main

import (
	_ "embed"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"twohop/internal/claim"
)

// The experiments, with ID for the claim's id. Both pass on a cluster as they
// are: an author starts from something that works. CONTRIBUTING.md shows them.
var (
	//go:embed supported.txt
	supported string
	//go:embed refuted.txt
	refuted string
)

// skeleton is a claim that is not written yet.
type skeleton struct {
	id       claim.ID
	chapter  claim.Chapter
	expected claim.Verdict
}

// newSkeleton checks the names, and not yet whether the id is taken.
func newSkeleton(id claim.ID, chapter string, expected claim.Verdict) (skeleton, error) {
	if err := id.Check(); err != nil {
		return skeleton{}, err
	}
	c, err := claim.ParseChapter(chapter)
	if err != nil {
		return skeleton{}, err
	}
	if expected != claim.Supported && expected != claim.Refuted {
		return skeleton{}, fmt.Errorf("nobody can expect the verdict %q: write supported or refuted", expected)
	}
	return skeleton{id, c, expected}, nil
}

const registryDir = "internal/claim"

func (s skeleton) registryFile() string { return registryDir + "/" + string(s.chapter) + ".go" }
func (s skeleton) suiteFile() string    { return "suites/" + string(s.chapter) + ".go" }

// write adds the claim to a source tree: to both files or, if anything is wrong,
// to none.
func (s skeleton) write(root string) error {
	if err := s.free(root); err != nil {
		return err
	}
	edits := []struct {
		path string
		edit func(name string, text []byte) ([]byte, error)
	}{{s.registryFile(), s.register}, {s.suiteFile(), s.experiment}}
	made := make([][]byte, len(edits))
	for i, e := range edits {
		text, err := os.ReadFile(filepath.Join(root, e.path))
		if err != nil {
			return fmt.Errorf("%s is to get the claim and cannot be read: %w", e.path, errors.Unwrap(err))
		}
		if made[i], err = e.edit(e.path, text); err != nil {
			return err
		}
	}
	for i, e := range edits {
		if err := os.WriteFile(filepath.Join(root, e.path), made[i], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// free makes sure that no claim of the source tree has the id, in whatever case:
// file systems and anchors may not tell.
func (s skeleton) free(root string) error {
	files, err := fs.Glob(os.DirFS(root), registryDir+"/*.go")
	if err != nil {
		return err
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, path), nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, id := range idsIn(file) {
			if strings.EqualFold(id, string(s.id)) {
				return fmt.Errorf("the id is taken: %s has the claim %s", path, id)
			}
		}
	}
	return nil
}

// idsIn are the values of all fields called ID.
func idsIn(file *ast.File) (ids []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		pair, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		key, isName := pair.Key.(*ast.Ident)
		value, isText := pair.Value.(*ast.BasicLit)
		if isName && isText && key.Name == "ID" {
			if id, err := strconv.Unquote(value.Value); err == nil {
				ids = append(ids, id)
			}
		}
		return true
	})
	return ids
}

// register adds the claim at the end of its chapter's list.
func (s skeleton) register(name string, text []byte) ([]byte, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	list := variable(file, string(s.chapter))
	if list == nil {
		return nil, fmt.Errorf("%s has no list of claims called %s", name, s.chapter)
	}
	entry := fmt.Sprintf("\t{\n\t\tID: %q, Chapter: %s, Section: \"\", Expected: %s,\n\t\tStatement: \"\",\n",
		s.id, constant(string(s.chapter)), constant(string(s.expected)))
	if s.expected == claim.Refuted {
		entry += "\t\tLesson: \"\",\n"
	}
	at := set.Position(list.Rbrace).Offset
	return format.Source(slices.Concat(text[:at], []byte(entry+"\t},\n"), text[at:]))
}

// variable is the composite value of a variable, or nil.
func variable(file *ast.File, name string) (found *ast.CompositeLit) {
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if ok && len(v.Values) == 1 && v.Names[0].Name == name {
			found, _ = v.Values[0].(*ast.CompositeLit)
		}
		return found == nil
	})
	return found
}

// constant is the name of a chapter's or a verdict's constant.
func constant(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

// experiment adds the claim's experiment, and what it imports.
func (s skeleton) experiment(name string, text []byte) ([]byte, error) {
	body, imports := supported, []string{`. "github.com/onsi/gomega"`}
	if s.expected == claim.Refuted {
		body, imports = refuted, append(imports, `networking "istio.io/api/networking/v1alpha3"`)
	}
	text, err := importing(name, text, imports)
	if err != nil {
		return nil, err
	}
	return format.Source(append(text, "\n"+strings.Replace(body, `"ID"`, strconv.Quote(string(s.id)), 1)...))
}

// importing adds the imports that a file lacks. Each is a name and a quoted path.
func importing(name string, text []byte, imports []string) ([]byte, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var lacking string
	for _, i := range imports {
		if !slices.ContainsFunc(file.Imports, func(have *ast.ImportSpec) bool {
			return have.Name != nil && have.Name.Name+" "+have.Path.Value == i
		}) {
			lacking += "\t" + i + "\n"
		}
	}
	if lacking == "" {
		return text, nil
	}
	for _, d := range file.Decls {
		if d, ok := d.(*ast.GenDecl); ok && d.Tok == token.IMPORT && d.Lparen.IsValid() {
			at := set.Position(d.Lparen).Offset + 1
			return slices.Concat(text[:at], []byte("\n"+lacking), text[at:]), nil
		}
	}
	at := set.Position(file.Name.End()).Offset
	return slices.Concat(text[:at], []byte("\n\nimport (\n"+lacking+")\n"), text[at:]), nil
}

// next says what is left to do.
func (s skeleton) next() string {
	words := "the statement"
	if s.expected == claim.Refuted {
		words = "the statement and the lesson"
	}
	return fmt.Sprintf(`%[1]s is in %[2]s and %[3]s. What is left:
  1. In %[2]s, write %[4]s, and the section of the guide if it has one.
  2. In %[3]s, replace what the skeleton checks. It passes as it is.
  3. make e2e CLAIMS=%[1]s KEEP=1   judges it; again after each edit
  4. make docs, then make record    write docs/claims.md and the recording (WHOLE=… RUN=… OTHER=…); commit both
  5. make test
CONTRIBUTING.md explains each field, and what the errors mean.
`, s.id, s.registryFile(), s.suiteFile(), words)
}
