package dbtest

import (
	"fmt"
	"testing"

	"github.com/jmoiron/sqlx"
)

// URLOfYears returns the address of a new, migrated database whose usage_events has a partition for each of the last
// thousand days. They are made once and copied.
func URLOfYears(t testing.TB) string {
	t.Helper()
	s := server(t)
	if s.template == "" {
		address := URL(t)
		makeDays(t, address)
		return address
	}
	s.years.Do(func() {
		if err := s.admin("CREATE DATABASE " + yearsTemplate + " TEMPLATE " + s.template); err != nil {
			t.Fatalf("make the template with years of partitions: %v", err)
		}
		makeDays(t, s.urlOf(yearsTemplate))
	})
	return s.create(t, yearsTemplate)
}

// NewOfYears is New with the partitions of URLOfYears.
func NewOfYears(t testing.TB) *sqlx.DB {
	t.Helper()
	return open(t, URLOfYears(t))
}

const yearsTemplate = "callora_template_years"

// makeDays gives usage_events a partition for each of a thousand days before those it has, a hundred in one transaction.
func makeDays(t testing.TB, address string) {
	const days = 1000
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
	db, err := sqlx.Connect("postgres", address)
	if err != nil {
		t.Fatalf("connect to the test's database: %v", err)
	}
	defer db.Close() // who is connected keeps a database from being copied
	for from := 1; from <= days; from += 100 {
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf(make, from, min(from+99, days))); err != nil {
			t.Fatalf("make days of usage_events: %v", err)
		}
	}
}
