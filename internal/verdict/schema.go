package verdict

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

//go:embed schema.json
var schemaJSON []byte

// Schema returns the JSON Schema (draft 2020-12) of verdict.json.
func Schema() []byte { return bytes.Clone(schemaJSON) }

var compileSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaJSON))
	if err != nil {
		return nil, fmt.Errorf("the embedded schema is not JSON: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	const url = "verdict.json"
	if err := c.AddResource(url, doc); err != nil {
		return nil, fmt.Errorf("the embedded schema cannot be loaded: %w", err)
	}
	return c.Compile(url)
})

// SchemaProblems validates the bytes of a verdict.json and returns one sentence
// for each field that is wrong, naming the field. The error is for bytes that
// are not JSON at all.
func SchemaProblems(raw []byte) ([]string, error) {
	schema, err := compileSchema()
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	err = schema.Validate(doc)
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return nil, err
	}
	var problems []string
	english := message.NewPrinter(language.English)
	var walk func(e *jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		for _, cause := range e.Causes {
			walk(cause)
		}
		if len(e.Causes) == 0 {
			field := "/" + strings.Join(e.InstanceLocation, "/")
			problems = append(problems, fmt.Sprintf("%s: %s", field, e.ErrorKind.LocalizedString(english)))
		}
	}
	walk(invalid)
	return problems, nil
}

// ValidateFile validates a verdict.json on disk against the schema.
func ValidateFile(path string) error {
	raw, err := readRunFile(path)
	if err != nil {
		return fmt.Errorf("no verdict in %s: %w", filepath.Dir(path), err)
	}
	problems, err := SchemaProblems(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s does not follow its schema: %s", path, strings.Join(problems, "; "))
	}
	return nil
}
