package postgres_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
	"github.com/CalloraOrg/callora-backend/ports"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

// The stores that the use cases are tested with and the ones they run with keep the same promises: whatever is done to
// both, both answer alike.

func TestKeysInPostgresAndInMemoryAgree(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	stored := postgres.NewKeys(m.db, vault.Testnet)
	rapid.Check(t, func(r *rapid.T) {
		ctx, fake := context.Background(), portstest.NewKeys()
		owners := []id.ID{newID(), newID()}
		ids, known := []id.ID{newID()}, []apikey.Key{m.newKey(t)} // one of each that no store knows
		draw := func() apikey.Key {
			k := m.newKey(t)
			k.UserID, k.CreatedAt = rapid.SampledFrom(owners).Draw(r, "owner"), moment(rapid.IntRange(0, 100).Draw(r, "now"))
			if rapid.IntRange(0, 4).Draw(r, "fresh") == 0 {
				k.Prefix = rapid.SampledFrom(known).Draw(r, "prefix of").Prefix
			}
			return k
		}
		r.Repeat(map[string]func(*rapid.T){
			"issue": func(r *rapid.T) {
				k := draw()
				same(r, stored.Issue(ctx, k), fake.Issue(ctx, k))
				ids, known = append(ids, k.ID), append(known, k)
			},
			"rotate": func(r *rapid.T) {
				old, next, end := rapid.SampledFrom(ids).Draw(r, "old"), draw(), moment(rapid.IntRange(0, 100).Draw(r, "end"))
				got, err := stored.Rotate(ctx, old, next, end)
				want, werr := fake.Rotate(ctx, old, next, end)
				same(r, err, werr)
				equal(r, got, want)
				ids, known = append(ids, next.ID), append(known, next)
			},
			"revoke": func(r *rapid.T) {
				owner, key := rapid.SampledFrom(owners).Draw(r, "owner"), rapid.SampledFrom(ids).Draw(r, "key")
				at := moment(rapid.IntRange(0, 100).Draw(r, "at"))
				same(r, stored.Revoke(ctx, owner, key, at), fake.Revoke(ctx, owner, key, at))
			},
			"": func(r *rapid.T) {
				prefix := rapid.SampledFrom(known).Draw(r, "prefix").Prefix
				got, err := stored.KeyByPrefix(ctx, prefix)
				want, werr := fake.KeyByPrefix(ctx, prefix)
				same(r, err, werr)
				equal(r, got, want)
				owner, limit, offset := rapid.SampledFrom(owners).Draw(r, "owner"), rapid.IntRange(1, 5).Draw(r, "limit"), rapid.IntRange(0, 5).Draw(r, "offset")
				page, total, err := stored.OfOwner(ctx, owner, limit, offset)
				wpage, wtotal, werr := fake.OfOwner(ctx, owner, limit, offset)
				same(r, err, werr)
				equal(r, total, wtotal)
				equal(r, append([]apikey.Key{}, page...), append([]apikey.Key{}, wpage...))
			},
		})
	})
}

func TestListingsInPostgresAndInMemoryAgree(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	stored, routes, fake := postgres.NewCatalog(m.db), postgres.NewRoutes(m.db), portstest.NewCatalog()
	fake.AddDeveloper(m.dev)
	if err := fake.Publish(t.Context(), m.api); err != nil {
		t.Fatal(err)
	}
	text := rapid.StringOfN(rapid.RuneFrom([]rune(`aA%_\'*?ü1 `)), 0, 4, -1)
	category := rapid.SampledFrom([]string{"", "data", "fun"})
	slug := rapid.StringMatching(`[a-c]{1,2}`)
	status := rapid.SampledFrom([]listing.Status{listing.Active, listing.Active, listing.Paused})
	rapid.Check(t, func(r *rapid.T) {
		ctx := context.Background()
		a := m.newAPI(slug.Draw(r, "slug"), rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"GET /a", "GET /b", "* *"}), 0, 3, rapid.ID).Draw(r, "operations")...)
		a.Name, a.Description, a.Status = "x"+text.Draw(r, "name"), text.Draw(r, "description"), status.Draw(r, "status")
		a.Category, a.CreatedAt = "c"+category.Draw(r, "category"), moment(rapid.IntRange(0, 3).Draw(r, "created"))
		if rapid.IntRange(0, 9).Draw(r, "nobody's") == 0 {
			a.DeveloperID, a.Slug = newID(), "nobodys"
		}
		same(r, stored.Publish(ctx, a), fake.Publish(ctx, a))

		q := ports.ListingQuery{Search: text.Draw(r, "search"), Limit: rapid.IntRange(1, 9).Draw(r, "limit"), Offset: rapid.IntRange(0, 9).Draw(r, "offset")}
		if c := category.Draw(r, "only"); c != "" {
			q.Category = "c" + c
		}
		got, total, err := stored.ListedAPIs(ctx, q)
		want, wtotal, werr := fake.ListedAPIs(ctx, q)
		same(r, err, werr)
		equal(r, total, wtotal)
		equal(r, append([]ports.ListedAPI{}, got...), append([]ports.ListedAPI{}, want...))

		for _, ref := range []string{a.Slug, a.ID.String()} {
			got, err := stored.ListedAPI(ctx, ref)
			want, werr := fake.ListedAPI(ctx, ref)
			same(r, err, werr)
			equal(r, got, want)
		}
		route, err := routes.API(ctx, a.ID)
		wroute, werr := fake.API(ctx, a.ID)
		same(r, err, werr)
		equal(r, route, wroute)
	})
}

