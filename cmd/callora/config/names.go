package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// line is one KEY=VALUE of a file.
type line struct {
	number     int
	key, value string
}

// misnamed says which lines set nothing, and what was probably meant.
func misnamed(path string, lines []line) (notes []string) {
	settings, first := settingNames(), map[string]int{}
	for _, l := range lines {
		switch at, again := first[l.key]; {
		case again:
			notes = append(notes, fmt.Sprintf("%s, line %d: %s is set again; line %d counts for nothing", path, l.number, l.key, at))
		case slices.Contains(settings, l.key), strings.HasPrefix(l.key, "COMPOSE_"): // which Docker Compose reads from the file
		default:
			notes = append(notes, fmt.Sprintf("%s, line %d: %s is not a setting and changes nothing%s", path, l.number, l.key, suggestion(l.key, settings)))
		}
		first[l.key] = l.number
	}
	return notes
}

// misspelt finds variables of the environment that are nearly a setting's name. All others may be anybody's.
func misspelt(environ map[string]string) (notes []string) {
	settings := settingNames()
	for _, name := range slices.Sorted(maps.Keys(environ)) {
		if slices.Contains(settings, name) || len(name) < shortestGuess {
			continue
		}
		if meant := suggestion(name, settings); meant != "" {
			notes = append(notes, fmt.Sprintf("the environment's %s is not a setting and changes nothing%s", name, meant))
		}
	}
	return notes
}

func settingNames() []string {
	var names []string
	eachVariable(reflect.TypeFor[Config](), func(_ reflect.StructField, name string) { names = append(names, name) })
	return slices.AppendSeq(names, maps.Values(aliases))
}

// shortestGuess is the least length of a name that is taken for a slip: among shorter ones everything is near to something.
const shortestGuess = 6

// suggestion names the setting that is most like name, or nothing when none is near.
func suggestion(name string, settings []string) string {
	best, least := "", 1+max(1, min(3, len(name)/4))
	upper := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	for _, s := range settings {
		if d := slips(upper, s); d < least {
			best, least = s, d
		}
	}
	if best == "" {
		return ""
	}
	return ": did you mean " + best + "?"
}

// slips counts the letters to add, leave out, change or swap with their neighbour to make b of a (the optimal string
// alignment distance).
func slips(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
