package verdict

import "strings"

// table writes a claim's own table, its cells wrapped so that it fits.
func (t *text) table(table *Table) {
	cols := len(table.Header)
	for _, row := range table.Rows {
		cols = max(cols, len(row))
	}
	if cols == 0 {
		return
	}
	cell := func(row []string, i int) string {
		if i < len(row) {
			return clean(row[i])
		}
		return ""
	}
	widths := columnWidths(table, cols, t.opts.Width-2-2*(cols-1))
	write := func(row []string, colour string) {
		cells, height := make([][]string, cols), 1
		for i := range cols {
			cells[i] = wrap(cell(row, i), widths[i])
			height = max(height, len(cells[i]))
		}
		for y := range height {
			var b strings.Builder
			b.WriteString("  ")
			for i := range cols {
				piece := ""
				if y < len(cells[i]) {
					piece = cells[i][y]
				}
				b.WriteString(pad(piece, widths[i]) + "  ")
			}
			s := strings.TrimRight(b.String(), " ")
			if colour != "" {
				s = t.paint(colour, s)
			}
			t.line(s)
		}
	}
	write(table.Header, colourDim)
	rules := make([]string, cols)
	for i := range cols {
		rules[i] = strings.Repeat("─", widths[i])
	}
	write(rules, colourDim)
	for _, row := range table.Rows {
		write(row, "")
	}
}

// columnWidths gives each column what it needs, and takes from the widest until
// the table fits into total columns: from those that have room beyond their
// longest word first, so that words are cut only where nothing else is left.
func columnWidths(table *Table, cols, total int) []int {
	widths, words := make([]int, cols), make([]int, cols)
	for _, row := range append([][]string{table.Header}, table.Rows...) {
		for i, c := range row {
			widths[i] = max(widths[i], width(clean(c)))
			for _, word := range strings.Fields(clean(c)) {
				words[i] = max(words[i], width(word))
			}
		}
	}
	const least = 6
	widest := func(room func(i int) bool) int {
		found := -1
		for i, w := range widths {
			if room(i) && (found < 0 || w > widths[found]) {
				found = i
			}
		}
		return found
	}
	for sum := 0; ; sum = 0 {
		for _, w := range widths {
			sum += w
		}
		if sum <= total {
			return widths
		}
		i := widest(func(i int) bool { return widths[i] > max(words[i], least) })
		if i < 0 {
			i = widest(func(i int) bool { return widths[i] > least })
		}
		if i < 0 {
			return widths
		}
		widths[i]--
	}
}
