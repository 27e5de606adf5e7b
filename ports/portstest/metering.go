package portstest

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// Vaults are vaults in memory. It is ports.Balances.
type Vaults struct {
	Fail error

	mu     sync.Mutex
	vaults []vault.Balance
}

// Add opens a vault.
func (s *Vaults) Add(b vault.Balance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vaults = append(s.vaults, b)
}

// BalanceOf implements ports.Balances.
func (s *Vaults) BalanceOf(_ context.Context, user id.ID, network vault.Network) (vault.Balance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.vaults, func(b vault.Balance) bool { return b.UserID == user && b.Network == network })
	if i < 0 || s.Fail != nil {
		return vault.Balance{}, orElse(s.Fail, vault.NotFound(network))
	}
	return s.vaults[i], nil
}

// Usage is usage in memory. It is ports.UsageReader.
type Usage struct {
	Fail error

	mu    sync.Mutex
	lines []line
}

type line struct {
	user id.ID
	ports.UsageLine
}

// Add records a user's call.
func (s *Usage) Add(user id.ID, l ports.UsageLine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line{user, l})
}

func (s *Usage) matching(q ports.UsageQuery) []ports.UsageLine {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []ports.UsageLine
	for _, l := range s.lines {
		if l.user == q.User && !l.OccurredAt.Before(q.From) && l.OccurredAt.Before(q.To) && (q.API.IsZero() || q.API == l.APIID) {
			out = append(out, l.UsageLine)
		}
	}
	slices.SortFunc(out, func(a, b ports.UsageLine) int { return bytes.Compare(b.ID[:], a.ID[:]) })
	return out
}

// UsageEvents implements ports.UsageReader.
func (s *Usage) UsageEvents(_ context.Context, q ports.UsageQuery) ([]ports.UsageLine, int, error) {
	all := s.matching(q)
	total := len(all)
	if !q.Before.IsZero() {
		all = slices.DeleteFunc(all, func(l ports.UsageLine) bool { return bytes.Compare(l.ID[:], q.Before[:]) >= 0 })
	}
	return page(all, q.Limit, q.Offset), total, s.Fail
}

// UsageStats implements ports.UsageReader.
func (s *Usage) UsageStats(_ context.Context, q ports.UsageQuery) (ports.UsageStats, error) {
	var stats ports.UsageStats
	apis, periods := map[string]ports.UsageSum{}, map[string]ports.UsageSum{}
	for _, l := range s.matching(q) {
		sum := ports.UsageSum{Calls: 1, Amount: l.Amount}
		stats.Calls, stats.Spent = stats.Calls+1, plus(stats.Spent, l.Amount)
		add(apis, l.APIID.String(), sum)
		if q.GroupBy != "" {
			add(periods, firstDay(l.OccurredAt, q.GroupBy), sum)
		}
	}
	stats.ByAPI = slices.SortedFunc(maps.Values(apis), func(a, b ports.UsageSum) int {
		return cmp.Or(b.Amount.Cmp(a.Amount), cmp.Compare(a.Name, b.Name))
	})
	stats.Buckets = slices.SortedFunc(maps.Values(periods), func(a, b ports.UsageSum) int { return cmp.Compare(a.Name, b.Name) })
	return stats, s.Fail
}

func add(sums map[string]ports.UsageSum, name string, s ports.UsageSum) {
	was := sums[name]
	sums[name] = ports.UsageSum{Name: name, Calls: was.Calls + s.Calls, Amount: plus(was.Amount, s.Amount)}
}

func plus(a, b money.Amount) money.Amount {
	sum, err := a.Add(b)
	if err != nil {
		panic(err)
	}
	return sum
}

func firstDay(t time.Time, groupBy string) string {
	t = t.UTC()
	switch groupBy {
	case "week":
		t = t.AddDate(0, 0, -(int(t.Weekday())+6)%7)
	case "month":
		t = t.AddDate(0, 0, 1-t.Day())
	}
	return t.Format(time.DateOnly)
}
