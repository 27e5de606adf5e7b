package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/adapters/system"
	"github.com/CalloraOrg/callora-backend/app/charging"
	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// treasury is a database with one consumer's vault, on which nodes charge: the real charging on the real stores, joined by the
// real change feed. What is idle on a node stays there for an hour.
type treasury struct {
	address  string
	db       *sqlx.DB
	consumer id.ID
	api      id.ID
}

func newTreasury(t *testing.T, stroops int64) *treasury {
	t.Helper()
	w := &treasury{address: dbtest.URL(t), consumer: system.NewID(), api: system.NewID()}
	w.db = database(t, w.address)
	seller := system.NewID()
	w.db.MustExec(`INSERT INTO users (id) VALUES ($1), ($2)`, w.consumer, seller)
	w.db.MustExec(`INSERT INTO developers (id, user_id) VALUES ($1, $1)`, seller)
	w.db.MustExec(`INSERT INTO apis (id, developer_id, slug, name, base_url, category, status)
		VALUES ($1, $2, 'weather', 'Weather', 'https://example.com', 'data', 'active')`, w.api, seller)
	w.db.MustExec(`INSERT INTO vaults (id, user_id, network, balance_snapshot) VALUES ($1, $1, 'testnet', $2)`, w.consumer, stroops)
	return w
}

// node is one whose news come by way of news, which may be a proxy.
func (w *treasury) node(t *testing.T, news string) *charging.Charger {
	t.Helper()
	handle, err := postgres.Open(t.Context(), postgres.Config{URL: w.address, MaxOpen: 6})
	if err != nil {
		t.Fatal(err)
	}
	charger := charging.New(charging.Config{
		Network: vault.Testnet, Mode: charging.Durable, LeaseTTL: 4 * time.Hour, LeaseTarget: 10 * time.Second, LeaseIdle: time.Hour,
		LeaseMaxAge: time.Hour, MaintainEvery: time.Second, GrantTimeout: grantTimeout, RecallWait: recallWait, BatchMax: 100,
		QueueMax: 1000, Shards: 1, CommitTimeout: 10 * time.Second,
	}, postgres.NewLeases(handle), postgres.NewJournal(handle), system.Now, system.NewID)
	feed, err := postgres.NewChangeFeed(handle, postgres.Config{URL: news})
	if err != nil {
		t.Fatal(err)
	}
	charger.Start()
	ctx, end := context.WithCancel(context.Background())
	started, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = sharedFeed{feed, charger.Heed}.Follow(ctx, started, func([]ports.Change, time.Time) {}) // it ends with ctx
	}()
	<-started
	t.Cleanup(func() {
		if err := charger.Drain(context.Background()); err != nil {
			t.Error(err)
		}
		end()
		<-ended
		handle.Close()
	})
	return charger
}

func (w *treasury) call(charger *charging.Charger, price int64) (took time.Duration, err error) {
	begun := time.Now()
	hold, err := charger.Reserve(context.Background(), w.consumer, money.FromStroops(price))
	took = time.Since(begun)
	if err != nil {
		return took, err
	}
	defer hold.Release()
	return took, hold.Charge(context.Background(), usage.Event{
		ID: system.NewID(), UserID: w.consumer, APIID: w.api, EndpointID: w.api, KeyID: w.api, Status: 200, OccurredAt: time.Now(),
	})
}

func (w *treasury) reserve(t *testing.T, charger *charging.Charger, price int64) ports.Hold {
	t.Helper()
	hold, err := charger.Reserve(t.Context(), w.consumer, money.FromStroops(price))
	if err != nil {
		t.Fatal(err)
	}
	return hold
}

func (w *treasury) messages(t *testing.T) (n int) {
	t.Helper()
	if err := w.db.Get(&n, `SELECT count(*) FROM changes WHERE kind = 'recall'`); err != nil {
		t.Fatal(err)
	}
	return n
}

