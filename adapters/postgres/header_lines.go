package postgres

import (
	"maps"
	"slices"
	"strings"
)

// linesOf is a header as it is sent, "Name: value\r\n" by name, to the byte: its values need not be text in any encoding.
func linesOf(header map[string][]string) []byte {
	out := []byte{}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			out = append(append(append(append(out, name...), ": "...), value...), "\r\n"...)
		}
	}
	return out
}

// headerOf reads what linesOf wrote.
func headerOf(lines []byte) map[string][]string {
	header := map[string][]string{}
	for line := range strings.SplitSeq(string(lines), "\r\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			header[name] = append(header[name], value)
		}
	}
	return header
}
