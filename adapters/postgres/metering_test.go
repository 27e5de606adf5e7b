package postgres_test

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/usage"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
)

func TestABalanceCountsOnlyOpenLeasesAsHeld(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	balances := postgres.NewBalances(m.db)
	m.db.MustExec(`UPDATE vaults SET uncollected = 30, held = 500 WHERE id = $1`, m.vault.VaultID)
	m.db.MustExec(`INSERT INTO leases (id, vault_id, node_id, granted, used, state, expires_at, closed_at) VALUES
		($1, $4, $1, 200, 20, 'open', now(), NULL), ($2, $4, $1, 300, 3, 'open', now(), NULL), ($3, $4, $1, 99, 30, 'closed', now(), now())`,
		newID(), newID(), newID(), m.vault.VaultID)
	want := m.vault
	want.Uncollected, want.Held, want.HeldUsed = money.FromStroops(30), money.FromStroops(500), money.FromStroops(23)
	if got, err := balances.BalanceOf(t.Context(), m.consumer, vault.Testnet); err != nil || got != want {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	if _, err := balances.BalanceOf(t.Context(), m.consumer, vault.Mainnet); !errors.Is(err, vault.NotFound(vault.Mainnet)) {
		t.Errorf("another network: %v", err)
	}
}

func TestUsageSaysWhatWasCalled(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	e := m.call(at("2026-05-04T10:00:00.5Z"), 0, 100_000)
	gone := m.call(at("2026-05-04T11:00:00Z"), 0, 7)
	gone.APIID, gone.EndpointID = newID(), newID()
	m.record(t, e, gone)
	got, total, err := postgres.NewUsageReader(m.db).UsageEvents(t.Context(), week(m.consumer))
	want := []ports.UsageLine{
		{
			ID: gone.ID, APIID: gone.APIID, EndpointID: gone.EndpointID, Status: 200, Latency: 1500 * time.Microsecond,
			Amount: gone.Amount, OccurredAt: gone.OccurredAt,
		},
		{
			ID: e.ID, APIID: m.api.ID, APISlug: "weather", EndpointID: m.api.Endpoints[0].ID, Method: "GET", Path: "/forecast",
			Status: 200, Latency: 1500 * time.Microsecond, Amount: e.Amount, OccurredAt: e.OccurredAt,
		},
	}
	if err != nil || total != 2 || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v of %d, %v\nwant %+v", got, total, err, want)
	}
}

func TestUsageTimesIncludeFromAndExcludeToToTheNanosecond(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	reader := postgres.NewUsageReader(m.db)
	moment := at("2026-05-04T10:00:00.005Z")
	m.record(t, m.call(moment, 0, 1))
	for _, tc := range []struct {
		from, to time.Time
		want     int
	}{
		{moment, moment.Add(1), 1},
		{moment.Add(-1), moment.Add(time.Hour), 1},
		{moment.Add(1), moment.Add(time.Hour), 0},
		{moment.Add(-time.Hour), moment, 0},
		{moment.Add(-time.Hour), moment.Add(1), 1},
		{time.Time{}, moment.Add(1), 1},
		{time.Unix(0, 0), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), 1},
		{moment.Add(time.Hour), moment.Add(-time.Hour), 0},
		{time.Time{}, time.Time{}, 0},
	} {
		q := ports.UsageQuery{User: m.consumer, From: tc.from, To: tc.to, Limit: 10}
		lines, total, err := reader.UsageEvents(t.Context(), q)
		stats, serr := reader.UsageStats(t.Context(), q)
		if err := errors.Join(err, serr); err != nil || len(lines) != tc.want || total != tc.want || int(stats.Calls) != tc.want {
			t.Errorf("%v to %v: %d lines of %d, %d calls, %v; want %d", tc.from, tc.to, len(lines), total, stats.Calls, err, tc.want)
		}
	}
}