// wantSpent is for the end: all nodes have given back what they had.
func (w *treasury) wantSpent(t *testing.T, stroops int64) {
	t.Helper()
	t.Cleanup(func() { // after those of the nodes, when it was called before they were made
		var at struct{ Uncollected, Held, Events int64 }
		err := w.db.Get(&at, `SELECT uncollected, held, (SELECT sum(amount) FROM usage_events) AS events FROM vaults`)
		if err != nil || at.Uncollected != stroops || at.Held != 0 || at.Events != stroops {
			t.Errorf("%+v, %v; want %d spent and nothing held", at, err, stroops)
		}
		found, err := postgres.NewAuditor(w.db).Invariants(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range found {
			if !i.Holds() {
				t.Errorf("%s: %s and %s, %d offenders", i.Name, i.Left, i.Right, i.Offenders)
			}
		}
	})
}

func TestMoneyIdleOnOneNodeServesTheOtherNodesFirstCall(t *testing.T) {
	t.Parallel()
	w := newTreasury(t, 1000)
	w.wantSpent(t, 1000)
	a, b := w.node(t, w.address), w.node(t, w.address)
	w.reserve(t, a, 1000).Release()
	if _, err := w.call(a, 100); err != nil {
		t.Fatal(err)
	}
	inFlight := w.reserve(t, a, 500)
	took, err := w.call(b, 400)
	if err != nil || took > 250*time.Millisecond {
		t.Errorf("%v after %v", err, took)
	}
	t.Logf("the other node's first call waited %v", took)
	if took, err := w.call(b, 1); !errors.Is(err, vault.ErrHeld) || took < recallWait {
		t.Errorf("what a call in flight holds: %v after %v", err, took)
	}
	if err := inFlight.Charge(t.Context(), usage.Event{
		ID: system.NewID(), UserID: w.consumer, APIID: w.api, EndpointID: w.api, KeyID: w.api, Status: 200, OccurredAt: time.Now(),
	}); err != nil {
		t.Errorf("the call in flight was not charged: %v", err)
	}
	before := w.messages(t)
	for range 20 {
		if took, err := w.call(b, 1); !errors.Is(err, vault.ErrShort) || errors.Is(err, vault.ErrHeld) || took > 250*time.Millisecond {
			t.Errorf("an empty vault: %v after %v", err, took)
		}
	}
	if n := w.messages(t) - before; n != 0 {
		t.Errorf("%d messages of an empty vault", n)
	}
}

func TestTwoNodesThatAreBothShortNeitherOverspendNorHangNorFloodTheFeed(t *testing.T) {
	t.Parallel()
	const calls, price = 400, 7
	w := newTreasury(t, calls*price+3)
	w.wantSpent(t, calls*price)
	nodes := []*charging.Charger{w.node(t, w.address), w.node(t, w.address), w.node(t, w.address)}
	for _, node := range nodes { // the third has no calls of its own
		w.reserve(t, node, calls*price/3).Release()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var served atomic.Int64
	var crowd sync.WaitGroup
	begun := time.Now()
	for i := range 12 {
		crowd.Go(func() {
			for ctx.Err() == nil {
				_, err := w.call(nodes[i%2], price)
				switch {
				case err == nil:
					served.Add(1)
				case errors.Is(err, vault.ErrHeld): // the other node's calls in flight may end without a charge
				case errors.Is(err, vault.ErrShort):
					return
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	crowd.Wait()
	took, n := time.Since(begun), w.messages(t)
	if ctx.Err() != nil || served.Load() != calls {
		t.Errorf("%d served of %d in %v", served.Load(), calls, took)
	}
	if n < 1 || n > int(took/vault.RecallEvery)+1 {
		t.Errorf("%d messages in %v", n, took)
	}
	t.Logf("%d calls in %v, %d messages", calls, took, n)
}

func TestARecallThatANodeCannotHearIsHeardWhenItsFeedIsBack(t *testing.T) {
	t.Parallel()
	w := newTreasury(t, 1000)
	w.wantSpent(t, 1000)
	cut := dbtest.NewProxy(t, w.address)
	a, b := w.node(t, cut.URL()), w.node(t, w.address)
	w.reserve(t, a, 1000).Release()
	cut.Silence()
	if took, err := w.call(b, 1000); !errors.Is(err, vault.ErrHeld) || took < recallWait || took > 2*recallWait+grantTimeout {
		t.Errorf("while nobody hears: %v after %v", err, took)
	}
	cut.Heal(t, w.address)
	for begun := time.Now(); ; {
		_, err := w.call(b, 1000)
		if err == nil {
			return
		}
		if time.Since(begun) > patience {
			t.Fatal(err)
		}
	}
}

// As in production: a key, two programs, and a vault that has nothing but what one of them holds.
func TestAServerGivesWhatItHasIdleToAnotherAndADeadOneAfterItsLeases(t *testing.T) {
	t.Parallel()
	upstream := mixed(t)
	address, key := seeded(t, upstream.URL)
	handle := database(t, address)
	fund(t, handle, 1000)
	crowd := newCrowd(key)
	kept := []string{"LEASE_IDLE_MS", "3600000", "LEASE_MAX_AGE_MS", "3600000", "LOG_LEVEL", "debug"}
	leaveOnlyLeased := func() {
		t.Helper()
		handle.MustExec(`UPDATE vaults SET balance_snapshot = held + uncollected`)
	}
	one, two := launch(t, fast(address, upstream, kept...), "serve"), launch(t, fast(address, upstream, kept...), "serve")
	origins := []string{one.listening(t), two.listening(t)}
	crowd.call(origins[0])
	leaveOnlyLeased()
	begun := time.Now()
	if status, took := crowd.call(origins[1]), time.Since(begun); status != 200 || took > 250*time.Millisecond {
		t.Errorf("%d after %v", status, took)
	} else {
		t.Logf("the other server's first call took %v", took)
	}
	one.stderr.await(t, "gave idle money back")

	fund(t, handle, 1000)
	crowd.call(origins[0])
	two.finish(t) // what is left is on the first alone
	leaveOnlyLeased()
	one.signal(t, syscall.SIGKILL)
	one.exit(t)
	three := launch(t, fast(address, upstream, kept...), "serve")
	origin := three.listening(t)
	begun = time.Now()
	for crowd.call(origin) != 200 {
		if time.Since(begun) > patience {
			t.Fatalf("by status %v", crowd.counts)
		}
	}
	if crowd.count(402) == 0 {
		t.Error("a dead node's money was there at once: the test tests nothing")
	}
	three.finish(t)
	nothingHeld(t, handle)
	sound(t, address)
}
