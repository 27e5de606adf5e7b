package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/ports"
)

// periods are the ways to group by time, all in UTC. A week starts on Monday.
var periods = map[string]bool{"": true, "day": true, "week": true, "month": true}

// UsageStats adds up all events that match: in one scan, so that the groups always add up to the total. A sum that is
// outside 64 bits is money.ErrRange.
func (s *UsageReader) UsageStats(ctx context.Context, q ports.UsageQuery) (ports.UsageStats, error) {
	if !periods[q.GroupBy] {
		return ports.UsageStats{}, fmt.Errorf("usage by %q: unknown period", q.GroupBy)
	}
	var rows []sumRow
	err := s.db.SelectContext(ctx, &rows, `
		SELECT GROUPING(u.api_id) = 0 AS of_api, GROUPING(p.period) = 0 AS of_period, u.api_id,
			COALESCE(to_char(p.period, 'YYYY-MM-DD'), '') AS first_day,
			count(*) AS calls, COALESCE(sum(u.amount), 0)::bigint AS amount
		FROM usage_events u, LATERAL (
			SELECT CASE WHEN $5 <> '' THEN date_trunc($5, u.occurred_at AT TIME ZONE 'UTC') END AS period) p`+usageWhere+`
		GROUP BY GROUPING SETS ((), (u.api_id), (p.period))`, append(usageArgs(q), q.GroupBy)...)
	if err != nil {
		return ports.UsageStats{}, failed("add up usage", err, nil)
	}
	return statsOf(rows), nil
}

type sumRow struct {
	OfAPI    bool   `db:"of_api"`
	OfPeriod bool   `db:"of_period"`
	APIID    id.ID  `db:"api_id"`
	FirstDay string `db:"first_day"`
	Calls    int64  `db:"calls"`
	Amount   int64  `db:"amount"`
}

// statsOf sorts the rows of three groupings apart.
func statsOf(rows []sumRow) ports.UsageStats {
	var stats ports.UsageStats
	for _, r := range rows {
		sum := ports.UsageSum{Calls: r.Calls, Amount: money.FromStroops(r.Amount)}
		switch {
		case r.OfAPI:
			sum.Name = r.APIID.String()
			stats.ByAPI = append(stats.ByAPI, sum)
		case r.OfPeriod && r.FirstDay == "": // all events, not grouped by time
		case r.OfPeriod:
			sum.Name = r.FirstDay
			stats.Buckets = append(stats.Buckets, sum)
		default:
			stats.Calls, stats.Spent = sum.Calls, sum.Amount
		}
	}
	slices.SortFunc(stats.ByAPI, func(a, b ports.UsageSum) int { return cmp.Or(b.Amount.Cmp(a.Amount), cmp.Compare(a.Name, b.Name)) })
	slices.SortFunc(stats.Buckets, func(a, b ports.UsageSum) int { return cmp.Compare(a.Name, b.Name) })
	return stats
}