func TestACursorStaysInPlaceWhileNewCallsArrive(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	reader := postgres.NewUsageReader(m.db)
	var want []id.ID
	for i := range 7 {
		e := m.call(at("2026-05-04T10:00:00Z").Add(time.Duration(i/3)*time.Millisecond), 0, 1) // several in one millisecond
		m.record(t, e)
		want = append(want, e.ID)
	}
	slices.SortFunc(want, func(a, b id.ID) int { return slices.Compare(b[:], a[:]) })

	var got []id.ID
	recorded := len(want)
	q := week(m.consumer)
	q.Limit = 2
	for {
		lines, total, err := reader.UsageEvents(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(lines) == 0 {
			break
		}
		for _, l := range lines {
			got = append(got, l.ID)
		}
		if total != recorded {
			t.Errorf("total = %d, want %d whatever the cursor", total, recorded)
		}
		q.Before = got[len(got)-1]
		m.record(t, m.call(at("2026-05-04T12:00:00Z"), 0, 1)) // newer than all: in no later page
		recorded++
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages gave %v, want %v", got, want)
	}
}

func TestUsageIsOnlyTheConsumersOwn(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	mine, others := m.call(at("2026-05-04T10:00:00Z"), 0, 5), m.call(at("2026-05-04T10:00:00Z"), 0, 9)
	others.UserID = newID()
	m.record(t, mine, others)
	reader := postgres.NewUsageReader(m.db)
	lines, total, err := reader.UsageEvents(t.Context(), week(m.consumer))
	stats, serr := reader.UsageStats(t.Context(), week(m.consumer))
	if errors.Join(err, serr) != nil || total != 1 || len(lines) != 1 || lines[0].ID != mine.ID || stats.Spent.Stroops() != 5 {
		t.Errorf("lines %+v of %d, stats %+v, %v, %v", lines, total, stats, err, serr)
	}
}

func TestUsageIsGroupedByUTCPeriods(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	m.db.MustExec(`ALTER DATABASE ` + m.database(t) + ` SET TimeZone = 'Pacific/Kiritimati'`) // 14 hours ahead
	m.reconnect()
	for _, when := range []string{
		"2026-04-30T23:59:59.999Z", "2026-05-01T00:00:00Z", "2026-05-03T23:59:59.999Z", // Sunday's last moment
		"2026-05-04T00:00:00Z", "2026-05-04T23:59:59Z", "2026-05-10T12:00:00Z", "2026-05-11T00:00:00Z",
	} {
		m.record(t, m.call(at(when), 0, 10))
	}
	for period, want := range map[string][]ports.UsageSum{
		"day": {
			sum("2026-04-30", 1), sum("2026-05-01", 1), sum("2026-05-03", 1), sum("2026-05-04", 2), sum("2026-05-10", 1),
			sum("2026-05-11", 1),
		},
		"week":  {sum("2026-04-27", 3), sum("2026-05-04", 3), sum("2026-05-11", 1)},
		"month": {sum("2026-04-01", 1), sum("2026-05-01", 6)},
		"":      nil,
	} {
		q := ports.UsageQuery{User: m.consumer, From: at("2026-04-01T00:00:00Z"), To: at("2026-06-01T00:00:00Z"), GroupBy: period}
		stats, err := postgres.NewUsageReader(m.db).UsageStats(t.Context(), q)
		if err != nil || stats.Calls != 7 || stats.Spent.Stroops() != 70 || !reflect.DeepEqual(stats.Buckets, want) {
			t.Errorf("by %q: %+v, %v; want buckets %v", period, stats, err, want)
		}
	}
	q := ports.UsageQuery{User: m.consumer, GroupBy: "'; DROP TABLE usage_events"}
	if _, err := postgres.NewUsageReader(m.db).UsageStats(t.Context(), q); err == nil {
		t.Error("an unknown period was accepted")
	}
}

func TestStatsRankAPIsByWhatWasSpent(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	maps, poor := m.newAPI("maps", "GET /x"), m.newAPI("poor", "GET /x")
	when := at("2026-05-04T10:00:00Z")
	free := m.call(when, 0, 0)
	free.APIID = poor.ID
	dear := m.call(when, 0, 1_000)
	dear.APIID = maps.ID
	m.record(t, m.call(when, 0, 5), m.call(when, 1, 6), dear, free)
	want := []ports.UsageSum{
		{Name: maps.ID.String(), Calls: 1, Amount: money.FromStroops(1_000)},
		{Name: m.api.ID.String(), Calls: 2, Amount: money.FromStroops(11)},
		{Name: poor.ID.String(), Calls: 1},
	}
	reader := postgres.NewUsageReader(m.db)
	stats, err := reader.UsageStats(t.Context(), week(m.consumer))
	if err != nil || stats.Calls != 4 || stats.Spent.Stroops() != 1_011 || !reflect.DeepEqual(stats.ByAPI, want) {
		t.Errorf("got %+v, %v; want by API %v", stats, err, want)
	}
	q := week(m.consumer)
	q.API = m.api.ID
	stats, err = reader.UsageStats(t.Context(), q)
	lines, total, lerr := reader.UsageEvents(t.Context(), q)
	if errors.Join(err, lerr) != nil || stats.Calls != 2 || stats.Spent.Stroops() != 11 || total != 2 || len(lines) != 2 {
		t.Errorf("of one API: %+v, %d lines of %d, %v, %v", stats, len(lines), total, err, lerr)
	}
	if stats, err := reader.UsageStats(t.Context(), week(newID())); err != nil || !reflect.DeepEqual(stats, ports.UsageStats{}) {
		t.Errorf("of nobody: %+v, %v", stats, err)
	}
}

func TestSumsAreExactAndNeverWrap(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	reader := postgres.NewUsageReader(m.db)
	when := at("2026-05-04T10:00:00Z")
	m.record(t, m.call(when, 0, math.MaxInt64-1), m.call(when, 0, 1)) // no float64 holds this sum
	stats, err := reader.UsageStats(t.Context(), week(m.consumer))
	if err != nil || stats.Spent.Stroops() != math.MaxInt64 {
		t.Errorf("spent %s, %v; want all of an int64", stats.Spent, err)
	}
	m.record(t, m.call(when, 0, 1))
	if stats, err := reader.UsageStats(t.Context(), week(m.consumer)); !errors.Is(err, money.ErrRange) {
		t.Errorf("spent %s, %v; want %v", stats.Spent, err, money.ErrRange)
	}
}

// call is an event of the market's consumer and one of the API's endpoints.
func (m market) call(when time.Time, endpoint int, stroops int64) usage.Event {
	u := id.FirstAt(when)
	tail := newID()
	copy(u[6:], tail[6:])
	return usage.Event{
		ID: u, UserID: m.consumer, APIID: m.api.ID, EndpointID: m.api.Endpoints[endpoint].ID, KeyID: newID(),
		Amount: money.FromStroops(stroops), Status: 200, Latency: 1500 * time.Microsecond, OccurredAt: when,
	}
}

func (m market) record(t *testing.T, events ...usage.Event) {
	t.Helper()
	for _, e := range events {
		_, err := m.db.ExecContext(t.Context(), `
			INSERT INTO usage_events (id, lease_id, user_id, api_id, endpoint_id, api_key_id, amount, status_code, latency_us, occurred_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			e.ID, newID(), e.UserID, e.APIID, e.EndpointID, e.KeyID, e.Amount.Stroops(), e.Status, e.Latency.Microseconds(), e.OccurredAt)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (m market) database(t *testing.T) (name string) {
	t.Helper()
	if err := m.db.GetContext(t.Context(), &name, `SELECT quote_ident(current_database())`); err != nil {
		t.Fatal(err)
	}
	return name
}

// reconnect makes the pool open new connections, which see new settings.
func (m market) reconnect() {
	m.db.SetMaxIdleConns(-1)
	m.db.SetMaxIdleConns(2)
}

// week selects a user's events of the first week of May 2026, and a bit.
func week(user id.ID) ports.UsageQuery {
	return ports.UsageQuery{User: user, From: at("2026-05-01T00:00:00Z"), To: at("2026-05-09T00:00:00Z"), Limit: 100}
}

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

func sum(day string, calls int64) ports.UsageSum {
	return ports.UsageSum{Name: day, Calls: calls, Amount: money.FromStroops(10 * calls)}
}
