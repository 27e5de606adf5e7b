package postgres_test

import (
	"bytes"
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

// market is a small marketplace: one developer with one API of two endpoints, one consumer with a vault.
type market struct {
	db       *sqlx.DB
	dev      listing.Developer
	api      listing.API
	consumer id.ID
	vault    vault.Balance
}

func openMarket(t *testing.T) market {
	t.Helper()
	m := market{db: dbtest.New(t), consumer: newID()}
	m.dev = listing.Developer{ID: newID(), UserID: newID(), Name: "Ada", Website: "https://ada.example"}
	m.api = m.newAPI("weather", "GET /forecast", "POST /alerts/{id}")
	m.vault = vault.Balance{
		VaultID: newID(), UserID: m.consumer, Network: vault.Testnet, ContractID: "C1",
		Snapshot: money.MustParse("100"), Ledger: 7, LastSyncedAt: moment(1),
	}
	m.insert(t, postgres.Seed{
		Users:      []postgres.SeedUser{{ID: m.dev.UserID}, {ID: m.consumer}},
		Developers: []listing.Developer{m.dev}, APIs: []listing.API{m.api}, Vaults: []vault.Balance{m.vault},
	})
	return m
}

func (m market) insert(t *testing.T, s postgres.Seed) []id.ID {
	t.Helper()
	keys, err := postgres.InsertSeed(t.Context(), m.db, s)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// newAPI describes an active API with operations such as "GET /forecast".
func (m market) newAPI(slug string, operations ...string) listing.API {
	a := listing.API{
		ID: newID(), DeveloperID: m.dev.ID, Slug: slug, Name: "The " + slug, Description: "About " + slug,
		BaseURL: "https://" + slug + ".example", LogoURL: "https://logo.example/" + slug, Category: "data",
		Status: listing.Active, CreatedAt: moment(2), UpdatedAt: moment(3),
	}
	for i, op := range operations {
		method, path, _ := bytes.Cut([]byte(op), []byte(" "))
		a.Endpoints = append(a.Endpoints, listing.Endpoint{
			ID: newID(), APIID: a.ID, Method: string(method), Path: string(path), Price: money.FromStroops(int64(i+1) * 100_000),
			Description: "does " + op, CreatedAt: moment(2), UpdatedAt: moment(3),
		})
	}
	return a
}

func (m market) newKey(t *testing.T) apikey.Key {
	t.Helper()
	_, prefix, hash, err := apikey.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return apikey.Key{
		ID: newID(), UserID: m.consumer, APIID: m.api.ID, Prefix: prefix, Hash: hash, Scopes: []string{"read", "POST:/alerts/{id}"},
		RateLimitPerMinute: 60, CreatedAt: moment(4),
	}
}

func (m market) count(t *testing.T, query string, args ...any) (n int) {
	t.Helper()
	if err := m.db.GetContext(t.Context(), &n, query, args...); err != nil {
		t.Fatal(err)
	}
	return n
}

// hold locks a key until release.
func (m market) hold(t *testing.T, key id.ID) (release func()) {
	t.Helper()
	tx := m.db.MustBegin()
	t.Cleanup(func() { _ = tx.Rollback() })
	tx.MustExec(`SELECT id FROM api_keys WHERE id = $1 FOR UPDATE`, key)
	return func() { _ = tx.Rollback() }
}

// awaitLockWaits returns when n statements wait for a lock.
func awaitLockWaits(t *testing.T, db *sqlx.DB, n int) {
	t.Helper()
	const waiting = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
	for deadline := time.Now().Add(20 * time.Second); ; {
		var found int
		if err := db.GetContext(t.Context(), &found, waiting); err != nil || time.Now().After(deadline) {
			t.Errorf("%d statements wait for a lock, %v; want %d", found, err, n)
			return
		}
		if found >= n {
			return
		}
	}
}

// moment is a fixed time, n seconds after the first of May 2026, with microseconds as Postgres keeps them.
func moment(n int) time.Time {
	return time.Date(2026, 5, 1, 0, 0, n, 123_456_000, time.UTC)
}

func newID() id.ID { return id.ID(uuid.Must(uuid.NewV7())) }

// atOnce runs n rivals that start together and returns their errors.
func atOnce(n int, rival func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = rival(i)
		})
	}
	close(start)
	all.Wait()
	return errs
}
