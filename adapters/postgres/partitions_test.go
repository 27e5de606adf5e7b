package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/db"
	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

const (
	day       = 24 * time.Hour
	daysAhead = 3
)

// backlog is a database in which no pass has made partitions for some days: the events of the days before are in the
// default partition, and so will be those of today.
type backlog struct {
	portstest.ChargingWorld
	db       *sqlx.DB
	consumer id.ID
	lease    vault.Lease // open: it has paid for all events
	epoch    int64
	old      []id.ID // some of the events
}

func newBacklog(t *testing.T, days, perDay int) *backlog {
	t.Helper()
	b := &backlog{db: dbtest.New(t)}
	dropPartitions(t, b.db)
	b.ChargingWorld = chargingWorld(t, b.db)
	b.consumer = b.Fund(t, money.FromStroops(1<<40))
	var err error
	if b.lease, err = b.Leases.Grant(t.Context(), grantOf(b.consumer, newID(), 1<<30)); err != nil {
		t.Fatal(err)
	}
	call := b.Call(t, b.consumer, money.FromStroops(1))
	b.exec(t, `ALTER TABLE usage_events_default DISABLE TRIGGER ALL`) // it costs time, and nothing is staged yet
	for i := days; i > 0; i-- {
		noon := id.FirstAt(time.Now().UTC().Truncate(day).Add(12*time.Hour - time.Duration(i)*day))
		b.exec(t, `INSERT INTO usage_events (id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
			SELECT (left($1::text, 24) || lpad(to_hex(n), 12, '0'))::uuid, $2, $3, $4, $5, $6, 1, 200, 1, now() FROM generate_series(1, $7) n`,
			noon, b.lease.ID, b.consumer, call.APIID, call.EndpointID, call.KeyID, perDay)
	}
	b.exec(t, `ALTER TABLE usage_events_default ENABLE TRIGGER ALL`)
	b.exec(t, `UPDATE leases SET used = used + $2, first_event = (SELECT id FROM usage_events ORDER BY id LIMIT 1),
		last_event = (SELECT id FROM usage_events ORDER BY id DESC LIMIT 1) WHERE id = $1`, b.lease.ID, days*perDay)
	if err := b.db.Select(&b.old, `SELECT id FROM usage_events ORDER BY id LIMIT 300`); err != nil {
		t.Fatal(err)
	}
	return b
}

// dropPartitions leaves usage_events with its default partition alone.
func dropPartitions(t testing.TB, db *sqlx.DB) {
	t.Helper()
	_, err := db.Exec(`DO $$ DECLARE p text; BEGIN
		FOR p IN SELECT relname FROM pg_class WHERE relname ~ '^usage_events_[0-9]{8}$' LOOP EXECUTE 'DROP TABLE ' || p; END LOOP; END $$`)
	if err != nil {
		t.Fatal(err)
	}
}

