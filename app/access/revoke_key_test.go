package access

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

func TestARevokedKeyHasEndedAtOnceAndForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.issue(t).Key
	uc := RevokeKey{Keys: w.keys, Gateway: w.gateway, Now: w.clock}
	for range 2 { // the second time changes nothing
		if err := uc.Do(t.Context(), RevokeKeyInput{Actor: w.consumer, Key: k.ID}); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Minute)
	}
	if got, err := w.keys.KeyByPrefix(t.Context(), k.Prefix); err != nil || !got.Ended(noon) || !got.RevokedAt.Equal(noon) {
		t.Errorf("the key became %+v, %v; want it revoked at noon", got, err)
	}
}

func TestOnlyItsOwnerRevokesAKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.issue(t).Key
	uc := RevokeKey{Keys: w.keys, Gateway: w.gateway, Now: w.clock}
	if err := uc.Do(t.Context(), RevokeKeyInput{Actor: newID(), Key: k.ID}); !errors.Is(err, apikey.ErrForbidden) {
		t.Errorf("a stranger: %v, want %v", err, apikey.ErrForbidden)
	}
	if err := uc.Do(t.Context(), RevokeKeyInput{Actor: w.consumer, Key: newID()}); !errors.Is(err, apikey.ErrNotFound) {
		t.Errorf("an unknown key: %v, want %v", err, apikey.ErrNotFound)
	}
	if got, err := w.keys.KeyByPrefix(t.Context(), k.Prefix); err != nil || got.Ended(noon) {
		t.Errorf("the key became %+v, %v", got, err)
	}
}

// The outcome of a store that fails is unknown: the key may have ended.
func TestANodeForgetsAtOnceAKeyThatHasEndedOrMayHave(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		do      func(w *world, k id.ID) error
		forgets bool
	}{
		"revoked": {func(w *world, k id.ID) error { return w.revoke(t, w.consumer, k) }, true},
		"rotated": {func(w *world, k id.ID) error {
			_, err := w.rotateKey().Do(t.Context(), RotateKeyInput{Actor: w.consumer, Key: k})
			return err
		}, true},
		"unknown": {func(w *world, k id.ID) error { w.keys.Fail = errDown; return w.revoke(t, w.consumer, k) }, true},
		"rotation unknown": {func(w *world, k id.ID) error {
			w.keys.Fail = errDown
			_, err := w.rotateKey().Do(t.Context(), RotateKeyInput{Actor: w.consumer, Key: k})
			return err
		}, true},
		"refused": {func(w *world, k id.ID) error { return w.revoke(t, newID(), k) }, false},
	} {
		w := newWorld(t)
		k := w.issue(t).Key.ID
		err := tc.do(w, k)
		if forgot := slices.Equal(w.gateway.Keys, []id.ID{k}); forgot != tc.forgets || len(w.gateway.Keys) > 1 {
			t.Errorf("%s (%v): forgot %v, want %v", name, err, w.gateway.Keys, tc.forgets)
		}
	}
}

func (w *world) revoke(t *testing.T, actor, key id.ID) error {
	t.Helper()
	return RevokeKey{Keys: w.keys, Gateway: w.gateway, Now: w.clock}.Do(t.Context(), RevokeKeyInput{Actor: actor, Key: key})
}
