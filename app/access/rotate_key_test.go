package access

import (
	"errors"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

func TestARotatedKeyHasASuccessorWithTheSameRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	perMinute := 7
	old, err := w.issueKey().Do(t.Context(), IssueKeyInput{Actor: w.consumer, API: "weather", Scopes: []string{"read"}, RateLimitPerMinute: &perMinute})
	if err != nil {
		t.Fatal(err)
	}
	w.now = noon.Add(time.Minute)
	out, err := w.rotateKey().Do(t.Context(), RotateKeyInput{Actor: w.consumer, Key: old.Key.ID})
	if err != nil {
		t.Fatal(err)
	}
	k := out.Key
	if k.ID == old.Key.ID || out.Plain == old.Plain || !k.Matches(out.Plain) || k.UserID != w.consumer || !k.CreatedAt.Equal(w.now) {
		t.Errorf("the new key is %+v", k)
	}
	if k.APIID != w.weather.ID || len(k.Scopes) != 1 || k.Scopes[0] != "read" || k.RateLimitPerMinute != 7 {
		t.Errorf("its rights are %+v, want those of %+v", k, old.Key)
	}
	if _, err := w.keys.KeyByPrefix(t.Context(), k.Prefix); err != nil {
		t.Errorf("the new key is not stored: %v", err)
	}
}

func TestARotatedKeyWorksOnForItsGraceAndNotAMomentLonger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.issue(t)
	out, err := w.rotateKey().Do(t.Context(), RotateKeyInput{Actor: w.consumer, Key: old.Key.ID})
	if err != nil || !out.OldEndsAt.Equal(noon.Add(time.Hour)) {
		t.Fatalf("the old key ends at %v, %v; want an hour after noon", out.OldEndsAt, err)
	}
	was, err := w.keys.KeyByPrefix(t.Context(), old.Key.Prefix)
	if err != nil || was.Ended(out.OldEndsAt.Add(-1)) || !was.Ended(out.OldEndsAt) || was.ReplacedBy != out.Key.ID {
		t.Errorf("the old key became %+v, %v", was, err)
	}
}

func TestWhoMayNotRotateAKeyIsToldWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	revoked, replaced, fine := w.issue(t), w.issue(t), w.issue(t)
	if err := (RevokeKey{Keys: w.keys, Gateway: w.gateway, Now: w.clock}).Do(t.Context(), RevokeKeyInput{Actor: w.consumer, Key: revoked.Key.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.rotateKey().Do(t.Context(), RotateKeyInput{Actor: w.consumer, Key: replaced.Key.ID}); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		actor, key id.ID
		want       error
	}{
		"revoked":   {w.consumer, revoked.Key.ID, apikey.ErrRevoked},
		"replaced":  {w.consumer, replaced.Key.ID, apikey.ErrRevoked},
		"another's": {newID(), fine.Key.ID, apikey.ErrForbidden},
		"unknown":   {w.consumer, newID(), apikey.ErrNotFound},
	} {
		out, err := w.rotateKey().Do(t.Context(), RotateKeyInput{Actor: tc.actor, Key: tc.key})
		if !errors.Is(err, tc.want) || out.Plain != "" {
			t.Errorf("%s: %q, %v; want %v and no secret", name, out.Plain, err, tc.want)
		}
	}
	if k, err := w.keys.KeyByPrefix(t.Context(), fine.Key.Prefix); err != nil || !k.ExpiresAt.IsZero() {
		t.Errorf("a stranger's rotation ended the key: %+v, %v", k, err)
	}
}

func TestARotationDrawsATakenPrefixAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.issue(t)
	w.issueWith(t, drawsOf(1))
	uc := w.rotateKey()
	uc.Random = drawsOf(1, 2)
	out, err := uc.Do(t.Context(), RotateKeyInput{Actor: w.consumer, Key: old.Key.ID})
	if err != nil || !out.Key.Matches(out.Plain) || out.Key.Prefix != out.Plain[:apikey.PrefixLength] {
		t.Errorf("got %+v, %v", out.Key, err)
	}
}
