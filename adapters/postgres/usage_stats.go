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

// UsageStats adds up all events that match: each span in one scan, so that the groups always add up to the total. A sum
// that is outside 64 bits is money.ErrRange.
func (s *UsageReader) UsageStats(ctx context.Context, q ports.UsageQuery) (ports.UsageStats, error) {
	if !periods[q.GroupBy] {
		return ports.UsageStats{}, fmt.Errorf("usage by %q: unknown period", q.GroupBy)
	}
	spans, err := s.spans(ctx, q)
	if err != nil {
		return ports.UsageStats{}, failed("add up usage", err, nil)
	}
	var stats ports.UsageStats
	for _, part := range spans {
		more, err := s.statsOf(ctx, part)
		if err == nil {
			err = addStats(&stats, more)
		}
		if err != nil {
			return ports.UsageStats{}, failed("add up usage", err, nil)
		}
	}
	slices.SortFunc(stats.ByAPI, func(a, b ports.UsageSum) int { return cmp.Or(b.Amount.Cmp(a.Amount), cmp.Compare(a.Name, b.Name)) })
	slices.SortFunc(stats.Buckets, func(a, b ports.UsageSum) int { return cmp.Compare(a.Name, b.Name) })
	return stats, nil
}

// addStats adds what is of another time: a week and a month may have a part of each.
func addStats(to *ports.UsageStats, more ports.UsageStats) (err error) {
	to.Calls += more.Calls
	if to.Spent, err = to.Spent.Add(more.Spent); err != nil {
		return err
	}
	if to.ByAPI, err = addSums(to.ByAPI, more.ByAPI); err != nil {
		return err
	}
	to.Buckets, err = addSums(to.Buckets, more.Buckets)
	return err
}

func addSums(to, more []ports.UsageSum) ([]ports.UsageSum, error) {
	at := make(map[string]int, len(to))
	for i := range to {
		at[to[i].Name] = i
	}
	for _, m := range more {
		i, known := at[m.Name]
		if !known {
			to = append(to, m)
			continue
		}
		sum, err := to[i].Amount.Add(m.Amount)
		if err != nil {
			return nil, err
		}
		to[i].Calls, to[i].Amount = to[i].Calls+m.Calls, sum
	}
	return to, nil
}

func (s *UsageReader) statsOf(ctx context.Context, q ports.UsageQuery) (ports.UsageStats, error) {
	var rows []sumRow
	err := s.db.SelectContext(ctx, &rows, `
		SELECT GROUPING(u.api_id) = 0 AS of_api, GROUPING(p.period) = 0 AS of_period, u.api_id,
			COALESCE(to_char(p.period, 'YYYY-MM-DD'), '') AS first_day,
			count(*) AS calls, COALESCE(sum(u.amount), 0)::bigint AS amount
		FROM usage_events u, LATERAL (
			SELECT CASE WHEN $5 <> '' THEN date_trunc($5, u.occurred_at AT TIME ZONE 'UTC') END AS period) p`+usageWhere+`
		GROUP BY GROUPING SETS ((), (u.api_id), (p.period))`, append(usageArgs(q), q.GroupBy)...)
	return sorted(rows), err
}

type sumRow struct {
	OfAPI    bool   `db:"of_api"`
	OfPeriod bool   `db:"of_period"`
	APIID    id.ID  `db:"api_id"`
	FirstDay string `db:"first_day"`
	Calls    int64  `db:"calls"`
	Amount   int64  `db:"amount"`
}

// sorted takes the rows of three groupings apart.
func sorted(rows []sumRow) ports.UsageStats {
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
	return stats
}
