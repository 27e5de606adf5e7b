package postgres_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
)

// BenchmarkAppend writes batches from as many writers as there are processors, each with a vault of its own.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{16, 64, 500, 2000} {
		b.Run(fmt.Sprintf("batch of %d", size), func(b *testing.B) {
			db := dbtest.New(b)
			w := chargingWorld(b, db)
			var writers atomic.Int64
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				writers.Add(1)
				c, node := w.Fund(b, money.FromStroops(1<<60)), newID()
				g := grantOf(c, node, 1<<50)
				l, err := w.Leases.Grant(b.Context(), g)
				if err != nil {
					b.Error(err)
					return
				}
				batch := make([]usage.Record, size)
				for pb.Next() {
					for i := range batch {
						batch[i] = usage.Record{Event: w.Call(b, c, money.FromStroops(3)), LeaseID: l.ID}
					}
					if _, err := w.Journal.Append(b.Context(), batch); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkBatch writes batches as durable and as async metering do, one after the other, of few and of many consumers.
func BenchmarkBatch(b *testing.B) {
	for _, c := range []struct{ size, leases int }{{16, 1}, {16, 12}, {32, 16}, {360, 16}} {
		b.Run(fmt.Sprintf("%d events of %d leases", c.size, c.leases), func(b *testing.B) {
			w := chargingWorld(b, dbtest.New(b))
			consumers, leases := make([]id.ID, c.leases), make([]id.ID, c.leases)
			for i := range consumers {
				consumers[i] = w.Fund(b, money.FromStroops(1<<60))
				l, err := w.Leases.Grant(b.Context(), grantOf(consumers[i], newID(), 1<<50))
				if err != nil {
					b.Fatal(err)
				}
				leases[i] = l.ID
			}
			batch := make([]usage.Record, c.size)
			for b.Loop() {
				for i := range batch {
					k := i % c.leases
					batch[i] = usage.Record{Event: w.Call(b, consumers[k], money.FromStroops(3)), LeaseID: leases[k]}
				}
				if _, err := w.Journal.Append(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
