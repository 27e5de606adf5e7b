package postgres_test

import (
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

func TestPostgresKeepsTheChargingContract(t *testing.T) {
	t.Parallel()
	portstest.ChargingContract(t, func(t *testing.T) portstest.ChargingWorld { return chargingWorld(t, dbtest.New(t)) })
}

func chargingWorld(t testing.TB, db *sqlx.DB) portstest.ChargingWorld {
	t.Helper()
	leases := postgres.NewLeases(db)
	exec := func(t testing.TB, query string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
			t.Fatal(err)
		}
	}
	developer, api := newID(), newID()
	seller := newID()
	exec(t, `INSERT INTO users (id) VALUES ($1)`, seller)
	exec(t, `INSERT INTO developers (id, user_id) VALUES ($1, $2)`, developer, seller)
	exec(t, `INSERT INTO apis (id, developer_id, slug, name, base_url, category, status)
		VALUES ($1, $2, 'weather', 'Weather', 'https://example.com', 'data', 'active')`, api, developer)
	return portstest.ChargingWorld{
		Leases: leases, Succession: leases, Expiry: leases, Journal: postgres.NewJournal(db), Revenue: postgres.NewRevenue(db), Idempotency: postgres.NewIdempotency(db), Auditor: postgres.NewAuditor(db),
		NewID: newID,
		Fund: func(t testing.TB, balance money.Amount) id.ID {
			t.Helper()
			consumer := newID()
			exec(t, `INSERT INTO users (id) VALUES ($1)`, consumer)
			exec(t, `INSERT INTO vaults (id, user_id, network, balance_snapshot) VALUES ($1, $2, 'testnet', $3)`,
				newID(), consumer, balance.Stroops())
			return consumer
		},
		Balance: func(t testing.TB, consumer id.ID) vault.Balance {
			t.Helper()
			b, err := postgres.NewBalances(db).BalanceOf(t.Context(), consumer, vault.Testnet)
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
		Events: func(t testing.TB) map[id.ID]money.Amount {
			t.Helper()
			var rows []struct {
				ID     id.ID `db:"id"`
				Amount int64 `db:"amount"`
			}
			if err := db.SelectContext(t.Context(), &rows, `SELECT id, amount FROM usage_events`); err != nil {
				t.Fatal(err)
			}
			out := map[id.ID]money.Amount{}
			for _, r := range rows {
				out[r.ID] = money.FromStroops(r.Amount)
			}
			return out
		},
		Call: func(_ testing.TB, consumer id.ID, price money.Amount) usage.Event {
			return usage.Event{
				ID: newID(), UserID: consumer, APIID: api, EndpointID: newID(), KeyID: newID(), Amount: price, Status: 200,
				Latency: 1500 * time.Microsecond, OccurredAt: time.Now(),
			}
		},
		Age: func(t testing.TB) {
			t.Helper()
			exec(t, `UPDATE leases SET expires_at = clock_timestamp() - INTERVAL '1 second' WHERE state = 'open'`)
		},
		AgeKeys: func(t testing.TB, by time.Duration) {
			t.Helper()
			exec(t, `UPDATE idempotency SET locked_until = locked_until - a.by, expires_at = expires_at - a.by,
				answered_at = answered_at - a.by, repeat_until = repeat_until - a.by
				FROM make_interval(secs => $1) AS a (by)`, by.Seconds())
		},
		Stop: func(t testing.TB, consumer id.ID) {
			t.Helper()
			exec(t, `UPDATE vaults SET stopped_at = now(), stopped_because = 'it owes' WHERE user_id = $1`, consumer)
		},
		Recalls: func(t testing.TB) (consumers []id.ID) {
			t.Helper()
			if err := db.SelectContext(t.Context(), &consumers, `SELECT subject FROM changes WHERE kind = 'recall' ORDER BY changed_at`); err != nil {
				t.Fatal(err)
			}
			return consumers
		},
		AgeRecalls: func(t testing.TB, by time.Duration) {
			t.Helper()
			exec(t, `UPDATE changes SET changed_at = changed_at - make_interval(secs => $1) WHERE kind = 'recall'`, by.Seconds())
		},
	}
}

func TestTheAuditFindsEveryDrift(t *testing.T) {
	t.Parallel()
	for name, drift := range map[string]string{
		"an event without its money":             `UPDATE usage_events SET amount = amount + 1`,
		"money without its event":                `UPDATE leases SET used = used + 1 WHERE state = 'open'`,
		"a lost event":                           `DELETE FROM usage_events`,
		"held that no lease accounts for":        `UPDATE vaults SET held = held + 1`,
		"uncollected that no lease accounts for": `UPDATE vaults SET uncollected = uncollected + 1`,
		"revenue that nobody paid":               `UPDATE revenue SET amount = amount + 1`,
		"revenue that is missing":                `DELETE FROM revenue`,
		"a settlement of revenue that was not earned": `INSERT INTO settlements (id, developer_id, amount, status)
			SELECT gen_random_uuid(), id, 5, 'pending' FROM developers`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := dbtest.New(t)
			w := chargingWorld(t, db)
			c, node := w.Fund(t, money.FromStroops(1000)), newID()
			pay := func(closeIt bool) {
				l, err := w.Leases.Grant(t.Context(), grantOf(c, node, 100))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := w.Journal.Append(t.Context(), []usage.Record{{Event: w.Call(t, c, money.FromStroops(3)), LeaseID: l.ID}}); err != nil {
					t.Fatal(err)
				}
				if !closeIt {
					return
				}
				if err := w.Leases.Close(t.Context(), node, []id.ID{l.ID}); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Revenue.IndexRevenue(t.Context(), 10); err != nil {
					t.Fatal(err)
				}
			}
			pay(true)
			pay(false)
			w.WantSound(t)
			if _, err := db.ExecContext(t.Context(), drift); err != nil {
				t.Fatal(err)
			}
			found, err := w.Auditor.Invariants(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range found {
				if !i.Holds() {
					return
				}
			}
			t.Error("the audit sees nothing")
		})
	}
}

func grantOf(consumer, node id.ID, want int64) ports.LeaseGrant {
	a := money.FromStroops(want)
	return ports.LeaseGrant{ID: newID(), Node: node, Consumer: consumer, Network: vault.Testnet, TTL: time.Minute, AtLeast: a, Need: a, Want: a}
}
