package postgres_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
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
