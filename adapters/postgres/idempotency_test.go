package postgres_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/db"
	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

func askFor(consumer id.ID, key string, lease, retention time.Duration) ports.IdempotencyClaim {
	return ports.IdempotencyClaim{Consumer: consumer, Key: key, Fingerprint: []byte("f"), Event: newID(), Lease: lease, Retention: retention}
}

func wantOutcome(t *testing.T, w portstest.ChargingWorld, c ports.IdempotencyClaim, outcome ports.IdempotencyOutcome) id.ID {
	t.Helper()
	got, err := w.Idempotency.Claim(t.Context(), c)
	if err != nil || got.Outcome != outcome {
		t.Fatalf("outcome %d, %v; want %d", got.Outcome, err, outcome)
	}
	return got.Event
}

// keyedRecord is a call that has claimed a key, ready to be charged.
func keyedRecord(t *testing.T, w portstest.ChargingWorld, lease id.ID, c ports.IdempotencyClaim) usage.Record {
	t.Helper()
	r := usage.Record{Event: w.Call(t, c.Consumer, money.FromStroops(3)), LeaseID: lease}
	r.ID, r.IdempotencyKey, r.IdempotencyClaim = wantOutcome(t, w, c, ports.IdempotencyClaimed), c.Key, c.Event
	return r
}

func leaseOf(t *testing.T, w portstest.ChargingWorld, consumer id.ID) id.ID {
	t.Helper()
	l, err := w.Leases.Grant(t.Context(), grantOf(consumer, newID(), 500))
	if err != nil {
		t.Fatal(err)
	}
	return l.ID
}

