package postgres_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

func TestAKeyComesBackAsItWasIssued(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	keys := postgres.NewKeys(m.db, vault.Testnet)
	k := m.newKey(t)
	k.UserID = newID() // a user nobody has seen before
	k.ExpiresAt, k.LastUsedAt = moment(100), moment(50)
	if err := keys.Issue(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	got, err := keys.KeyByPrefix(t.Context(), k.Prefix)
	if err != nil || !reflect.DeepEqual(got, k) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, k)
	}
	if _, err := keys.KeyByPrefix(t.Context(), "ck_live_nobodys_"); !errors.Is(err, apikey.ErrNotFound) {
		t.Errorf("an unknown prefix: %v", err)
	}
}

func TestANewUsersFirstKeysAtOnceMakeOneUser(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	keys := postgres.NewKeys(m.db, vault.Testnet)
	user := newID()
	for _, err := range atOnce(10, func(int) error {
		k := m.newKey(t)
		k.UserID = user
		return keys.Issue(t.Context(), k)
	}) {
		if err != nil {
			t.Error(err)
		}
	}
	if n := m.count(t, `SELECT count(*) FROM api_keys WHERE user_id = $1`, user); n != 10 {
		t.Errorf("%d keys, want 10", n)
	}
}

func TestOfKeysWithOnePrefixOneIsIssued(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	keys := postgres.NewKeys(m.db, vault.Testnet)
	first := m.newKey(t)
	issued := 0
	for _, err := range atOnce(8, func(int) error {
		k := m.newKey(t)
		k.Prefix = first.Prefix
		return keys.Issue(t.Context(), k)
	}) {
		switch {
		case err == nil:
			issued++
		case !errors.Is(err, apikey.ErrPrefixTaken):
			t.Errorf("a loser got %v", err)
		}
	}
	if issued != 1 {
		t.Errorf("%d keys issued, want 1", issued)
	}
}

func TestAKeyForAnUnknownAPIIsRefused(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	k := m.newKey(t)
	k.APIID, k.UserID = newID(), newID()
	if err := postgres.NewKeys(m.db, vault.Testnet).Issue(t.Context(), k); !errors.Is(err, listing.ErrNotFound) {
		t.Errorf("error = %v, want %v", err, listing.ErrNotFound)
	}
	if n := m.count(t, `SELECT count(*) FROM users WHERE id = $1`, k.UserID); n != 0 {
		t.Error("the refused key left its user behind")
	}
}

