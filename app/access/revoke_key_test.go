package access

import (
	"errors"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
)

func TestARevokedKeyHasEndedAtOnceAndForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.issue(t).Key
	uc := RevokeKey{Keys: w.keys, Now: w.clock}
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
	uc := RevokeKey{Keys: w.keys, Now: w.clock}
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