func (b *backlog) exec(t *testing.T, query string, args ...any) {
	t.Helper()
	if _, err := b.db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

func (b *backlog) get(t *testing.T, query string, args ...any) (n int) {
	t.Helper()
	if err := b.db.GetContext(t.Context(), &n, query, args...); err != nil {
		t.Fatal(err)
	}
	return n
}

// charge appends n calls and returns their records.
func (b *backlog) charge(t *testing.T, n int) ([]usage.Record, error) {
	t.Helper()
	batch := make([]usage.Record, n)
	for i := range batch {
		batch[i] = usage.Record{Event: b.Call(t, b.consumer, money.FromStroops(1)), LeaseID: b.lease.ID, Epoch: b.epoch}
	}
	_, err := b.Journal.Append(t.Context(), batch)
	return batch, err
}

func keep(ctx context.Context, p *postgres.Partitions) error {
	for {
		if done, err := p.Keep(ctx); err != nil || done == 0 {
			return err
		}
	}
}

func (b *backlog) wantMoved(t *testing.T, days int) {
	t.Helper()
	state, err := postgres.NewPartitions(b.db, daysAhead).State(t.Context())
	if want := (postgres.PartitionState{Ahead: daysAhead}); err != nil || state != want {
		t.Errorf("the partitions are %+v, %v, want %+v", state, err, want)
	}
	const daily = `SELECT count(*) FROM pg_inherits WHERE inhparent = 'usage_events'::regclass AND inhrelid::regclass::text ~ '\d{8}$'`
	if n := b.get(t, daily); n != days+1+daysAhead {
		t.Errorf("%d daily partitions, want %d", n, days+1+daysAhead)
	}
	if n := b.get(t, `SELECT count(*) FROM pg_class WHERE relname ~ '^usage_events_(\d{8}|default.*)$' AND NOT relispartition`); n != 0 {
		t.Errorf("%d tables are left over", n)
	}
	b.WantSound(t)
}

// While the events of days find their partitions, nothing is lost or charged twice. That nobody waits, the tests of the
// steps' locks show; the times here are for who reads the log.
func TestABacklogMovesToItsDaysWhileCallsAreCharged(t *testing.T) {
	t.Parallel()
	const days, perDay, writers = 6, 15_000, 3
	b := newBacklog(t, days, perDay)
	today, err := b.charge(t, 1) // today's calls go there too, and go on doing so
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var (
		all     sync.WaitGroup
		mu      sync.Mutex
		waits   []time.Duration
		charged = map[id.ID]bool{today[0].ID: true}
		errs    []error
	)
	for range writers {
		all.Go(func() {
			pace := time.NewTicker(5 * time.Millisecond) // the machine is to have room, so that a wait is one for the move
			defer pace.Stop()
			for ctx.Err() == nil {
				<-pace.C
				began := time.Now()
				batch, err := b.charge(t, 10)
				took := time.Since(began)
				if err == nil { // as one whose answer was lost
					_, err = b.Journal.Append(t.Context(), batch[:1])
				}
				mu.Lock()
				waits, errs = append(waits, took), append(errs, err)
				for _, r := range batch {
					charged[r.ID] = true
				}
				mu.Unlock()
			}
		})
	}
	all.Go(func() { // what is told "not charged" stays so
		for _, event := range b.old {
			if ctx.Err() != nil {
				return
			}
			_, err := b.db.Exec(`WITH gone AS (DELETE FROM usage_events WHERE id = $1 RETURNING lease_id, amount)
				UPDATE leases l SET used = used - amount FROM gone WHERE l.id = gone.lease_id`, event)
			mu.Lock()
			errs, charged[event] = append(errs, err), false
			mu.Unlock()
		}
	})
	began := time.Now()
	nodes := atOnce(3, func(int) error { return keep(t.Context(), postgres.NewPartitions(b.db, daysAhead)) })
	if err := errors.Join(nodes...); err != nil {
		t.Error(err)
	}
	if err := keep(t.Context(), postgres.NewPartitions(b.db, daysAhead)); err != nil { // a node leaves a step to another
		t.Error(err)
	}
	took := time.Since(began)
	stop()
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	slices.Sort(waits)
	t.Logf("%d events moved in %v beside %d batches; a batch took %v, 99%% %v, at most %v", days*perDay, took, len(waits),
		waits[len(waits)/2], waits[len(waits)*99/100], waits[len(waits)-1])
	b.wantMoved(t, days)
	var events []id.ID
	if err := b.db.Select(&events, `SELECT id FROM usage_events`); err != nil {
		t.Fatal(err)
	}
	there := map[id.ID]int{}
	for _, event := range events {
		there[event]++
		if there[event] > 1 {
			t.Errorf("%s is there %d times", event, there[event])
		}
	}
	want := days * perDay
	for event, paid := range charged {
		switch n := there[event]; {
		case paid && n != 1:
			t.Errorf("%s is there %d times", event, n)
		case !paid && n != 0:
			t.Errorf("%s is back", event)
		case paid:
			want++
		default:
			want--
		}
	}
	if len(events) != want {
		t.Errorf("%d events, want %d", len(events), want)
	}
}

// A pass may be killed between any two steps, and in each: whoever comes next goes on, and at every moment each event is
// there once, cannot be charged again, and can be voided.
func TestAMoveCanStopAfterEveryStep(t *testing.T) {
	t.Parallel()
	const days, perDay = 3, 100
	b := newBacklog(t, days, perDay)
	if _, err := b.charge(t, 3); err != nil { // today's calls go there too, and go on doing so
		t.Fatal(err)
	}
	events := days*perDay + 3
	var steps int
	for ; steps < 200; steps++ {
		query := `SELECT usage_partitions_move(37)`
		if steps == 0 {
			query = fmt.Sprintf(`SELECT usage_partitions(%d)`, daysAhead)
		}
		killed := b.db.MustBegin()
		var done int
		if err := killed.Get(&done, query); err != nil {
			t.Fatal(err)
		}
		if err := killed.Rollback(); err != nil {
			t.Fatal(err)
		}
		if done = b.get(t, query); steps > 0 && done == 0 {
			break
		}
		events += b.liveOn(t)
		if n, distinct := b.get(t, `SELECT count(*) FROM usage_events`), b.get(t, `SELECT count(DISTINCT id) FROM usage_events`); n != events || distinct != events {
			t.Fatalf("after step %d: %d events, %d different ones, want %d", steps, n, distinct, events)
		}
	}
	if steps < days*perDay/37+3 {
		t.Errorf("only %d steps", steps)
	}
	b.wantMoved(t, days) // by these copies, and not by others made after they were given up
}

// liveOn charges a few calls, charges old ones again, voids one of each, and returns how many events there are more.
func (b *backlog) liveOn(t *testing.T) int {
	t.Helper()
	batch, err := b.charge(t, 3)
	if err != nil {
		t.Fatal(err)
	}
	again := slices.Clone(batch[:2])
	for _, event := range b.old[:2] {
		old := again[0]
		old.ID = event
		again = append(again, old)
	}
	before := b.get(t, `SELECT count(*) FROM usage_events`)
	if _, err := b.Journal.Append(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if n := b.get(t, `SELECT count(*) FROM usage_events`); n != before {
		t.Fatalf("%d calls were charged again", n-before)
	}
	void := []usage.Record{batch[2], again[2]}
	if kept, err := b.Journal.Void(t.Context(), void); err != nil || len(kept) != 0 {
		t.Fatalf("void: %v stay, %v", kept, err)
	}
	b.epoch++
	b.old = b.old[1:]
	return 3 - 2
}

func TestAStepDownInTheMiddleOfAMoveLosesNothing(t *testing.T) {
	t.Parallel()
	b := newBacklog(t, 2, 10)
	for _, step := range []string{fmt.Sprintf(`SELECT usage_partitions(%d)`, daysAhead), `SELECT usage_partitions_move(7)`} {
		b.get(t, step)
	}
	for versionOf(t, b.db) >= 7 {
		if _, err := db.Down(t.Context(), b.db.DB, false); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.get(t, `SELECT count(*) FROM usage_events`); n != 20 {
		t.Errorf("%d of 20 events are left", n)
	}
	if _, err := db.Up(t.Context(), b.db.DB); err != nil {
		t.Fatal(err)
	}
	if err := keep(t.Context(), postgres.NewPartitions(b.db, daysAhead)); err != nil {
		t.Fatal(err)
	}
	b.wantMoved(t, 2)
}

// A copy beside a void must not bring the event back.
func TestAnEventThatIsBeingVoidedIsNotCopied(t *testing.T) {
	t.Parallel()
	b := newBacklog(t, 2, 10)
	p := postgres.NewPartitions(b.db, daysAhead)
	if _, err := p.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	void := b.db.MustBegin()
	void.MustExec(`DELETE FROM usage_events WHERE id = $1`, b.old[0])
	void.MustExec(`UPDATE leases SET used = used - 1 WHERE id = $1`, b.lease.ID)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if n, err := p.Move(ctx); pq.As(err, pqerror.LockNotAvailable) == nil {
		t.Errorf("%d were copied beside the void, %v", n, err)
	}
	if err := void.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := keep(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if n := b.get(t, `SELECT count(*) FROM usage_events`); n != 19 {
		t.Errorf("%d events, want 19", n)
	}
	b.wantMoved(t, 2)
}

func TestAQueryInTheWayDelaysTheMoveAndNoCharge(t *testing.T) {
	t.Parallel()
	b := newBacklog(t, 2, 10)
	p := postgres.NewPartitions(b.db, daysAhead)
	report := b.db.MustBegin() // reads all, and takes its time
	defer report.Rollback()    //nolint:errcheck // read-only
	var n int
	if err := report.Get(&n, `SELECT count(*) FROM usage_events`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	moved := make(chan error, 1)
	go func() { moved <- keep(ctx, p) }()
	for {
		began := time.Now()
		if _, err := b.charge(t, 1); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 3*time.Second { // without its own short waits the move has it wait for all four
			t.Errorf("a charge waited %v", took)
		}
		select {
		case err := <-moved:
			if pq.As(err, pqerror.LockNotAvailable) == nil {
				t.Errorf("the move says %v", err)
			}
			if err := report.Rollback(); err != nil {
				t.Fatal(err)
			}
			if err := keep(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			b.wantMoved(t, 2)
			return
		default:
		}
	}
}

// A snapshot from before the copies must not meet them: its transaction is waited for, though it holds no lock.
func TestAnOldSnapshotSeesEveryEvent(t *testing.T) {
	t.Parallel()
	b := newBacklog(t, 2, 10)
	ctx := t.Context()
	audit, err := b.db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer audit.Rollback() //nolint:errcheck // read-only
	var n int
	if err := audit.Get(&n, `SELECT count(*) FROM users`); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := keep(short, postgres.NewPartitions(b.db, daysAhead)); pq.As(err, pqerror.LockNotAvailable) == nil {
		t.Errorf("the move says %v", err)
	}
	if err := audit.Get(&n, `SELECT count(*) FROM usage_events`); err != nil || n != 20 {
		t.Errorf("the old snapshot has %d of 20 events, %v", n, err)
	}
	_ = audit.Rollback()
	if err := keep(ctx, postgres.NewPartitions(b.db, daysAhead)); err != nil {
		t.Fatal(err)
	}
	b.wantMoved(t, 2)
}

func TestCopiesThatAreNotTheSameAreNeverUsed(t *testing.T) {
	t.Parallel()
	b := newBacklog(t, 2, 10)
	p := postgres.NewPartitions(b.db, daysAhead)
	for b.get(t, `SELECT count(*) FROM usage_staging WHERE copied IS NOT NULL`) == 0 {
		if _, err := p.Keep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.exec(t, `DELETE FROM usage_events_`+b.old[0].Time().Format("20060102")+` WHERE id = $1`, b.old[0])
	for range 2 { // the first gives the copies up
		if err := keep(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.get(t, `SELECT count(*) FROM usage_events`); n != 20 {
		t.Errorf("%d of 20 events are left", n)
	}
	b.wantMoved(t, 2)
}

func TestIDsOfNoDayStayWhereTheyAre(t *testing.T) {
	t.Parallel()
	b := newBacklog(t, 2, 10)
	const strays = 2000 // as a source of random ids would make them: each of another day
	b.exec(t, `INSERT INTO usage_events SELECT (lpad(to_hex(n::bigint * 140737488355328 / $2), 12, '0') || '7fff8fffffffffffffff')::uuid,
		NULL, user_id, api_id, endpoint_id, api_key_id, 0, 200, 1, now() FROM usage_events, generate_series(0, $2::int - 1) n WHERE id = $1`, b.old[0], strays)
	p := postgres.NewPartitions(b.db, daysAhead)
	if err := keep(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	state, err := p.State(t.Context())
	if err != nil || state.Waiting != 0 || state.Strays < strays-5 {
		t.Errorf("%+v, %v", state, err)
	}
	if n := b.get(t, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'usage_events'::regclass`); n > 15 {
		t.Errorf("%d partitions", n)
	}
	if n := b.get(t, `SELECT count(*) FROM usage_events`); n != strays+20 {
		t.Errorf("%d events, want %d", n, strays+20)
	}
	b.WantSound(t)
}
