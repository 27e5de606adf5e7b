package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

// A call that streams for days has an id of a day that was sealed long before it is charged.
func TestACallChargedLongAfterItsDayWasSealedIsCountedOnce(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 4, 3, 2, 0)
	sound(t, l.plain(t))
	l.plant(l.day(3), time.Now())
	for range 2 {
		sound(t, l.plain(t))
		sound(t, l.full(t))
	}
	l.MustExec(`UPDATE usage_events SET amount = amount + 1 WHERE id = (SELECT u.id FROM usage_events u JOIN leases l ON l.id = u.lease_id
		WHERE l.indexed_at > now() - INTERVAL '1 hour' ORDER BY u.id LIMIT 1)`)
	if len(drifts(l.plain(t))) == 0 {
		t.Error("the audit does not look at it")
	}
}

func TestADayIsNotSealedBeforeAllItsLeasesAreBooked(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 4, 3, 2, 0)
	l.MustExec(`UPDATE leases SET indexed_at = NULL, indexed = 0 WHERE id = (SELECT id FROM leases WHERE first_event >= usage_day_floor($1) ORDER BY first_event LIMIT 1)`, l.day(3))
	l.MustExec(`DELETE FROM revenue r USING leases l WHERE l.id = r.lease_id AND l.indexed_at IS NULL`)
	r := l.plain(t)
	sound(t, r)
	if r.Sealed != 1 || !r.SealedTo.Equal(l.day(4)) {
		t.Errorf("sealed %d days up to %v", r.Sealed, r.SealedTo)
	}
}

func TestADayWithDriftIsNotSealed(t *testing.T) {
	t.Parallel()
	for name, drift := range map[string]string{
		"a call's amount":                      `UPDATE usage_events SET amount = 4 WHERE id = (SELECT id FROM usage_events WHERE amount > 0 ORDER BY id OFFSET 12 LIMIT 1)`,
		"calls that its revenue does not name": `UPDATE revenue SET last_event = first_event WHERE lease_id = (SELECT lease_id FROM revenue ORDER BY earned_at OFFSET 2 LIMIT 1)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLedger(t, 4, 3, 2, 0)
			l.MustExec(drift)
			for range 2 {
				r := l.plain(t)
				found := strings.Join(drifts(r), "\n")
				if !strings.Contains(found, l.day(3).Format(time.DateOnly)) || !r.SealedTo.Equal(l.day(4)) {
					t.Errorf("sealed up to %v; %s", r.SealedTo, found)
				}
			}
		})
	}
}

func TestALeaseOfTwoDaysIsProvenWithBoth(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 4, 0)
	// half of each lease's events lie on the next day
	l.MustExec(`UPDATE usage_events SET id = (left(uuid7_floor(occurred_at + INTERVAL '1 day')::text, 14) || right(gen_random_uuid()::text, 22))::uuid
		WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY lease_id ORDER BY id) AS n FROM usage_events WHERE lease_id IS NOT NULL) u WHERE n > 2)`)
	l.MustExec(`UPDATE leases SET last_event = uuid7_floor(opened_at + INTERVAL '25 hours')`)
	l.MustExec(`UPDATE revenue SET last_event = uuid7_floor(earned_at + INTERVAL '25 hours')`)
	r := l.plain(t)
	sound(t, r)
	if r.Sealed == 0 {
		t.Error("nothing is sealed")
	}
	sound(t, l.plain(t))
	sound(t, l.full(t))
}

func TestARoleThatOnlyReadsAuditsWithoutSealing(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 4, 3, 0)
	l.MustExec(fmt.Sprintf(`ALTER DATABASE %s SET default_transaction_read_only = on`, databaseOf(t, l.DB)))
	l.DB.SetMaxIdleConns(-1)
	r := l.plain(t)
	sound(t, r)
	if r.Sealed != 0 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "may not write audit_checkpoints") {
		t.Errorf("sealed %d; %q", r.Sealed, r.Notes)
	}
}

func TestMoreFreeCallsThanSealedAreANote(t *testing.T) {
	t.Parallel()
	l := newLedger(t, 4, 0)
	sound(t, l.plain(t))
	l.MustExec(`INSERT INTO usage_events SELECT (left(id::text, 14) || right(gen_random_uuid()::text, 22))::uuid, lease_id, user_id, api_id, endpoint_id, api_key_id,
		amount, status_code, latency_us, occurred_at FROM usage_events WHERE lease_id IS NULL ORDER BY id LIMIT 1`)
	r := l.full(t)
	sound(t, r)
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], l.day(4).Format(time.DateOnly)) {
		t.Errorf("notes: %q", r.Notes)
	}
}

func TestAThousandPartitionsAreReadOneByOne(t *testing.T) {
	t.Parallel()
	l := newLedgerIn(t, dbtest.NewOfYears(t), 4, 3, 0)
	l.plant(l.day(500), l.day(500).Add(13*time.Hour))
	most := 0
	r := audit{begun: time.Now(), final: l.today}
	days, err := l.daysBefore(t.Context(), dayOf(r.begun)) // the last of them need not be final
	if err != nil || len(days) < 1000 {
		t.Fatalf("%d days, %v", len(days), err)
	}
	s := span{day: l.day(500), lo: floorOf(l.day(500)), upTo: time.Now()}
	hi := floorOf(l.day(499))
	s.hi = &hi
	err = l.inAuditTx(t.Context(), func(tx *sqlx.Tx) error {
		if _, err := s.find(t.Context(), tx, true); err != nil {
			return err
		}
		return tx.Get(&most, `SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()`)
	})
	if err != nil || most > 60 {
		t.Errorf("%d locks for a day, %v", most, err)
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	first, err := l.Audit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sound(t, first)
	t.Logf("a first audit of %d days took %v", first.Sealed, time.Since(begun).Round(time.Millisecond))
}

func databaseOf(t *testing.T, db *sqlx.DB) (name string) {
	t.Helper()
	if err := db.Get(&name, `SELECT current_database()`); err != nil {
		t.Fatal(err)
	}
	return name
}