func TestNoKeyIsSweptUnderWhichACallMayStillBeCharged(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	w, store := chargingWorld(t, pool), postgres.NewIdempotency(pool)
	c := w.Fund(t, money.FromStroops(1000))
	lease := leaseOf(t, w, c)
	answered := func(key string, kept bool) {
		t.Helper()
		ask := askFor(c, key, time.Minute, 10*time.Second)
		r := keyedRecord(t, w, lease, ask)
		if ok, err := store.Keep(t.Context(), ask.Claimed(), usage.IdempotentAnswer{Status: 200, Kept: kept}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if out, err := w.Journal.Append(t.Context(), []usage.Record{r}); err != nil || out[0] != ports.Recorded {
			t.Fatal(out, err)
		}
	}
	left := func(want ...string) {
		t.Helper()
		var keys []string
		if err := pool.Select(&keys, `SELECT key FROM idempotency ORDER BY key`); err != nil || fmt.Sprint(keys) != fmt.Sprint(want) {
			t.Errorf("%v are left, %v; want %v", keys, err, want)
		}
	}
	swept := func(limit, want int) {
		t.Helper()
		if n, err := store.Sweep(t.Context(), limit); n != want || err != nil {
			t.Errorf("swept %d, %v; want %d", n, err, want)
		}
	}
	answered("a answered", true)
	answered("b answered", false)
	answered("c repeating", false)
	wantOutcome(t, w, askFor(c, "c repeating", time.Minute, time.Second), ports.IdempotencyRepeat)
	wantOutcome(t, w, askFor(c, "d running", time.Minute, time.Second), ports.IdempotencyClaimed)
	wantOutcome(t, w, askFor(c, "e kept for longer", time.Minute, 3*time.Hour), ports.IdempotencyClaimed)
	swept(10, 0)
	w.AgeKeys(t, 20*time.Second)
	swept(1, 1)
	swept(10, 1)
	left("c repeating", "d running", "e kept for longer")
	w.AgeKeys(t, time.Hour) // the call is dead, and has not been for long
	swept(10, 1)
	left("d running", "e kept for longer")
	w.AgeKeys(t, time.Minute)
	swept(10, 1)
	left("e kept for longer")
}

func TestKeptAnswersSurviveAStepDownAndUp(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	w, store := chargingWorld(t, pool), postgres.NewIdempotency(pool)
	c := w.Fund(t, money.FromStroops(1000))
	ask := askFor(c, "k", time.Minute, time.Hour)
	r := keyedRecord(t, w, leaseOf(t, w, c), ask)
	answer := usage.IdempotentAnswer{Status: 200, Header: map[string][]string{"Set-Cookie": {"a=1", "b: 2"}, "X": {""}}, Body: []byte("x"), Kept: true}
	if ok, err := store.Keep(t.Context(), ask.Claimed(), answer); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, err := w.Journal.Append(t.Context(), []usage.Record{r}); err != nil {
		t.Fatal(err)
	}
	for versionOf(t, pool) >= 6 {
		if _, err := db.Down(t.Context(), pool.DB, false); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Up(t.Context(), pool.DB); err != nil {
		t.Fatal(err)
	}
	got, err := store.Claim(t.Context(), askFor(c, "k", time.Minute, time.Hour))
	if err != nil || got.Outcome != ports.IdempotencyAnswered || got.Event != r.ID || string(got.Answer.Body) != "x" ||
		fmt.Sprint(got.Answer.Header) != fmt.Sprint(answer.Header) {
		t.Errorf("%+v of %+v, %v", got.Answer, got, err)
	}
}

// A charge under way holds its key. What comes beside it waits, and finds the key answered.
func TestWhatMeetsAChargeUnderWayFindsItsKeyAnswered(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]func(t *testing.T, w portstest.ChargingWorld, c ports.IdempotencyClaim){
		"a takeover": func(t *testing.T, w portstest.ChargingWorld, c ports.IdempotencyClaim) {
			c.Event = newID()
			wantOutcome(t, w, c, ports.IdempotencyAnswered)
		},
		"a release": func(t *testing.T, w portstest.ChargingWorld, c ports.IdempotencyClaim) {
			if err := w.Idempotency.Release(t.Context(), c.Claimed()); err != nil {
				t.Error(err)
			}
		},
		"an extension": func(t *testing.T, w portstest.ChargingWorld, c ports.IdempotencyClaim) {
			if _, err := w.Idempotency.Extend(t.Context(), []ports.ClaimedKey{c.Claimed()}, time.Minute, time.Hour); err != nil {
				t.Error(err)
			}
		},
		"a late answer": func(t *testing.T, w portstest.ChargingWorld, c ports.IdempotencyClaim) {
			if kept, err := w.Idempotency.Keep(t.Context(), c.Claimed(), usage.IdempotentAnswer{Status: 500}); kept || err != nil {
				t.Errorf("kept %t, %v", kept, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := dbtest.New(t)
			w, store := chargingWorld(t, pool), postgres.NewIdempotency(pool)
			c := w.Fund(t, money.FromStroops(1000))
			ask := askFor(c, "k", 30*time.Second, 24*time.Hour)
			r := keyedRecord(t, w, leaseOf(t, w, c), ask)
			if ok, err := store.Keep(t.Context(), ask.Claimed(), usage.IdempotentAnswer{Status: 200, Kept: true}); !ok || err != nil {
				t.Fatal(ok, err)
			}
			w.AgeKeys(t, 2*time.Hour) // dead to all appearances
			gate := holdEvent(t, pool, r.ID)
			var both sync.WaitGroup
			both.Go(func() {
				if out, err := w.Journal.Append(t.Context(), []usage.Record{r}); err != nil || out[0] != ports.Recorded {
					t.Errorf("the charge is %v, %v", out, err)
				}
			})
			awaitLockWaits(t, pool, 1)
			both.Go(func() { late(t, w, ask) })
			awaitLockWaits(t, pool, 2)
			if err := gate.Rollback(); err != nil {
				t.Fatal(err)
			}
			both.Wait()
			var state string
			if err := pool.Get(&state, `SELECT state FROM idempotency WHERE status_code = 200`); err != nil || state != "answered" || len(w.Events(t)) != 1 {
				t.Errorf("the key is %q, %v, with %d charges", state, err, len(w.Events(t)))
			}
			w.WantSound(t)
		})
	}
}

// Two calls find the key free for them at the same moment. One gets it.
func TestOfTwoClaimsThatMeetOneIsGranted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		charged bool
		age     time.Duration
		want    ports.IdempotencyOutcome
	}{
		"a repeat":           {true, time.Second, ports.IdempotencyRepeat},
		"a takeover":         {false, time.Minute, ports.IdempotencyClaimed},
		"past the retention": {true, 2 * time.Hour, ports.IdempotencyClaimed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := dbtest.New(t)
			w := chargingWorld(t, pool)
			consumer := w.Fund(t, money.FromStroops(1000))
			r := keyedRecord(t, w, leaseOf(t, w, consumer), askFor(consumer, "k", 30*time.Second, time.Hour))
			if c.charged {
				if _, err := w.Journal.Append(t.Context(), []usage.Record{r}); err != nil {
					t.Fatal(err)
				}
			}
			w.AgeKeys(t, c.age)
			gate := pool.MustBegin()
			t.Cleanup(func() { _ = gate.Rollback() })
			gate.MustExec(`SELECT 1 FROM idempotency FOR UPDATE`)
			outcomes := make(chan ports.IdempotencyOutcome, 2)
			for range 2 {
				go func() {
					got, err := w.Idempotency.Claim(t.Context(), askFor(consumer, "k", 30*time.Second, time.Hour))
					if err != nil {
						t.Error(err)
					}
					outcomes <- got.Outcome
				}()
			}
			awaitLockWaits(t, pool, 2)
			if err := gate.Rollback(); err != nil {
				t.Fatal(err)
			}
			one, two := <-outcomes, <-outcomes
			if one != c.want {
				one, two = two, one
			}
			if one != c.want || two != ports.IdempotencyRunning {
				t.Errorf("outcomes %d and %d; want %d and running", one, two, c.want)
			}
		})
	}
}

