package portstest

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

// BalancesWorld is a store of vaults under test. Add opens a vault that no lease has been drawn on.
type BalancesWorld struct {
	Balances ports.Balances
	NewID    ports.NewID
	Add      func(t testing.TB, b vault.Balance)
}

// BalancesContract holds a reader of vaults to what the port promises.
func BalancesContract(t *testing.T, open func(t *testing.T) BalancesWorld) {
	w := open(t)
	both, one := w.NewID(), w.NewID()
	vaults := []vault.Balance{
		{
			VaultID: w.NewID(), UserID: both, Network: vault.Testnet, ContractID: "C1", Snapshot: money.MustParse("100.0000001"),
			Ledger: 7, LastSyncedAt: moment(1),
		},
		{VaultID: w.NewID(), UserID: both, Network: vault.Mainnet},
		{VaultID: w.NewID(), UserID: one, Network: vault.Testnet, Snapshot: money.FromStroops(1)},
	}
	for _, v := range vaults {
		w.Add(t, v)
	}
	for _, v := range vaults {
		if got, err := w.Balances.BalanceOf(t.Context(), v.UserID, v.Network); err != nil || got != v {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, v)
		}
	}
	if got, err := w.Balances.BalanceOf(t.Context(), one, vault.Mainnet); !errors.Is(err, vault.NotFound(vault.Mainnet)) {
		t.Errorf("on another network: %+v, %v", got, err)
	}
	if got, err := w.Balances.BalanceOf(t.Context(), w.NewID(), vault.Testnet); !errors.Is(err, vault.NotFound(vault.Testnet)) {
		t.Errorf("of nobody: %+v, %v", got, err)
	}
}

// UsageWorld is a store of usage under test. Line is a call of a listed endpoint as it must be read; its id, time and
// amount are the contract's to set. Record stores a user's call.
type UsageWorld struct {
	Reader ports.UsageReader
	NewID  ports.NewID
	Line   ports.UsageLine
	Record func(t testing.TB, user id.ID, l ports.UsageLine)
}

// call records one of an API at a time.
func (w UsageWorld) call(t testing.TB, user, api id.ID, at time.Time, stroops int64) ports.UsageLine {
	t.Helper()
	l, tail := w.Line, w.NewID()
	l.ID = id.FirstAt(at) // an event's id tells its millisecond
	copy(l.ID[6:], tail[6:])
	l.OccurredAt, l.Amount = at, money.FromStroops(stroops)
	if api != l.APIID {
		l.APIID, l.APISlug = api, "" // of an API that is no longer known
	}
	w.Record(t, user, l)
	return l
}

func (w UsageWorld) wantLines(t testing.TB, q ports.UsageQuery, total int, want ...ports.UsageLine) {
	t.Helper()
	got, n, err := w.Reader.UsageEvents(t.Context(), q)
	if err != nil || n != total || !slices.Equal(got, want) {
		t.Errorf("got  %+v of %d, %v\nwant %+v of %d", got, n, err, want, total)
	}
}

func (w UsageWorld) wantStats(t testing.TB, q ports.UsageQuery, want ports.UsageStats) {
	t.Helper()
	got, err := w.Reader.UsageStats(t.Context(), q)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("by %q\ngot  %+v, %v\nwant %+v", q.GroupBy, got, err, want)
	}
}

