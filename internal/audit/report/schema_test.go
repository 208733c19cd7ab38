package report

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"twohop/internal/audit"
	"twohop/internal/objects"
)

func validate(t *testing.T, raw []byte) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("audit.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("audit.json")
	if err != nil {
		t.Fatal(err)
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(instance)
}

func TestEveryReportFollowsTheSchema(t *testing.T) {
	for name, sample := range samples {
		if err := validate(t, []byte(render(t, "json", sample(), Options{}))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := validate(t, []byte(render(t, "json", &audit.Report{
		APIVersion: audit.Version, Run: audit.Run{Source: "live", FailOn: audit.Low}, Result: audit.Passed,
		Channels: []audit.Channel{{Host: host, Result: audit.Passed}},
	}, Options{}))); err != nil {
		t.Errorf("a report of nil slices: %v", err)
	}
}

func TestJSONIsTheReport(t *testing.T) {
	want := rich()
	want.Findings[0].Seen = "\x1b[2J\u202e\u009b<b>&\U000e0001"
	raw := render(t, "json", want, Options{})
	for _, r := range raw {
		if r != '\n' && unseen(r) {
			t.Errorf("%U reaches the terminal", r)
		}
	}
	var got audit.Report
	if err := json.Unmarshal([]byte(raw), &got); err != nil {
		t.Fatal(err)
	}
	c := &want.Channels[1]
	c.Why, c.Gateways, c.Objects, c.Hops = []string{}, []string{}, []objects.Ref{}, []audit.Hop{}
	if diff := cmp.Diff(want, &got); diff != "" {
		t.Errorf("(-report +JSON):\n%s", diff)
	}
}

func TestTheSchemaIsStrict(t *testing.T) {
	type object = map[string]any
	at := func(r object, list string) object { return r[list].([]any)[0].(object) }
	for name, edit := range map[string]func(r object){
		"unknown field":            func(r object) { r["zebra"] = 1 },
		"unknown field deep down":  func(r object) { at(r, "findings")["object"].(object)["zebra"] = 1 },
		"unknown severity":         func(r object) { at(r, "findings")["severity"] = "bad" },
		"unknown status":           func(r object) { at(r, "findings")["status"] = "pass" },
		"excepted without reason":  func(r object) { delete(at(r, "findings"), "exception") },
		"exception without an end": func(r object) { at(r, "findings")["exception"].(object)["expires"] = "never" },
		"hop 3":                    func(r object) { at(r, "findings")["hop"] = 3 },
		"no host":                  func(r object) { delete(at(r, "channels"), "host") },
		"no result":                func(r object) { delete(r, "result") },
		"bad time":                 func(r object) { r["run"].(object)["at"] = "yesterday" },
		"negative count":           func(r object) { r["totals"].(object)["unknown"] = -1 },
		"null list":                func(r object) { r["checks"] = nil },
		"another version":          func(r object) { r["apiVersion"] = "twohop.audit/v2" },
	} {
		var r object
		if err := json.Unmarshal([]byte(render(t, "json", rich(), Options{})), &r); err != nil {
			t.Fatal(err)
		}
		edit(r)
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if validate(t, raw) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestSchemaMatchesModel holds the schema and the Go model together: the same fields,
// and required wherever Go always writes them.
func TestSchemaMatchesModel(t *testing.T) {
	var doc struct {
		Defs map[string]struct {
			AdditionalProperties any
			Required             []string
			Properties           map[string]json.RawMessage
		} `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &doc); err != nil {
		t.Fatal(err)
	}
	for name, model := range map[string]any{
		"Report": audit.Report{}, "Run": audit.Run{}, "Channel": audit.Channel{}, "Hop": audit.Hop{}, "Finding": audit.Finding{},
		"Exception": audit.Exception{}, "Check": audit.Check{}, "Totals": audit.Totals{}, "Ref": objects.Ref{},
	} {
		def := doc.Defs[name]
		if def.AdditionalProperties != false {
			t.Errorf("%s allows additional properties", name)
		}
		var fields, required, properties []string
		for _, f := range reflect.VisibleFields(reflect.TypeOf(model)) {
			field, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			fields = append(fields, field)
			if !strings.Contains(options, "omit") {
				required = append(required, field)
			}
		}
		for p := range def.Properties {
			properties = append(properties, p)
		}
		for _, names := range [][]string{fields, required, properties, def.Required} {
			slices.Sort(names)
		}
		if diff := cmp.Diff(fields, properties); diff != "" {
			t.Errorf("%s: fields (-model +schema):\n%s", name, diff)
		}
		if diff := cmp.Diff(required, def.Required); diff != "" {
			t.Errorf("%s: required (-model +schema):\n%s", name, diff)
		}
	}
}
