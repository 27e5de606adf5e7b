package db_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
)

// catalog queries describe all that migrations make, one line for each thing. The daily partitions, whose names depend on
// the day, are described by daily.
var catalog = []string{
	`SELECT format('%s %s.%s %s null=%s default=%s', c.relkind, c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
	        NOT a.attnotnull, pg_get_expr(d.adbin, d.adrelid))
	   FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	   LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum WHERE c.relnamespace = 'public'::regnamespace`,
	`SELECT format('relation %s %s options=%s partition of %s %s', c.relkind, c.relname, c.reloptions, i.inhparent::regclass,
	        pg_get_expr(c.relpartbound, c.oid))
	   FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid WHERE c.relnamespace = 'public'::regnamespace`,
	`SELECT format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(oid))
	   FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'`, // PostgreSQL 18 has NOT NULL here too
	`SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
	  WHERE c.relnamespace = 'public'::regnamespace`,
	`SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace`,
	`SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
	  WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal`,
	`SELECT format('type %s', typname) FROM pg_type WHERE typnamespace = 'public'::regnamespace`,
}

// dump describes the schema in sorted lines, without goose's own table.
func dump(t *testing.T, db *sqlx.DB) []string {
	t.Helper()
	var lines []string
	for _, query := range catalog {
		var part []string
		if err := db.SelectContext(t.Context(), &part, query); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, part...)
	}
	lines = slices.DeleteFunc(lines, func(line string) bool {
		return strings.Contains(line, "goose_db_version") || daily.MatchString(line)
	})
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	slices.Sort(lines)
	return lines
}

// differ fails for each line that one dump has and the other has not.
func differ(t *testing.T, what string, want, got []string) {
	t.Helper()
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("%s: missing %s", what, line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("%s: in addition %s", what, line)
		}
	}
}

func partitions(t *testing.T, db *sqlx.DB) []string {
	t.Helper()
	var names []string
	err := db.SelectContext(t.Context(), &names,
		`SELECT relname FROM pg_class WHERE relname ~ '^usage_events_\d{8}$' AND relnamespace = 'public'::regnamespace ORDER BY relname`)
	if err != nil {
		t.Fatal(err)
	}
	return names
}