func utc(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

func newestFirst(lines []ports.UsageLine) {
	slices.SortFunc(lines, func(a, b ports.UsageLine) int { return bytes.Compare(b.ID[:], a.ID[:]) })
}

func sumOf(name string, calls, stroops int64) ports.UsageSum {
	return ports.UsageSum{Name: name, Calls: calls, Amount: money.FromStroops(stroops)}
}

// UsageContract holds a reader of usage to what the port promises.
func UsageContract(t *testing.T, open func(t *testing.T) UsageWorld) {
	run := func(name string, test func(t *testing.T, w UsageWorld, q ports.UsageQuery)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t)
			test(t, w, ports.UsageQuery{User: w.NewID(), From: utc("2026-05-01T00:00:00Z"), To: utc("2026-05-09T00:00:00Z"), Limit: 100})
		})
	}
	noon := utc("2026-05-04T12:00:00Z")

	run("a call is shown as it was, and only to who made it", func(t *testing.T, w UsageWorld, q ports.UsageQuery) {
		mine := w.call(t, q.User, w.Line.APIID, noon, 100_000)
		w.call(t, w.NewID(), w.Line.APIID, noon, 9)
		w.wantLines(t, q, 1, mine)
		w.wantStats(t, q, ports.UsageStats{
			Calls: 1, Spent: money.FromStroops(100_000), ByAPI: []ports.UsageSum{sumOf(mine.APIID.String(), 1, 100_000)},
		})
		q.User = w.NewID()
		w.wantLines(t, q, 0)
		w.wantStats(t, q, ports.UsageStats{})
	})
	run("a period includes its beginning and not its end", func(t *testing.T, w UsageWorld, q ports.UsageQuery) {
		l := w.call(t, q.User, w.Line.APIID, noon, 0)
		for _, tc := range []struct {
			from, to time.Duration
			in       bool
		}{{0, 1, true}, {-1, time.Hour, true}, {1, time.Hour, false}, {-time.Hour, 0, false}, {-time.Hour, 1, true}, {time.Hour, -time.Hour, false}} {
			q.From, q.To = noon.Add(tc.from), noon.Add(tc.to)
			if tc.in {
				w.wantLines(t, q, 1, l)
			} else {
				w.wantLines(t, q, 0)
				w.wantStats(t, q, ports.UsageStats{})
			}
		}
	})
	run("calls are shown newest first, page by page, with their number", func(t *testing.T, w UsageWorld, q ports.UsageQuery) {
		var all []ports.UsageLine
		for i := range 7 {
			all = append(all, w.call(t, q.User, w.Line.APIID, noon.Add(time.Duration(i/3)*time.Millisecond), int64(i)))
		}
		newestFirst(all)
		for from := 0; from < 8; from += 2 {
			q.Limit, q.Offset, q.Before = 2, from, id.ID{}
			w.wantLines(t, q, 7, all[min(from, 7):min(from+2, 7)]...)
			if from > 0 { // and the same by keyset
				q.Offset, q.Before = 0, all[from-1].ID
				w.wantLines(t, q, 7, all[min(from, 7):min(from+2, 7)]...)
			}
		}
		q.Before, q.Offset, q.Limit = all[1].ID, 3, 2
		w.wantLines(t, q, 7, all[5:7]...)
		stats, err := w.Reader.UsageStats(t.Context(), q)
		if err != nil || stats.Calls != 7 || stats.Spent.Stroops() != 21 {
			t.Errorf("sums of a page: %+v, %v; want those of all", stats, err)
		}
	})
	run("APIs are ranked by what was spent on them", func(t *testing.T, w UsageWorld, q ports.UsageQuery) {
		known, dear, free := w.Line.APIID, w.NewID(), w.NewID()
		w.call(t, q.User, known, noon, 5)
		w.call(t, q.User, known, noon, 6)
		w.call(t, q.User, dear, noon, 1_000)
		unpaid := w.call(t, q.User, free, noon, 0)
		w.wantStats(t, q, ports.UsageStats{
			Calls: 4, Spent: money.FromStroops(1_011),
			ByAPI: []ports.UsageSum{sumOf(dear.String(), 1, 1_000), sumOf(known.String(), 2, 11), sumOf(free.String(), 1, 0)},
		})
		q.API = free
		w.wantLines(t, q, 1, unpaid)
		w.wantStats(t, q, ports.UsageStats{Calls: 1, ByAPI: []ports.UsageSum{sumOf(free.String(), 1, 0)}})
	})
	run("sums are grouped by days, weeks from Monday, and months, in UTC", func(t *testing.T, w UsageWorld, q ports.UsageQuery) {
		for _, when := range []string{
			"2026-04-30T23:59:59.999Z", "2026-05-01T00:00:00Z", "2026-05-03T23:59:59.999Z", // Sunday's last moment
			"2026-05-04T00:00:00Z", "2026-05-04T23:59:59Z", "2026-05-10T12:00:00Z", "2026-05-11T00:00:00Z",
		} {
			w.call(t, q.User, w.Line.APIID, utc(when), 10)
		}
		q.From, q.To = utc("2026-04-01T00:00:00Z"), utc("2026-06-01T00:00:00Z")
		for groupBy, buckets := range map[string][]ports.UsageSum{
			"day": {
				sumOf("2026-04-30", 1, 10), sumOf("2026-05-01", 1, 10), sumOf("2026-05-03", 1, 10), sumOf("2026-05-04", 2, 20),
				sumOf("2026-05-10", 1, 10), sumOf("2026-05-11", 1, 10),
			},
			"week":  {sumOf("2026-04-27", 3, 30), sumOf("2026-05-04", 3, 30), sumOf("2026-05-11", 1, 10)},
			"month": {sumOf("2026-04-01", 1, 10), sumOf("2026-05-01", 6, 60)},
			"":      nil,
		} {
			q.GroupBy = groupBy
			w.wantStats(t, q, ports.UsageStats{
				Calls: 7, Spent: money.FromStroops(70), ByAPI: []ports.UsageSum{sumOf(w.Line.APIID.String(), 7, 70)}, Buckets: buckets,
			})
		}
	})
}
