package claim

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	// "§2.1", "§3.1-2", "trap 4", "record G1", "record ③", "§6 tip", joined by commas.
	section = regexp.MustCompile(`^(§\d(\.\d)?(-\d)?( tip)?|trap \d|record ([①-⑨]|G\d[a-z0-9-]*))$`)
	line    = regexp.MustCompile(`^\d+\.\d+$`)
)

// problems says what is wrong with a registry.
func problems(all []Claim) []error {
	var wrong []error
	seen, statements := map[string]bool{}, map[string]ID{}
	for _, c := range all {
		say := func(what string) { wrong = append(wrong, errors.New(string(c.ID)+": "+what)) }
		if err := c.ID.Check(); err != nil {
			say(err.Error())
		}
		if lower := strings.ToLower(string(c.ID)); seen[lower] { // file systems and anchors may not tell case
			say("another claim has the id")
		} else {
			seen[lower] = true
		}
		if _, err := ParseChapter(string(c.Chapter)); err != nil {
			say(err.Error())
		}
		if c.Section != "" {
			for _, s := range strings.Split(c.Section, ", ") {
				if !section.MatchString(s) {
					say("the section " + s + " does not look like one of the guide's")
				}
			}
		}
		for what, text := range map[string]string{"statement": c.Statement, "lesson": c.Lesson} {
			if text == "" && what == "lesson" {
				continue
			}
			if !strings.HasSuffix(text, ".") || strings.TrimSpace(text) != text || strings.ContainsAny(text, "\n\t") {
				say("the " + what + " is not sentences on one line that end with a period: " + text)
			}
		}
		if other, ok := statements[c.Statement]; ok {
			say("the statement is " + string(other) + "'s")
		}
		statements[c.Statement] = c.ID
		expected := []Verdict{c.Expected}
		for on, v := range c.ExpectedOn {
			expected = append(expected, v)
			if !line.MatchString(on) {
				say("ExpectedOn names " + on + ", which is no Istio line such as 1.30")
			}
			if v == c.Expected {
				say("ExpectedOn says the same as Expected for " + on)
			}
		}
		for _, v := range expected {
			if v != Supported && v != Refuted {
				say("nobody can expect the verdict " + string(v))
			}
		}
		if slices.Contains(expected, Refuted) && c.Lesson == "" {
			say("it is expected to be refuted, and has no lesson")
		}
	}
	return wrong
}

func TestRegistry(t *testing.T) {
	if len(All()) == 0 {
		t.Fatal("the registry is empty")
	}
	for _, err := range problems(All()) {
		t.Error(err)
	}
}

func TestRegistryProblems(t *testing.T) {
	good := Claim{ID: "H1-x", Chapter: Hop1, Section: "§2.1, trap 4", Statement: "It holds.", Expected: Supported}
	for _, tt := range []struct {
		name   string
		change func(*Claim)
		says   string
	}{
		{"good", func(*Claim) {}, ""},
		{"good, refuted", func(c *Claim) { c.Expected, c.Lesson = Refuted, "It does not." }, ""},
		{"a path for an id", func(c *Claim) { c.ID = "../H1" }, "cannot name a file"},
		{"a filter for an id", func(c *Claim) { c.ID = "H1 && G1" }, "cannot name a file"},
		{"a chapter for an id", func(c *Claim) { c.ID = "Hop1" }, "another meaning"},
		{"a word of CLAIMS for an id", func(c *Claim) { c.ID = "All" }, "another meaning"},
		{"an unknown chapter", func(c *Claim) { c.Chapter = "hop3" }, "no chapter is called"},
		{"no chapter", func(c *Claim) { c.Chapter = "" }, "no chapter is called"},
		{"a section of no guide", func(c *Claim) { c.Section = "chapter 2" }, "does not look like"},
		{"no statement", func(c *Claim) { c.Statement = "" }, "the statement is not sentences"},
		{"no period", func(c *Claim) { c.Statement = "It holds" }, "the statement is not sentences"},
		{"two lines", func(c *Claim) { c.Lesson = "It\nholds." }, "the lesson is not sentences"},
		{"refuted without a lesson", func(c *Claim) { c.Expected = Refuted }, "has no lesson"},
		{"refuted on one line without a lesson", func(c *Claim) { c.ExpectedOn = map[string]Verdict{"1.30": Refuted} }, "has no lesson"},
		{"expecting not to know", func(c *Claim) { c.Expected = Inconclusive }, "nobody can expect"},
		{"expecting nothing", func(c *Claim) { c.Expected = "" }, "nobody can expect"},
		{"a release for a line", func(c *Claim) { c.Lesson, c.ExpectedOn = "No.", map[string]Verdict{"1.30.0": Refuted} }, "no Istio line"},
		{"an exception that is none", func(c *Claim) { c.ExpectedOn = map[string]Verdict{"1.30": Supported} }, "says the same"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.change(&c)
			got := errors.Join(problems([]Claim{c})...)
			if tt.says == "" && got != nil || tt.says != "" && (got == nil || !strings.Contains(got.Error(), tt.says)) {
				t.Errorf("%v, want %q", got, tt.says)
			}
		})
	}
	twice := good
	twice.ID = "H1-X"
	if got := errors.Join(problems([]Claim{good, twice})...); got == nil || !strings.Contains(got.Error(), "another claim has the id") || !strings.Contains(got.Error(), "the statement is H1-x's") {
		t.Errorf("one claim twice: %v", got)
	}
}