func TestAKeyWhoseChargeIsUnderWayIsNotSwept(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	w, store := chargingWorld(t, pool), postgres.NewIdempotency(pool)
	c := w.Fund(t, money.FromStroops(1000))
	r := keyedRecord(t, w, leaseOf(t, w, c), askFor(c, "k", 30*time.Second, time.Hour))
	w.AgeKeys(t, 2*time.Hour)
	gate := holdEvent(t, pool, r.ID)
	done := make(chan error, 1)
	go func() {
		_, err := w.Journal.Append(t.Context(), []usage.Record{r})
		done <- err
	}()
	awaitLockWaits(t, pool, 1)
	if n, err := store.Sweep(t.Context(), 10); n != 0 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	if err := gate.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || len(w.Events(t)) != 1 {
		t.Errorf("%v, %d charges", err, len(w.Events(t)))
	}
}

// holdEvent makes whoever stores the event wait, with all its locks, until the transaction ends.
func holdEvent(t *testing.T, pool *sqlx.DB, event id.ID) *sqlx.Tx {
	t.Helper()
	gate := pool.MustBegin()
	t.Cleanup(func() { _ = gate.Rollback() })
	gate.MustExec(`INSERT INTO usage_events (id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
		VALUES ($1, $1, $1, $1, $1, 0, 200, 1, now())`, event)
	return gate
}

// And the other way round: a charge that has to wait for the takeover of its key finds it lost.
func TestAChargeThatMeetsATakeoverIsNotRecorded(t *testing.T) {
	t.Parallel()
	for name, takeover := range map[string]string{
		"another has it": `UPDATE idempotency SET claim = gen_random_uuid()`,
		"nobody has it":  `DELETE FROM idempotency`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := dbtest.New(t)
			w := chargingWorld(t, pool)
			c := w.Fund(t, money.FromStroops(1000))
			lease := leaseOf(t, w, c)
			r := keyedRecord(t, w, lease, askFor(c, "k", time.Minute, time.Hour))
			other := usage.Record{Event: w.Call(t, c, money.FromStroops(3)), LeaseID: lease}
			gate := pool.MustBegin()
			t.Cleanup(func() { _ = gate.Rollback() })
			gate.MustExec(takeover)
			done := make(chan []ports.RecordOutcome, 1)
			go func() {
				out, err := w.Journal.Append(t.Context(), []usage.Record{r, other})
				if err != nil {
					t.Error(err)
				}
				done <- out
			}()
			awaitLockWaits(t, pool, 1)
			if err := gate.Commit(); err != nil {
				t.Fatal(err)
			}
			if out := <-done; len(out) != 2 || out[0] != ports.ClaimLost || out[1] != ports.Recorded {
				t.Errorf("outcomes %v", out)
			}
			if _, charged := w.Events(t)[r.ID]; charged || len(w.Events(t)) != 1 {
				t.Errorf("%d charges", len(w.Events(t)))
			}
			w.WantSound(t)
		})
	}
}

// Charges and extensions of many keys at once take them in one order.
func TestChargesAndExtensionsOfManyKeysDoNotDeadlock(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	w := chargingWorld(t, pool)
	c := w.Fund(t, money.FromStroops(100_000))
	l, err := w.Leases.Grant(t.Context(), grantOf(c, newID(), 50_000))
	if err != nil {
		t.Fatal(err)
	}
	lease := l.ID
	for range 10 {
		var batch []usage.Record
		var keys []ports.ClaimedKey
		for range 40 {
			ask := askFor(c, newID().String(), time.Minute, time.Hour)
			batch = append(batch, keyedRecord(t, w, lease, ask))
			keys = append([]ports.ClaimedKey{ask.Claimed()}, keys...) // the other way round
		}
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := w.Journal.Append(t.Context(), batch); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			if held, err := w.Idempotency.Extend(t.Context(), keys, time.Minute, time.Hour); err != nil || len(held) != len(keys) {
				t.Errorf("%d extended, %v", len(held), err)
			}
		})
		both.Wait()
	}
}

// A burst of answers leaves connections for what is small.
func TestAnswersAreStoredByFewConnections(t *testing.T) {
	t.Parallel()
	pool := dbtest.New(t)
	pool.SetMaxOpenConns(5) // one holds the rows, one looks
	w, store := chargingWorld(t, pool), postgres.NewIdempotency(pool)
	c := w.Fund(t, money.FromStroops(1))
	asks := make([]ports.IdempotencyClaim, 8)
	for i := range asks {
		asks[i] = askFor(c, fmt.Sprint(i), time.Minute, time.Hour)
		wantOutcome(t, w, asks[i], ports.IdempotencyClaimed)
	}
	gate := pool.MustBegin()
	t.Cleanup(func() { _ = gate.Rollback() })
	gate.MustExec(`SELECT 1 FROM idempotency FOR UPDATE`)
	var all sync.WaitGroup
	for _, ask := range asks {
		all.Go(func() {
			if kept, err := store.Keep(t.Context(), ask.Claimed(), usage.IdempotentAnswer{Status: 200, Body: make([]byte, 1000), Kept: true}); !kept || err != nil {
				t.Errorf("kept %t, %v", kept, err)
			}
		})
	}
	awaitLockWaits(t, pool, 2)
	wantOutcome(t, w, askFor(c, "another", time.Minute, time.Hour), ports.IdempotencyClaimed)
	if err := gate.Rollback(); err != nil {
		t.Fatal(err)
	}
	all.Wait()
}