func TestOfRotationsAtOnceOneWins(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	keys := postgres.NewKeys(m.db, vault.Testnet)
	old := m.newKey(t)
	if err := keys.Issue(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	won := make([]apikey.Key, 8)
	winner := -1
	release := m.hold(t, old.ID)
	go func() { // all have read what they could before one may write
		awaitLockWaits(t, m.db, len(won))
		release()
	}()
	for i, err := range atOnce(len(won), func(i int) (err error) {
		won[i], err = keys.Rotate(t.Context(), old.ID, m.newKey(t), moment(90))
		return err
	}) {
		switch {
		case err == nil && winner >= 0:
			t.Error("two rotations won")
		case err == nil:
			winner = i
		case !errors.Is(err, apikey.ErrRevoked):
			t.Errorf("a loser got %v", err)
		}
	}
	if winner < 0 {
		t.Fatal("nobody won")
	}
	after, err := keys.KeyByPrefix(t.Context(), old.Prefix)
	if err != nil || after.ReplacedBy != won[winner].ID || !after.ExpiresAt.Equal(moment(90)) {
		t.Errorf("the old key became %+v, %v", after, err)
	}
	if n := m.count(t, `SELECT count(*) FROM api_keys`); n != 2 {
		t.Errorf("%d keys, want 2", n)
	}
}

func TestARotationThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	keys := postgres.NewKeys(m.db, vault.Testnet)
	old, other := m.newKey(t), m.newKey(t)
	for _, k := range []apikey.Key{old, other} {
		if err := keys.Issue(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	clash, stranger := m.newKey(t), m.newKey(t)
	clash.Prefix, stranger.UserID = other.Prefix, newID()
	for name, tc := range map[string]struct {
		old  id.ID
		next apikey.Key
		want error
	}{
		"prefix taken":  {old.ID, clash, apikey.ErrPrefixTaken},
		"another owner": {old.ID, stranger, apikey.ErrForbidden},
		"no such key":   {newID(), m.newKey(t), apikey.ErrNotFound},
	} {
		if _, err := keys.Rotate(t.Context(), tc.old, tc.next, moment(90)); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	if got, err := keys.KeyByPrefix(t.Context(), old.Prefix); err != nil || !reflect.DeepEqual(got, old) {
		t.Errorf("the old key became %+v, %v", got, err)
	}
}

func TestAnEndedKeyIsNotRotated(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	keys := postgres.NewKeys(m.db, vault.Testnet)
	old := m.newKey(t)
	if err := keys.Issue(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if err := keys.Revoke(t.Context(), m.consumer, old.ID, moment(5)); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Rotate(t.Context(), old.ID, m.newKey(t), moment(90)); !errors.Is(err, apikey.ErrRevoked) {
		t.Errorf("error = %v, want %v", err, apikey.ErrRevoked)
	}
}

func TestRevokingTwiceKeepsTheFirstTimeAndIsNoNews(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	keys := postgres.NewKeys(m.db, vault.Testnet)
	k := m.newKey(t)
	if err := keys.Issue(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{moment(10), moment(20)} {
		if err := keys.Revoke(t.Context(), m.consumer, k.ID, at); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := keys.KeyByPrefix(t.Context(), k.Prefix); err != nil || !got.RevokedAt.Equal(moment(10)) {
		t.Errorf("revoked at %v, %v; want %v", got.RevokedAt, err, moment(10))
	}
	if n := m.count(t, `SELECT count(*) FROM changes WHERE kind = 'key' AND subject = $1`, k.Prefix); n != 2 {
		t.Errorf("%d changes announced, want 2: issued and revoked", n)
	}
	if err := keys.Revoke(t.Context(), newID(), k.ID, moment(30)); !errors.Is(err, apikey.ErrForbidden) {
		t.Errorf("a stranger: %v", err)
	}
	if err := keys.Revoke(t.Context(), m.consumer, newID(), moment(30)); !errors.Is(err, apikey.ErrNotFound) {
		t.Errorf("an unknown key: %v", err)
	}
}

func TestMarksOfUseOnlyMoveForwardAndAreNoNews(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	keys := postgres.NewKeys(m.db, vault.Testnet)
	k := m.newKey(t)
	if err := keys.Issue(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ give, want time.Time }{{moment(10), moment(10)}, {moment(5), moment(10)}, {moment(15), moment(15)}} {
		if err := keys.MarkUsed(t.Context(), map[id.ID]time.Time{k.ID: tc.give, newID(): tc.give}); err != nil {
			t.Fatal(err)
		}
		if got, err := keys.KeyByPrefix(t.Context(), k.Prefix); err != nil || !got.LastUsedAt.Equal(tc.want) {
			t.Errorf("marked %v: last used %v, %v; want %v", tc.give, got.LastUsedAt, err, tc.want)
		}
	}
	if err := keys.MarkUsed(t.Context(), nil); err != nil {
		t.Errorf("no marks: %v", err)
	}
	if n := m.count(t, `SELECT count(*) FROM changes WHERE kind = 'key'`); n != 1 {
		t.Errorf("%d changes announced, want 1: issued", n)
	}
}

func TestMarksLockKeysInTheOrderOfTheirIDsSoThatNodesCannotDeadlock(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	keys := postgres.NewKeys(m.db, vault.Testnet)
	var all []apikey.Key
	for range 20 {
		all = append(all, m.newKey(t))
	}
	marks := map[id.ID]time.Time{}
	for _, k := range slices.Backward(all) { // they lie in the table in the other order
		if err := keys.Issue(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		marks[k.ID] = moment(10)
	}
	release := m.hold(t, all[0].ID)
	marked := make(chan error, 1)
	go func() { marked <- keys.MarkUsed(t.Context(), marks) }()
	awaitLockWaits(t, m.db, 1)
	if n := m.count(t, `SELECT count(*) FROM (SELECT id FROM api_keys WHERE id <> $1 FOR UPDATE SKIP LOCKED) free`, all[0].ID); n != 19 {
		t.Errorf("%d of the 19 later keys are free while the first is awaited, want all", n)
	}
	release()
	if err := <-marked; err != nil {
		t.Error(err)
	}
	if n := m.count(t, `SELECT count(*) FROM api_keys WHERE last_used_at = $1`, moment(10)); n != len(all) {
		t.Errorf("%d keys are marked, want %d", n, len(all))
	}
}

func TestKeysAreListedNewestFirstWithTheirNumber(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	keys := postgres.NewKeys(m.db, vault.Testnet)
	var all []apikey.Key
	for range 5 {
		k := m.newKey(t)
		all = append([]apikey.Key{k}, all...)
		if err := keys.Issue(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	got, total, err := keys.OfOwner(t.Context(), m.consumer, 2, 1)
	if err != nil || total != 5 || !reflect.DeepEqual(got, all[1:3]) {
		t.Errorf("got %+v of %d, %v\nwant %+v of 5", got, total, err, all[1:3])
	}
	if got, total, err := keys.OfOwner(t.Context(), m.consumer, 2, 9); err != nil || total != 5 || len(got) != 0 {
		t.Errorf("past the end: %d keys of %d, %v", len(got), total, err)
	}
	if got, total, err := keys.OfOwner(t.Context(), newID(), 2, 0); err != nil || total != 0 || len(got) != 0 {
		t.Errorf("a stranger: %d keys of %d, %v", len(got), total, err)
	}
}

func TestWithoutTheDatabaseEveryStoreSaysUnavailable(t *testing.T) {
	t.Parallel()
	m := openMarket(t)
	down, err := sqlx.Open("postgres", "postgres://u@127.0.0.1:1/x?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer down.Close()
	ctx := t.Context()
	keys, catalog, routes := postgres.NewKeys(down, vault.Testnet), postgres.NewCatalog(down), postgres.NewRoutes(down)
	first := func(_ any, err error) error { return err }
	for name, err := range map[string]error{
		"KeyByPrefix": first(keys.KeyByPrefix(ctx, "x")),
		"Issue":       keys.Issue(ctx, m.newKey(t)),
		"Rotate":      first(keys.Rotate(ctx, newID(), m.newKey(t), moment(1))),
		"Revoke":      keys.Revoke(ctx, newID(), newID(), moment(1)),
		"MarkUsed":    keys.MarkUsed(ctx, map[id.ID]time.Time{newID(): moment(1)}),
		"ListedAPI":   first(catalog.ListedAPI(ctx, "x")),
		"DeveloperOf": first(catalog.DeveloperOf(ctx, newID())),
		"Publish":     catalog.Publish(ctx, m.api),
		"ActiveAPIs":  first(routes.ActiveAPIs(ctx)),
		"API":         first(routes.API(ctx, newID())),
		"BalanceOf":   first(postgres.NewBalances(down).BalanceOf(ctx, newID(), "testnet")),
		"UsageStats":  first(postgres.NewUsageReader(down).UsageStats(ctx, week(m.consumer))),
		"InsertSeed":  first(postgres.InsertSeed(ctx, down, postgres.Seed{})),
	} {
		if fault.KindOf(err) != fault.Unavailable {
			t.Errorf("%s: %v, want a fault of kind Unavailable", name, err)
		}
	}
}
