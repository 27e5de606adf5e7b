package postgres

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"go.uber.org/goleak"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

const patience = 20 * time.Second // a bound for a broken feed, not a wait for a sound one

func TestANotificationIsFollowedWithoutWaitingForThePoll(t *testing.T) {
	t.Parallel()
	f := follow(t, time.Hour)
	for _, subject := range []string{"a", "b", "c"} {
		note(f.db, subject)
		f.want(t, subject)
	}
}

func TestAChangeWhoseNotificationIsLostIsFoundByThePoll(t *testing.T) {
	t.Parallel()
	f := follow(t, 20*time.Millisecond)
	f.db.MustExec(`INSERT INTO changes (kind, subject) VALUES ('key', 'silent')`)
	f.want(t, "silent")
}

func TestEachGoodLookTellsUpToWhenAllHasBeenReported(t *testing.T) {
	t.Parallel()
	f := follow(t, time.Millisecond)
	before := time.Now()
	for asOf := f.looked.Load(); asOf == nil || !asOf.After(before); asOf = f.looked.Load() {
		select {
		case <-t.Context().Done():
			t.Fatal("no look after one without changes")
		default:
			runtime.Gosched()
		}
	}
	if len(f.batches) > 0 {
		t.Errorf("changes came from nowhere: %v", <-f.batches)
	}
}

func TestAListenerThatIsCutComesBack(t *testing.T) {
	t.Parallel()
	f := follow(t, time.Hour)
	note(f.db, "before")
	f.want(t, "before")
	for range 3 {
		f.terminate(t, `query = '' OR query LIKE 'LISTEN%'`) // '' is a ping
		note(f.db, "after")                                  // while nobody listens, or somebody again: it must not matter
		f.want(t, "after")
	}
	if f.troubles() == 0 {
		t.Error("nobody was told of the lost connection")
	}
}

func TestAChangeThatCommitsLateIsReportedOnceAndNoOtherTwice(t *testing.T) {
	t.Parallel()
	f := follow(t, time.Hour)
	late := f.db.MustBegin()
	late.MustExec(`INSERT INTO changes (kind, subject) VALUES ('key', 'late')`) // takes its transaction id now
	for _, subject := range []string{"x", "y", "z"} {                           // and these, younger, overtake it
		note(f.db, subject)
		f.want(t, subject)
	}
	if err := late.Commit(); err != nil {
		t.Fatal(err)
	}
	note(f.db, "end")
	f.want(t, "late", "end")
}

func TestARolledBackChangeIsNotReported(t *testing.T) {
	t.Parallel()
	f := follow(t, time.Hour)
	undone := f.db.MustBegin()
	undone.MustExec(`INSERT INTO changes (kind, subject) VALUES ('key', 'undone')`)
	if err := undone.Rollback(); err != nil {
		t.Fatal(err)
	}
	note(f.db, "done")
	f.want(t, "done")
}

