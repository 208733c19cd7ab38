package claim

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"g2-rbac", "g2-rbac", 0},
		{"g2-rbc", "g2-rbac", 1},   // a letter missing
		{"g2-rbbac", "g2-rbac", 1}, // one too many
		{"g2-rbaz", "g2-rbac", 1},  // another one
		{"g2-rbca", "g2-rbac", 1},  // two swapped
		{"2g-rbca", "g2-rbac", 2},
		{"kitten", "sitting", 3},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := distance(tt.b, tt.a); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"all", "goals", "hop1", "G1", "G2", "G3", "G4", "G2-rbac", "H2-rotation", "H2-rotation-bound", "F-one-identity"}
	for _, tt := range []struct {
		name string
		want []string
	}{
		{"", nil},
		{"g2-RBAC", []string{"G2-rbac"}},                           // case only
		{"g2", []string{"G2"}},                                     // and not G1, which is near too
		{"G2rbac", []string{"G2-rbac"}},                            // one mistake
		{"H2-rotatoin", []string{"H2-rotation"}},                   // the nearer of two
		{"G5", []string{"G1", "G2", "G3", "G4"}},                   // all that are as near
		{"G99", nil},                                               // two of three letters
		{"rotation", []string{"H2-rotation", "H2-rotation-bound"}}, // a part
		{"one-ident", []string{"F-one-identity"}},
		{"nope", nil}, // hop1 is two letters away, of four
		{"on", nil},   // a part that is in too many
		{"nothing-like-it", nil},
	} {
		if diff := cmp.Diff(tt.want, nearest(tt.name, known)); diff != "" {
			t.Errorf("nearest(%q): -want +got:\n%s", tt.name, diff)
		}
	}
}

func TestNearestIsShort(t *testing.T) {
	if got := nearest("G9", []string{"G1", "G2", "G3", "G4", "G5", "G6"}); len(got) != maxNearest {
		t.Errorf("%d names are offered, want %d: %v", len(got), maxNearest, got)
	}
}

func TestNamesSelect(t *testing.T) {
	for _, name := range Names() {
		if got, err := Select(name); err != nil || len(got) == 0 {
			t.Errorf("Select(%q) gives %d claims and the error %v", name, len(got), err)
		}
	}
}
