package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/db/dbtest"
)

// BenchmarkIndexRevenue books the calls of 16 consumers that came by turns, in leases of some calls each.
func BenchmarkIndexRevenue(b *testing.B) {
	for _, calls := range []int{4, 40, 10_000} {
		b.Run(fmt.Sprintf("leases of %d", calls), func(b *testing.B) {
			const events = 320_000
			var took time.Duration
			for range b.N {
				db := dbtest.New(b)
				chargingWorld(b, db)
				db.MustExec(`INSERT INTO users SELECT md5('u' || n)::uuid FROM generate_series(0, 15) n`)
				db.MustExec(`INSERT INTO vaults (id, user_id, network) SELECT md5('u' || n)::uuid, md5('u' || n)::uuid, 'testnet' FROM generate_series(0, 15) n`)
				db.MustExec(`INSERT INTO usage_events (id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
					SELECT (left(uuid7_floor(at)::text, 14) || right(gen_random_uuid()::text, 22))::uuid, md5('l' || n % 16 || '.' || n / 16 / $1::int)::uuid, md5('u' || n % 16)::uuid,
						a.id, a.id, a.id, 3, 200, 1, at
					FROM apis a, (SELECT n, date_trunc('day', now()) + n * INTERVAL '1 millisecond' AS at FROM generate_series(0, $2::int - 1) n) e ORDER BY n`, calls, events)
				db.MustExec(`INSERT INTO leases (id, vault_id, node_id, granted, used, state, opened_at, expires_at, closed_at, first_event, last_event)
					SELECT lease_id, user_id, user_id, used, used, 'closed', at, at, at, first, last FROM (
						SELECT lease_id, user_id, sum(amount) AS used, max(occurred_at) AS at, min(id::text COLLATE "C")::uuid AS first, max(id::text COLLATE "C")::uuid AS last
						FROM usage_events GROUP BY 1, 2) l`)
				db.MustExec(`ANALYZE`)
				r, booked, start := postgres.NewRevenue(db), 0, time.Now()
				for {
					n, err := r.IndexRevenue(b.Context(), 500)
					if err != nil {
						b.Fatal(err)
					}
					if booked += n; n == 0 {
						break
					}
				}
				took += time.Since(start)
				if booked != events {
					b.Fatalf("booked %d calls of %d", booked, events)
				}
			}
			b.ReportMetric(float64(took.Microseconds())/float64(b.N*events), "us/call")
		})
	}
}
