package dbtest

import (
	"fmt"
	"testing"

	"github.com/jmoiron/sqlx"
)

// MakeDays gives usage_events a partition for each of so many days before those it has, a hundred in one transaction.
func MakeDays(t testing.TB, db *sqlx.DB, days int) {
	t.Helper()
	const make = `DO $$
DECLARE
    day date;
BEGIN
    FOR n IN %d..%d LOOP
        day := (now() AT TIME ZONE 'UTC')::date - n;
        EXECUTE format('CREATE TABLE usage_events_%%s PARTITION OF usage_events FOR VALUES FROM (%%L) TO (%%L)', to_char(day, 'YYYYMMDD'),
            uuid7_floor(day::timestamp AT TIME ZONE 'UTC'), uuid7_floor((day + 1)::timestamp AT TIME ZONE 'UTC'));
    END LOOP;
END $$`
	for from := 1; from <= days; from += 100 {
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf(make, from, min(from+99, days))); err != nil {
			t.Fatalf("make days of usage_events: %v", err)
		}
	}
}
