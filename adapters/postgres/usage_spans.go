package postgres

import (
	"context"
	"time"

	"github.com/CalloraOrg/callora-backend/ports"
)

// mostDays is how many daily partitions a query reads at once. It locks each with its indexes, and the server's table of
// locks is for all queries together: with years of partitions a few at once would fill it.
const mostDays = 31

// spans cuts the time of q, newest first, into parts that read so many daily partitions at most. Times without partitions
// are of the default one alone, however long they are.
func (s *UsageReader) spans(ctx context.Context, q ports.UsageQuery) ([]ports.UsageQuery, error) {
	if q.To.Sub(q.From) <= mostDays*24*time.Hour {
		return []ports.UsageQuery{q}, nil
	}
	var days []time.Time
	err := s.db.SelectContext(ctx, &days, `
		SELECT day AT TIME ZONE 'UTC' FROM (
			SELECT to_date(right(c.relname, 8), 'YYYYMMDD')::timestamp AS day FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
			WHERE i.inhparent = 'usage_events'::regclass AND c.relname ~ '^usage_events_[0-9]{8}$') p
		WHERE day AT TIME ZONE 'UTC' > $1 AND day AT TIME ZONE 'UTC' < $2 ORDER BY day DESC`, q.From, q.To)
	if err != nil {
		return nil, err
	}
	var spans []ports.UsageQuery
	for i := mostDays - 1; i < len(days); i += mostDays {
		newest := q
		newest.From, q.To = days[i], days[i]
		spans = append(spans, newest)
	}
	return append(spans, q), nil
}
