package claim

import (
	"slices"
	"strings"
)

// maxNearest is how many names a "did you mean" offers.
const maxNearest = 4

// didYouMean ends an error about an unknown name: it offers the nearest of the
// known ones, or says where they are listed.
func didYouMean(name string, known []string) string {
	near := nearest(name, known)
	if len(near) == 0 {
		return `; "twohop claims" lists them all`
	}
	if last := len(near) - 1; last > 0 {
		near = []string{strings.Join(near[:last], ", ") + " or " + near[last]}
	}
	return "; did you mean " + near[0] + "?"
}

// nearest returns the known names that somebody who wrote name may have meant,
// in their own order: those that differ in case only; else those at the smallest
// edit distance, if it is small; else those that contain it.
func nearest(name string, known []string) []string {
	name = strings.ToLower(name)
	if name == "" {
		return nil
	}
	best := 2
	if len(name) < 5 { // two mistakes would leave little of it
		best = 1
	}
	var near, within []string
	for _, k := range known {
		lower := strings.ToLower(k)
		d := distance(name, lower)
		switch {
		case d < best, d == best && near == nil:
			best, near = d, []string{k}
		case d == best:
			near = append(near, k)
		}
		if len(name) > 2 && strings.Contains(lower, name) {
			within = append(within, k)
		}
	}
	if near == nil {
		near = within
	}
	return near[:min(len(near), maxNearest)]
}

// distance is the number of letters to insert, drop, replace or swap with their
// neighbour that makes b of a (optimal string alignment, in bytes).
func distance(a, b string) int {
	above, row := []int(nil), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		two := above
		above, row = row, make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := above[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], two[j-1]+1)
			}
		}
	}
	return row[len(b)]
}

// ids are the claims' names, in registry order.
func ids() []string {
	var names []string
	for _, c := range All() {
		names = append(names, string(c.ID))
	}
	return names
}

// Names returns what Select knows: "all", the chapters and the ids.
func Names() []string {
	names := []string{everything}
	for _, c := range Chapters() {
		names = append(names, string(c))
	}
	return slices.Concat(names, ids())
}
