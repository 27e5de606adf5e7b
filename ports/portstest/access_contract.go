package portstest

import (
	"crypto/rand"
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

// KeysWorld is a store of keys under test. API is a listed API, to which keys can be issued. StopVault stops the vault of a
// user, who has one from then on; without words it pays again.
type KeysWorld struct {
	Keys      ports.Keys
	Lookup    ports.KeyLookup
	StopVault func(owner id.ID, because string)
	API       id.ID
	NewID     ports.NewID
}

// key describes a key of an owner; it is not issued.
func (w KeysWorld) key(t testing.TB, owner id.ID) apikey.Key {
	t.Helper()
	_, prefix, hash, err := apikey.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return apikey.Key{
		ID: w.NewID(), UserID: owner, APIID: w.API, Prefix: prefix, Hash: hash, Scopes: []string{"read", "POST:/alerts/{id}"},
		RateLimitPerMinute: 60, CreatedAt: moment(0),
	}
}

func (w KeysWorld) issue(t testing.TB, owner id.ID) apikey.Key {
	t.Helper()
	k := w.key(t, owner)
	if err := w.Keys.Issue(t.Context(), k); err != nil {
		t.Fatalf("issue: %v", err)
	}
	return k
}

func (w KeysWorld) wantStored(t testing.TB, k apikey.Key) {
	t.Helper()
	if got, err := w.Lookup.KeyByPrefix(t.Context(), k.Prefix); err != nil || !reflect.DeepEqual(got, k) {
		t.Errorf("stored %+v, %v\nwant   %+v", got, err, k)
	}
}

// moment is a time of the contracts, n minutes after their beginning, as exact as every store keeps it.
func moment(n int) time.Time { return time.Date(2026, 5, 1, 0, n, 0, 123_456_000, time.UTC) }

// KeysContract holds a store of keys to what the ports promise.
func KeysContract(t *testing.T, open func(t *testing.T) KeysWorld) {
	run := func(name string, test func(t *testing.T, w KeysWorld)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}

	run("a key comes back as it was issued, and nobody else's", func(t *testing.T, w KeysWorld) {
		k := w.issue(t, w.NewID())
		w.issue(t, k.UserID)
		w.wantStored(t, k)
		if _, err := w.Lookup.KeyByPrefix(t.Context(), "ck_live_nobodys_"); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("an unknown prefix: %v", err)
		}
	})
	run("a look-up tells why the owner's vault is stopped, and nobody else's", func(t *testing.T, w KeysWorld) {
		mine, theirs := w.issue(t, w.NewID()), w.issue(t, w.NewID())
		w.StopVault(theirs.UserID, "")
		for _, because := range []string{"it owes 3 USDC", "its owner has withdrawn what was spent", ""} {
			w.StopVault(mine.UserID, because)
			mine.VaultStopped = because
			w.wantStored(t, mine)
			w.wantStored(t, theirs)
		}
	})
	run("of keys with one prefix, issued at once, one is issued", func(t *testing.T, w KeysWorld) {
		owner, prefix := w.NewID(), w.key(t, w.NewID()).Prefix
		rivals := make([]apikey.Key, 8)
		for i := range rivals {
			rivals[i] = w.key(t, owner)
			rivals[i].Prefix = prefix
		}
		winner := oneWins(t, len(rivals), apikey.ErrPrefixTaken, func(i int) error { return w.Keys.Issue(t.Context(), rivals[i]) })
		w.wantStored(t, rivals[winner])
	})
	run("a rotation hands the rights on and ends the old key at the end of its grace", func(t *testing.T, w KeysWorld) {
		old := w.issue(t, w.NewID())
		next := w.key(t, old.UserID)
		next.APIID, next.Scopes, next.RateLimitPerMinute, next.CreatedAt = id.ID{}, nil, 0, moment(1)
		got, err := w.Keys.Rotate(t.Context(), old.ID, next, moment(60))
		next.APIID, next.Scopes, next.RateLimitPerMinute = old.APIID, old.Scopes, old.RateLimitPerMinute
		if err != nil || !reflect.DeepEqual(got, next) {
			t.Errorf("rotated to %+v, %v\nwant       %+v", got, err, next)
		}
		old.ExpiresAt, old.ReplacedBy = moment(60), next.ID
		w.wantStored(t, old)
		w.wantStored(t, next)
	})
	run("a rotation lets no key live longer than it would have", func(t *testing.T, w KeysWorld) {
		old := w.key(t, w.NewID())
		old.ExpiresAt = moment(30)
		if err := w.Keys.Issue(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		next, err := w.Keys.Rotate(t.Context(), old.ID, w.key(t, old.UserID), moment(60))
		if err != nil {
			t.Fatal(err)
		}
		old.ReplacedBy = next.ID
		w.wantStored(t, old)
	})
	run("of rotations at once one wins", func(t *testing.T, w KeysWorld) {
		old := w.issue(t, w.NewID())
		rivals := make([]apikey.Key, 8)
		for i := range rivals {
			rivals[i] = w.key(t, old.UserID)
		}
		winner := oneWins(t, len(rivals), apikey.ErrRevoked, func(i int) error {
			_, err := w.Keys.Rotate(t.Context(), old.ID, rivals[i], moment(60))
			return err
		})
		old.ExpiresAt, old.ReplacedBy = moment(60), rivals[winner].ID
		w.wantStored(t, old)
		if _, total, err := w.Keys.OfOwner(t.Context(), old.UserID, 1, 0); err != nil || total != 2 {
			t.Errorf("%d keys, %v; want 2", total, err)
		}
	})
	run("a refused rotation changes nothing", testRefusedRotations)
	run("a key is revoked once, by its owner", func(t *testing.T, w KeysWorld) {
		k := w.issue(t, w.NewID())
		if err := w.Keys.Revoke(t.Context(), w.NewID(), k.ID, moment(1)); !errors.Is(err, apikey.ErrForbidden) {
			t.Errorf("a stranger: %v", err)
		}
		if err := w.Keys.Revoke(t.Context(), k.UserID, w.NewID(), moment(1)); !errors.Is(err, apikey.ErrNotFound) {
			t.Errorf("an unknown key: %v", err)
		}
		w.wantStored(t, k)
		for _, n := range []int{5, 6} {
			if err := w.Keys.Revoke(t.Context(), k.UserID, k.ID, moment(n)); err != nil {
				t.Error(err)
			}
		}
		k.RevokedAt = moment(5)
		w.wantStored(t, k)
	})
	run("an owner's keys are listed newest first, ended ones too, with their number", func(t *testing.T, w KeysWorld) {
		owner := w.NewID()
		var all []apikey.Key
		for range 5 {
			w.issue(t, w.NewID())
			all = append(all, w.issue(t, owner))
		}
		if err := w.Keys.Revoke(t.Context(), owner, all[2].ID, moment(1)); err != nil {
			t.Fatal(err)
		}
		all[2].RevokedAt = moment(1)
		slices.Reverse(all)
		for _, tc := range []struct{ limit, offset, from, to int }{{5, 0, 0, 5}, {2, 0, 0, 2}, {2, 2, 2, 4}, {2, 4, 4, 5}, {2, 9, 5, 5}} {
			got, total, err := w.Keys.OfOwner(t.Context(), owner, tc.limit, tc.offset)
			want := all[tc.from:tc.to]
			if err != nil || total != 5 || !slices.EqualFunc(got, want, func(a, b apikey.Key) bool { return reflect.DeepEqual(a, b) }) {
				t.Errorf("%d from %d: %+v of %d, %v\nwant %+v", tc.limit, tc.offset, got, total, err, want)
			}
		}
	})
}

func testRefusedRotations(t *testing.T, w KeysWorld) {
	owner := w.NewID()
	old, revoked, ended, replaced := w.issue(t, owner), w.issue(t, owner), w.key(t, owner), w.issue(t, owner)
	ended.ExpiresAt = moment(0)
	if err := w.Keys.Issue(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	if err := w.Keys.Revoke(t.Context(), owner, revoked.ID, moment(0)); err != nil {
		t.Fatal(err)
	}
	successor, err := w.Keys.Rotate(t.Context(), replaced.ID, w.key(t, owner), moment(60))
	if err != nil {
		t.Fatal(err)
	}
	revoked.RevokedAt, replaced.ExpiresAt, replaced.ReplacedBy = moment(0), moment(60), successor.ID
	clash, stranger := w.key(t, owner), w.key(t, w.NewID())
	clash.Prefix = old.Prefix
	for name, tc := range map[string]struct {
		old  id.ID
		next apikey.Key
		want error
	}{
		"an unknown key":    {w.NewID(), w.key(t, owner), apikey.ErrNotFound},
		"a stranger":        {old.ID, stranger, apikey.ErrForbidden},
		"a taken prefix":    {old.ID, clash, apikey.ErrPrefixTaken},
		"a revoked key":     {revoked.ID, w.key(t, owner), apikey.ErrRevoked},
		"an ended key":      {ended.ID, w.key(t, owner), apikey.ErrRevoked},
		"a replaced key":    {replaced.ID, w.key(t, owner), apikey.ErrRevoked},
		"a stranger's news": {revoked.ID, stranger, apikey.ErrForbidden}, // who may not know what became of the key
	} {
		if _, err := w.Keys.Rotate(t.Context(), tc.old, tc.next, moment(60)); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	for _, k := range []apikey.Key{old, revoked, ended, replaced, successor} {
		w.wantStored(t, k)
	}
	if _, total, err := w.Keys.OfOwner(t.Context(), owner, 1, 0); err != nil || total != 5 {
		t.Errorf("%d keys, %v; want 5", total, err)
	}
}

// oneWins lets n rivals start together. All but one must lose with an error; it returns the one.
func oneWins(t testing.TB, n int, lost error, rival func(i int) error) (winner int) {
	t.Helper()
	errs := make([]error, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = rival(i)
		})
	}
	close(start)
	all.Wait()
	winner = -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			t.Errorf("%d and %d both won", winner, i)
		case err == nil:
			winner = i
		case !errors.Is(err, lost):
			t.Errorf("a loser got %v, want %v", err, lost)
		}
	}
	if winner < 0 {
		t.Fatal("nobody won")
	}
	return winner
}