func TestPublishingAnAPIIsOneChange(t *testing.T) {
	t.Parallel()
	f := follow(t, time.Hour)
	user, dev, api := id.ID{1}, id.ID{2}, id.ID{3}
	tx := f.db.MustBegin()
	tx.MustExec(`INSERT INTO users (id) VALUES ($1)`, user)
	tx.MustExec(`INSERT INTO developers (id, user_id) VALUES ($1, $2)`, dev, user)
	tx.MustExec(`INSERT INTO apis (id, developer_id, slug, name, base_url, category, status) VALUES ($1, $2, 's', 'n', 'u', 'c', 'active')`, api, dev)
	for _, path := range []string{"/a", "/b"} {
		tx.MustExec(`INSERT INTO api_endpoints (id, api_id, method, path, price_stroops) VALUES (gen_random_uuid(), $1, 'GET', $2, 1)`, api, path)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := f.next(t); !slices.Equal(got, []ports.Change{{Kind: ports.ChangedAPI, Subject: api.String()}}) {
		t.Errorf("reported %v, want the API once", got)
	}
}

func TestAfterANewConnectionTheLastMinutesChangesAreReadAgain(t *testing.T) {
	t.Parallel()
	f := follow(t, time.Hour)
	note(f.db, "old")
	f.want(t, "old")
	f.terminate(t, `query LIKE '%pg_current_snapshot%'`)
	note(f.db, "new")
	f.want(t, "old", "new")
}

func TestAWatchThatWasAwayTooLongReportsEverything(t *testing.T) {
	t.Parallel()
	f := follow(t, time.Hour)
	f.db.MustExec(`INSERT INTO users (id) VALUES ($1)`, id.ID{1})
	f.db.MustExec(`INSERT INTO developers (id, user_id) VALUES ($1, $1)`, id.ID{1})
	f.db.MustExec(`INSERT INTO apis (id, developer_id, slug, name, base_url, category, status) VALUES ($1, $1, 's', 'n', 'u', 'c', 'active')`, id.ID{1})
	f.db.MustExec(`INSERT INTO api_keys (id, user_id, api_id, prefix, key_hash, scopes)
		VALUES ($1, $1, $1, 'ck_live_12345678', sha256('x'), '{*}')`, id.ID{1})
	f.db.MustExec(`DELETE FROM changes`)
	w := f.newWatch()
	defer w.close()
	_, seen, err := w.look(t.Context(), horizon{})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := w.look(t.Context(), seen); err != nil || len(got) != 0 {
		t.Errorf("at once: %v, %v; want nothing", got, err)
	}
	seen.at = seen.at.Add(-farBehind - time.Second)
	got, now, err := w.look(t.Context(), seen)
	want := []ports.Change{{Kind: ports.ChangedAPI, Subject: id.ID{1}.String()}, {Kind: ports.ChangedKey, Subject: "ck_live_12345678"}}
	if err != nil || !slices.Equal(got, want) || now.snapshot == "" {
		t.Errorf("after long: %v, %v; want %v", got, err, want)
	}
}

func TestFollowingEndsWithItsContextAndLeavesNothingBehind(t *testing.T) {
	// not parallel: it counts goroutines
	url := dbtest.URL(t)
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(t.Context())
	f := newFeed(t, url, time.Hour)
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- f.Follow(ctx, started, func([]ports.Change, time.Time) {}) }()
	await(t, started)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Follow returned %v", err)
	}
	f.db.Close()
	goleak.VerifyNone(t, before)
}

func TestWithoutADatabaseFollowingKeepsTryingAndCanBeEnded(t *testing.T) {
	t.Parallel()
	f, err := NewChangeFeed(nil, Config{URL: "postgres://u@127.0.0.1:1/x?sslmode=disable"})
	if err != nil {
		t.Fatal(err)
	}
	f.poll = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	tries := make(chan error)
	f.OnTrouble = func(err error) {
		select {
		case tries <- err:
		case <-ctx.Done():
		}
	}
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- f.Follow(ctx, started, nil) }()
	for looks := 0; looks < 3; {
		if err := <-tries; strings.HasPrefix(err.Error(), "look for changes: SERVICE_UNAVAILABLE") {
			looks++
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Follow returned %v", err)
	}
	select {
	case <-started:
		t.Error("started without ever having looked")
	default:
	}
	if _, err := NewChangeFeed(nil, Config{URL: "nonsense"}); err == nil {
		t.Error("nonsense was taken for a URL")
	}
}

func TestPruningTakesOnlyChangesThatEveryoneHasSeen(t *testing.T) {
	t.Parallel()
	f := newFeed(t, dbtest.URL(t), time.Hour)
	f.db.MustExec(`INSERT INTO changes (kind, subject, changed_at)
		SELECT 'key', n::text, now() - n * INTERVAL '1 minute' FROM generate_series(1, 100) n`)
	if n, err := f.Prune(t.Context()); err != nil || n != 40 && n != 41 { // the 60th is just at the edge
		t.Errorf("pruned %d, %v; want those of more than an hour", n, err)
	}
	var oldest int
	if err := f.db.Get(&oldest, `SELECT max(subject::int) FROM changes`); err != nil || oldest > 60 {
		t.Errorf("oldest change left: %d minutes, %v", oldest, err)
	}
	if n, err := f.Prune(t.Context()); err != nil || n > 1 {
		t.Errorf("pruned %d again, %v", n, err)
	}
	f.db.Close()
	if _, err := f.Prune(t.Context()); err == nil {
		t.Error("pruning a closed database succeeded")
	}
}

