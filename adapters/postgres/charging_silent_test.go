package postgres_test

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

const (
	toCommit = 300 * time.Millisecond // what an operation is given
	tooLong  = 3 * time.Second        // what it may take with the grace on a busy machine
)

// moments are when the network falls silent: before the server hears of the operation, after it has heard but before its
// answer, and after an operation has gone well.
var moments = map[string]func(p *dbtest.Proxy, text string){
	"before the commit": func(p *dbtest.Proxy, text string) { p.SilenceAt(text, false) },
	"in the commit":     func(p *dbtest.Proxy, text string) { p.SilenceAt(text, true) },
	"after the commit":  func(p *dbtest.Proxy, _ string) { p.Silence() },
}

func TestAnAppendEndsInTimeWhenTheNetworkFallsSilentAndChargesOnce(t *testing.T) {
	t.Parallel()
	for name, silence := range moments {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, w, db, address := worldBeyond(t)
			c, node := w.Fund(t, money.FromStroops(1000)), newID()
			l, err := w.Leases.Grant(t.Context(), grantOf(c, node, 100))
			if err != nil {
				t.Fatal(err)
			}
			first := usage.Record{Event: w.Call(t, c, money.FromStroops(3)), LeaseID: l.ID}
			if _, err := w.Journal.Append(t.Context(), []usage.Record{first}); err != nil { // prepared, as in the course of things
				t.Fatal(err)
			}
			r := usage.Record{Event: w.Call(t, c, money.FromStroops(3)), LeaseID: l.ID}
			silence(p, string(r.ID[:])) // as it is sent, see array
			failsInTime(t, func(ctx context.Context) error { _, err := w.Journal.Append(ctx, []usage.Record{r}); return err })

			p.Heal(t, address)
			again, cancel := context.WithTimeout(t.Context(), tooLong)
			defer cancel()
			got, err := w.Journal.Append(again, []usage.Record{r})
			if err != nil || got[0] != ports.Recorded {
				t.Errorf("appended again: %v, %v; want recorded", got, err)
			}
			var used int64
			if err := db.Get(&used, `SELECT used FROM leases WHERE id = $1`, l.ID); err != nil || used != 6 {
				t.Errorf("the lease has used %d, %v; want 6", used, err)
			}
		})
	}
}

func TestAGrantEndsInTimeWhenTheNetworkFallsSilent(t *testing.T) {
	t.Parallel()
	for name, silence := range map[string]func(p *dbtest.Proxy, g ports.LeaseGrant){
		"before it begins":      func(p *dbtest.Proxy, _ ports.LeaseGrant) { p.SilenceAt("BEGIN", false) },
		"in its begin":          func(p *dbtest.Proxy, _ ports.LeaseGrant) { p.SilenceAt("BEGIN", true) },
		"at the vault":          func(p *dbtest.Proxy, g ports.LeaseGrant) { p.SilenceAt(g.Consumer.String(), true) },
		"at the lease":          func(p *dbtest.Proxy, g ports.LeaseGrant) { p.SilenceAt(g.ID.String(), true) },
		"before its commit":     func(p *dbtest.Proxy, _ ports.LeaseGrant) { p.SilenceAt("COMMIT", false) },
		"in its commit":         func(p *dbtest.Proxy, _ ports.LeaseGrant) { p.SilenceAt("COMMIT", true) },
		"after an earlier call": func(p *dbtest.Proxy, _ ports.LeaseGrant) { p.Silence() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, w, _, address := worldBeyond(t)
			c, node := w.Fund(t, money.FromStroops(1000)), newID()
			if _, err := w.Leases.Grant(t.Context(), grantOf(c, node, 100)); err != nil {
				t.Fatal(err)
			}
			g := grantOf(c, node, 100)
			silence(p, g)
			failsInTime(t, func(ctx context.Context) error { _, err := w.Leases.Grant(ctx, g); return err })
			p.Heal(t, address)
			// the server may still have the vault locked, until it notices that nobody goes on with that transaction
			again, cancel := context.WithTimeout(t.Context(), 4*tooLong)
			defer cancel()
			if _, err := w.Leases.Grant(again, grantOf(c, node, 100)); err != nil {
				t.Errorf("another grant after the silence: %v", err)
			}
		})
	}
}

// Four callers on one pool: none waits for the others' contexts, and afterwards all four connections serve again, at a new
// server under the old address.
func TestCallersOnASilentNetworkDoNotQueueBehindEachOther(t *testing.T) {
	t.Parallel()
	p, w, beyond, address := worldBeyond(t)
	other := sameLogin(t, dbtest.NewServer(t).DatabaseURL(), address)
	c, node := w.Fund(t, money.FromStroops(1000)), newID()
	p.Silence()
	begun := time.Now()
	var all sync.WaitGroup
	for range 8 { // more than there are connections
		all.Go(func() {
			failsInTime(t, func(ctx context.Context) error {
				_, err := w.Journal.Append(ctx, []usage.Record{{Event: w.Call(t, c, money.FromStroops(3)), LeaseID: node}})
				return err
			})
		})
	}
	all.Wait()
	if took := time.Since(begun); took > tooLong {
		t.Errorf("they took %v", took)
	}
	p.Heal(t, other)
	for range 8 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), tooLong)
			defer cancel()
			for { // database/sql tells whoever waits of an attempt to connect that began in the silence
				_, err := beyond.ExecContext(ctx, `SELECT 1`)
				if err == nil {
					return
				}
				if ctx.Err() != nil {
					t.Errorf("at the new server: %v", err)
					return
				}
			}
		})
	}
	all.Wait()
}

func failsInTime(t *testing.T, op func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), toCommit)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- op(ctx) }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it went well on a silent network")
		}
	case <-time.After(tooLong):
		t.Errorf("still waiting %v after its context's end", tooLong-toCommit)
	}
}

// worldBeyond is a charging world behind a proxy, with its pool.
func worldBeyond(t *testing.T) (*dbtest.Proxy, portstest.ChargingWorld, *sqlx.DB, string) {
	t.Helper()
	address := dbtest.URL(t)
	p := dbtest.NewProxy(t, address)
	beyond, err := postgres.Open(t.Context(), postgres.Config{URL: p.URL(), MaxOpen: 4, ConnectTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { beyond.Close() })
	return p, chargingWorld(t, beyond), beyond, address
}

// sameLogin gives the server of one address the user of another, under the database's name there.
func sameLogin(t *testing.T, server, as string) string {
	t.Helper()
	u, err := url.Parse(as)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: server})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.MustExec(`ALTER USER ` + pq.QuoteIdentifier(u.User.Username()) + ` PASSWORD ` + pq.QuoteLiteral(password))
	db.MustExec(`CREATE DATABASE ` + pq.QuoteIdentifier(strings.TrimPrefix(u.Path, "/")) + ` TEMPLATE template0`)
	return server
}
