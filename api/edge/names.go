package edge

import (
	"fmt"
	"slices"
	"strings"
)

// unknownName tells the sender of an unknown name which one may have been meant, or else which ones there are.
func unknownName(name string, known []string) string {
	if meant := nearest(name, known); meant != "" {
		return fmt.Sprintf("is not known here: did you mean %q?", meant)
	}
	if len(known) == 0 {
		return "is not known here"
	}
	return "is not known here: known are " + strings.Join(known, ", ")
}

// nearest returns the known name that differs from name in its case and separators alone, or else in up to two letters.
func nearest(name string, known []string) string {
	if i := slices.IndexFunc(known, func(k string) bool { return folded(k) == folded(name) }); i >= 0 {
		return known[i]
	}
	const most = 2
	best, meant := most+1, ""
	for _, k := range known {
		a, b := folded(name), folded(k)
		if len(a) > 2*len(b) || len(b) <= most {
			continue
		}
		if d := distance(a, b); d < best {
			best, meant = d, k
		}
	}
	return meant
}

// folded is a name without the differences that people make by habit: userId, user_id and User-ID are the same.
func folded(name string) string {
	return strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(name))
}

// distance is how many letters have to be put in, taken out or changed to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