// What is in the registry stands in chapters, in their order.
func TestAllIsInOrder(t *testing.T) {
	at := 0
	for _, c := range All() {
		i := slices.Index(Chapters(), c.Chapter)
		if i < at {
			t.Errorf("%s of %s comes after a claim of %s", c.ID, c.Chapter, Chapters()[at])
		}
		at = max(at, i)
	}
	All()[0].ID = "changed"
	if All()[0].ID == "changed" {
		t.Error("the registry can be changed from outside")
	}
}

func TestTitles(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Chapters() {
		if title := c.Title(); title == string(c) || seen[title] {
			t.Errorf("chapter %s has the title %q", c, title)
		} else {
			seen[title] = true
		}
	}
	if got := Chapter("new").Title(); got != "new" {
		t.Errorf("%q", got)
	}
}

func TestByID(t *testing.T) {
	if c, err := ByID("G4"); err != nil || c.ID != "G4" {
		t.Errorf("%v, %v", c, err)
	}
	for id, want := range map[ID]string{
		"G99":         `no claim is called "G99"; "twohop claims" lists them all`,
		"h2-rotation": `no claim is called "h2-rotation"; did you mean H2-rotation?`,
		"goals":       `no claim is called "goals"; "twohop claims" lists them all`, // a chapter is no id
	} {
		if _, err := ByID(id); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestExpect(t *testing.T) {
	c := Claim{Expected: Supported, ExpectedOn: map[string]Verdict{"1.30": Refuted}}
	for version, want := range map[string]Verdict{
		"1.30": Refuted, "1.30.0": Refuted, "v1.30.4": Refuted, "1.30.0-rc.1": Refuted,
		"1.31": Supported, "1.31.0": Supported, "1.3": Supported, "1.300.0": Supported, "1": Supported, "": Supported, "latest": Supported,
	} {
		if got := c.Expect(version); got != want {
			t.Errorf("on Istio %q: %s, want %s", version, got, want)
		}
	}
}

func TestSelect(t *testing.T) {
	ids := func(claims []Claim) []ID {
		var all []ID
		for _, c := range claims {
			all = append(all, c.ID)
		}
		return all
	}
	chapter := func(name Chapter) []ID {
		return ids(slices.DeleteFunc(All(), func(c Claim) bool { return c.Chapter != name }))
	}
	for _, tt := range []struct {
		list string
		want []ID
	}{
		{"G1", []ID{"G1"}},
		{"G4,G1", []ID{"G1", "G4"}}, // registry order
		{" G4 , G1 ,", []ID{"G1", "G4"}},
		{"G1,G1", []ID{"G1"}},
		{"goals", chapter(Goals)},
		{"goals,G1", chapter(Goals)},
		{"all", ids(All())},
		{"all,G1,goals", ids(All())},
	} {
		got, err := Select(tt.list)
		if diff := cmp.Diff(tt.want, ids(got)); err != nil || diff != "" {
			t.Errorf("Select(%q): %v\n-want +got:\n%s", tt.list, err, diff)
		}
	}
	for list, says := range map[string]string{
		"":          "no claim is named: write a chapter (goals, hop1, hop2, pool, traps, field), all, or ids such as G1,H2-rotation",
		" , ":       "no claim is named",
		"G2-rbca":   `no claim or chapter is called "G2-rbca"; did you mean G2-rbac?`,
		"G1,G2-rbc": `"G2-rbc"; did you mean G2-rbac?`,
		"g1":        `"g1"; did you mean G1?`,
		"GOALS":     `"GOALS"; did you mean goals?`,
		"hop3":      `"hop3"; did you mean hop1 or hop2?`,
		"al":        `"al"; did you mean all?`,
		"all,nope":  `"nope"; "twohop claims" lists them all`,
		"gaols,g4":  `"gaols"; did you mean goals? no claim or chapter is called "g4"; did you mean G4?`,
	} {
		if got, err := Select(list); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Select(%q) gives %v and the error %v, which does not say %q", list, ids(got), err, says)
		}
	}
}