// feed is a ChangeFeed being followed.
type feed struct {
	*ChangeFeed
	batches chan []ports.Change
	trouble chan error
	looked  atomic.Pointer[time.Time]
}

func newFeed(t *testing.T, url string, poll time.Duration) *ChangeFeed {
	t.Helper()
	c := Config{URL: url}
	db, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	f, err := NewChangeFeed(db, c)
	if err != nil {
		t.Fatal(err)
	}
	f.poll = poll
	return f
}

// follow starts a feed and waits until it listens.
func follow(t *testing.T, poll time.Duration) *feed {
	t.Helper()
	return followAt(t, dbtest.URL(t), poll)
}

func followAt(t *testing.T, url string, poll time.Duration) *feed {
	t.Helper()
	f := &feed{ChangeFeed: newFeed(t, url, poll)}
	f.follow(t)
	return f
}

// follow starts it, and returns how to end it before the test ends.
func (f *feed) follow(t *testing.T) (end func()) {
	t.Helper()
	f.batches, f.trouble = make(chan []ports.Change, 100), make(chan error, 10_000)
	f.OnTrouble = func(err error) { f.trouble <- err }
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		if err := f.Follow(ctx, started, f.take); err != nil {
			t.Errorf("Follow: %v", err)
		}
	}()
	end = func() { cancel(); <-ended }
	t.Cleanup(end)
	await(t, started)
	return end
}

// take keeps what has changed, and the time of the last look.
func (f *feed) take(batch []ports.Change, asOf time.Time) {
	f.looked.Store(&asOf)
	if len(batch) > 0 {
		f.batches <- batch
	}
}

func (f *feed) next(t *testing.T) []ports.Change {
	t.Helper()
	select {
	case batch := <-f.batches:
		return batch
	case <-time.After(patience):
		t.Fatal("no change reported")
		return nil
	}
}

// want waits for exactly these subjects, in one batch or several.
func (f *feed) want(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for len(got) < len(want) {
		got = append(got, subjects(f.next(t))...)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("reported %q, want %q", got, want)
	}
}

// terminate ends the database's other connections that match, of which there must be one soon, and waits for their end.
func (f *feed) terminate(t *testing.T, which string) {
	t.Helper()
	var ended []int
	f.until(t, `SELECT pid FROM pg_stat_activity WHERE CASE -- the order of what AND joins is not certain, and others have databases here
		WHEN datname = current_database() AND pid <> pg_backend_pid() AND (`+which+`) THEN pg_terminate_backend(pid) END`, func(pids []int) bool {
		ended = append(ended, pids...)
		return len(pids) > 0
	})
	f.until(t, `SELECT pid FROM pg_stat_activity`, func(alive []int) bool {
		return !slices.ContainsFunc(ended, func(pid int) bool { return slices.Contains(alive, pid) })
	})
}

func (f *feed) until(t *testing.T, query string, enough func([]int) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		var found []int
		err := f.db.SelectContext(t.Context(), &found, query)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%s: %v, %v", query, found, err)
		}
		if enough(found) {
			return
		}
	}
}

func (f *feed) troubles() int { return len(f.trouble) }

// note commits a change with its notification.
func note(db *sqlx.DB, subject string) {
	tx := db.MustBegin()
	tx.MustExec(`INSERT INTO changes (kind, subject) VALUES ('key', $1)`, subject)
	tx.MustExec(`NOTIFY callora_changes`)
	if err := tx.Commit(); err != nil {
		panic(err)
	}
}

func subjects(batch []ports.Change) (all []string) {
	for _, c := range batch {
		all = append(all, c.Subject)
	}
	return all
}

func await(t *testing.T, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatal("waited in vain")
	}
}