func TestUsageInPostgresAndInMemoryAgrees(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	stored := postgres.NewUsageReader(m.db)
	start := at("2026-05-01T00:00:00Z")
	apis := []id.ID{m.api.ID, newID(), newID()}
	rapid.Check(t, func(r *rapid.T) {
		ctx, fake, user := context.Background(), &portstest.Usage{}, newID()
		moments := rapid.Map(rapid.Int64Range(0, 40*24*time.Hour.Microseconds()), func(us int64) time.Time {
			return start.Add(time.Duration(us) * time.Microsecond)
		})
		seen := []id.ID{{}, newID()}
		for range rapid.IntRange(0, 12).Draw(r, "events") {
			when := moments.Draw(r, "when").Truncate(time.Millisecond)
			e := m.call(when, 0, rapid.Int64Range(0, 1<<58).Draw(r, "stroops"))
			e.UserID, e.APIID = user, rapid.SampledFrom(apis).Draw(r, "api")
			m.record(t, e)
			l := ports.UsageLine{
				ID: e.ID, APIID: e.APIID, EndpointID: e.EndpointID, Method: "GET", Path: "/forecast", Status: e.Status,
				Latency: e.Latency, Amount: e.Amount, OccurredAt: when,
			}
			if e.APIID == m.api.ID {
				l.APISlug = m.api.Slug
			}
			fake.Add(user, l)
			seen = append(seen, e.ID)
		}
		q := ports.UsageQuery{
			User: user, From: moments.Draw(r, "from"), To: moments.Draw(r, "to"),
			API: rapid.SampledFrom([]id.ID{{}, apis[0]}).Draw(r, "only"), Before: rapid.SampledFrom(seen).Draw(r, "before"),
			GroupBy: rapid.SampledFrom([]string{"", "day", "week", "month"}).Draw(r, "period"),
			Limit:   rapid.IntRange(1, 12).Draw(r, "limit"), Offset: rapid.IntRange(0, 3).Draw(r, "offset"),
		}
		got, err := stored.UsageStats(ctx, q)
		want, werr := fake.UsageStats(ctx, q)
		same(r, err, werr)
		equal(r, got, want)
		lines, total, err := stored.UsageEvents(ctx, q)
		wlines, wtotal, werr := fake.UsageEvents(ctx, q)
		same(r, err, werr)
		equal(r, total, wtotal)
		equal(r, append([]ports.UsageLine{}, lines...), append([]ports.UsageLine{}, wlines...))
	})
}

func TestBalancesInPostgresAndInMemoryAgree(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	stored, fake := postgres.NewBalances(m.db), &portstest.Vaults{}
	fake.Add(m.vault)
	for _, user := range []id.ID{m.consumer, m.dev.UserID} {
		got, err := stored.BalanceOf(t.Context(), user, m.vault.Network)
		want, werr := fake.BalanceOf(t.Context(), user, m.vault.Network)
		same(t, err, werr)
		equal(t, got, want)
	}
	if left, err := m.vault.Spendable(); err != nil || left != money.MustParse("100") {
		t.Errorf("spendable = %s, %v", left, err)
	}
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// same fails when two errors are not the same fault.
func same(t failer, got, want error) {
	t.Helper()
	if (got == nil) != (want == nil) || want != nil && !errors.Is(got, want) {
		t.Fatalf("Postgres says %v, memory says %v", got, want)
	}
}

func equal(t failer, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("Postgres says %+v\nmemory says   %+v", got, want)
	}
}
