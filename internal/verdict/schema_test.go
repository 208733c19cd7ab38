package verdict

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"twohop/internal/claim"
)

// schemaDef is what the test below reads of the schema.
type schemaDef struct {
	AdditionalProperties *bool                      `json:"additionalProperties"`
	Required             []string                   `json:"required"`
	Properties           map[string]json.RawMessage `json:"properties"`
}

// TestSchemaMatchesModel holds the schema and the Go model together: the same
// fields, and required wherever Go always writes them.
func TestSchemaMatchesModel(t *testing.T) {
	var doc struct {
		Defs map[string]schemaDef `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &doc); err != nil {
		t.Fatal(err)
	}
	for name, model := range map[string]any{
		"Verdict": Verdict{}, "Run": Run{}, "Phase": Phase{}, "Totals": Totals{}, "Result": Result{},
		"Trial": Trial{}, "Fact": Fact{}, "Evidence": Evidence{}, "Window": Window{}, "Table": Table{},
		"Asked": Asked{}, "LogFile": LogFile{},
	} {
		def, ok := doc.Defs[name]
		if !ok {
			t.Errorf("the schema has no %s", name)
			continue
		}
		if def.AdditionalProperties == nil || *def.AdditionalProperties {
			t.Errorf("%s allows additional properties", name)
		}
		fields, required := jsonFields(reflect.TypeOf(model))
		var properties []string
		for p := range def.Properties {
			properties = append(properties, p)
		}
		slices.Sort(properties)
		slices.Sort(fields)
		slices.Sort(required)
		slices.Sort(def.Required)
		if diff := cmp.Diff(fields, properties); diff != "" {
			t.Errorf("%s: fields (-model +schema):\n%s", name, diff)
		}
		if diff := cmp.Diff(required, def.Required); diff != "" {
			t.Errorf("%s: required (-model +schema):\n%s", name, diff)
		}
	}
}

func jsonFields(typ reflect.Type) (all, required []string) {
	for i := range typ.NumField() {
		field := typ.Field(i)
		if field.Anonymous {
			a, r := jsonFields(field.Type)
			all, required = append(all, a...), append(required, r...)
			continue
		}
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		all = append(all, name)
		if !strings.Contains(options, "omit") {
			required = append(required, name)
		}
	}
	return all, required
}

func TestSchemaEnums(t *testing.T) {
	var doc struct {
		Defs map[string]struct {
			Properties map[string]struct {
				Enum []any `json:"enum"`
			} `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &doc); err != nil {
		t.Fatal(err)
	}
	outcomes := []Outcome{Green, Different, Failed, Inconclusive, Interrupted, Running}
	var codes []float64
	for _, o := range outcomes {
		codes = append(codes, float64(o.ExitCode()))
	}
	slices.Sort(codes)
	for _, tt := range []struct {
		def, field string
		want       []any
	}{
		{"Verdict", "result", anys(outcomes)},
		{"Verdict", "exitCode", anys(slices.Compact(codes))},
		{"Result", "verdict", anys([]claim.Verdict{claim.Supported, claim.Refuted, claim.Inconclusive, claim.NotRun})},
		{"Result", "chapter", anys([]claim.Chapter{claim.Goals, claim.Hop1, claim.Hop2, claim.Pool, claim.Traps, claim.Field})},
		{"Evidence", "kind", anys([]string{KindClusters, KindSecrets, KindCurl, KindAccessLog, KindPartnerLog, KindText, KindYAML, KindJSON})},
		{"Evidence", "witness", anys([]string{WitnessClient, WitnessSidecar, WitnessGateway, WitnessPartner, WitnessIstiod, WitnessAPI})},
	} {
		if diff := cmp.Diff(tt.want, doc.Defs[tt.def].Properties[tt.field].Enum); diff != "" {
			t.Errorf("%s.%s (-model +schema):\n%s", tt.def, tt.field, diff)
		}
	}
}

// anys converts to what encoding/json makes of an enum.
func anys[T any](list []T) []any {
	out := make([]any, 0, len(list))
	for _, item := range list {
		v := reflect.ValueOf(item)
		if v.Kind() == reflect.String {
			out = append(out, v.String())
		} else {
			out = append(out, v.Interface())
		}
	}
	return out
}

func TestEveryClaimOfTheRegistryFitsTheSchema(t *testing.T) {
	f, err := Create(t.TempDir(), Run{}, claim.All())
	if err != nil {
		t.Fatal(err)
	}
	if err := ValidateFile(filepath.Join(f.Dir, VerdictFile)); err != nil {
		t.Error(err)
	}
}

func TestSchemaProblems(t *testing.T) {
	f := makeSample(t, t.TempDir(), true)
	raw, err := os.ReadFile(filepath.Join(f.Dir, VerdictFile))
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := SchemaProblems(raw); err != nil || len(problems) > 0 {
		t.Fatalf("a good verdict has problems: %v, %v", problems, err)
	}
	for _, tt := range []struct {
		name string
		edit func(v map[string]any)
		want string // in one of the problems
	}{
		{"unknown field", func(v map[string]any) { v["zebra"] = 1 }, "zebra"},
		{"unknown field deep down", func(v map[string]any) { first(v)["zebra"] = 1 }, "zebra"},
		{"unknown verdict", func(v map[string]any) { first(v)["verdict"] = "maybe" }, "/claims/0/verdict"},
		{"no claims", func(v map[string]any) { v["claims"] = []any{} }, "/claims"},
		{"missing run", func(v map[string]any) { delete(v, "run") }, "run"},
		{"bad time", func(v map[string]any) { v["run"].(map[string]any)["start"] = "yesterday" }, "/run/start"},
		{"negative duration", func(v map[string]any) { v["run"].(map[string]any)["durationMillis"] = -1 }, "/run/durationMillis"},
		{"evidence outside", func(v map[string]any) {
			first(v)["evidence"].([]any)[0].(map[string]any)["path"] = "../../etc/passwd"
		}, "/claims/0/evidence/0/path"},
		{"verdict without control", func(v map[string]any) { delete(first(v), "control") }, "control"},
		{"exit code of another outcome", func(v map[string]any) { v["exitCode"] = 0 }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var v map[string]any
			if err := json.Unmarshal(raw, &v); err != nil {
				t.Fatal(err)
			}
			tt.edit(v)
			edited, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			problems, err := SchemaProblems(edited)
			if err != nil || len(problems) == 0 {
				t.Fatalf("accepted (error %v)", err)
			}
			if !strings.Contains(strings.Join(problems, "\n"), tt.want) {
				t.Errorf("problems %q do not name %s", problems, tt.want)
			}
		})
	}
	if _, err := SchemaProblems([]byte("{")); err == nil {
		t.Error("half a JSON accepted")
	}
}

func first(v map[string]any) map[string]any { return v["claims"].([]any)[0].(map[string]any) }
