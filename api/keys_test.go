package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
)

type keyBody struct {
	ID, APIID, Key, Prefix, MaskedKey string
	Scopes                            []string
	RateLimitPerMinute                *int
	Revoked                           bool
	RevokedAt, ExpiresAt, LastUsedAt  *time.Time
	ReplacedBy                        *string
	CreatedAt                         time.Time
	Previous                          struct {
		ID        string
		ExpiresAt time.Time
	}
}

type keyPage struct {
	Data []keyBody
	Meta struct{ Total, Limit, Offset int }
}

func (w *world) issue(t *testing.T, user id.ID, body string) (k keyBody) {
	t.Helper()
	w.as(t, user, "POST", "/api/apis/weather/keys", body).into(201, &k)
	return k
}

func TestAKeyIsShownOnceAndListedMasked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plain := w.issue(t, w.consumer, "")
	if len(plain.Key) != 56 || !strings.HasPrefix(plain.Key, plain.Prefix) || plain.APIID != w.weather.ID.String() || plain.RateLimitPerMinute != nil ||
		!slices.Equal(plain.Scopes, []string{"*"}) || !plain.CreatedAt.Equal(noon) {
		t.Errorf("%+v", plain)
	}
	stored, err := w.keys.KeyByPrefix(t.Context(), plain.Prefix)
	if err != nil || !stored.Matches(plain.Key) || stored.UserID != w.consumer {
		t.Errorf("stored %+v, %v", stored, err)
	}
	var bound keyBody
	w.as(t, w.consumer, "POST", "/api/apis/"+w.weather.ID.String()+"/keys", `{"scopes": ["read", "GET:/forecast"], "rateLimitPerMinute": 60}`).into(201, &bound)
	if !slices.Equal(bound.Scopes, []string{"read", "GET:/forecast"}) || *bound.RateLimitPerMinute != 60 {
		t.Errorf("%+v", bound)
	}
	w.issue(t, newID(), `{"rateLimitPerMinute": null}`)

	list := w.as(t, w.consumer, "GET", "/api/keys", "")
	var page keyPage
	list.into(200, &page)
	if page.Meta.Total != 2 || page.Data[0].ID != bound.ID || page.Data[1].MaskedKey != plain.Prefix+"****************" || page.Data[1].Revoked {
		t.Errorf("%+v", page)
	}
	if strings.Contains(list.Body.String(), plain.Key[17:]) {
		t.Error("the list shows a secret")
	}
	w.as(t, w.consumer, "GET", "/api/keys?limit=1&page=2", "").into(200, &page)
	if len(page.Data) != 1 || page.Data[0].ID != plain.ID || page.Meta.Offset != 1 {
		t.Errorf("%+v", page)
	}
}

func TestAKeyIsForAnActiveAPIAndSoundScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.list(t, "old", listing.Archived)
	w.as(t, w.consumer, "POST", "/api/apis/old/keys", "").refused(404, "NOT_FOUND")
	w.as(t, w.consumer, "POST", "/api/apis/"+newID().String()+"/keys", "{}").refused(404, "NOT_FOUND")
	for body, want := range map[string][]string{
		`{"scopes": ["read", "fly", "GET:x"]}`: {"body.scopes[1]: must be " + apikey.ScopeHelp, "body.scopes[2]: must be " + apikey.ScopeHelp},
		`{"scopes": ["read", "POST:/x", "POST:*"]}`: {
			"body.scopes[1]: must be of an endpoint that the API sells: GET:/forecast", "body.scopes[2]: must be of an endpoint that the API sells: GET:/forecast",
		},
		`{"scopes": []}`:     {"body.scopes: must have at least 1 entry"},
		`{"scopes": "read"}`: {"body.scopes: must be of type array"},
		`{"scopes": [""]}`:   {"body.scopes[0]: must not be empty"},
		`{"scopes": ["*"` + strings.Repeat(`,"*"`, 20) + `]}`: {"body.scopes: must have at most 20 entries"},
		`{"rateLimitPerMinute": 0}`:                           {"body.rateLimitPerMinute: must be >= 1"},
		`{"rateLimitPerMinute": 1e9}`:                         {"body.rateLimitPerMinute: must be <= 1000000"},
		`{"rateLimitPerMinute": 1.5}`:                         {"body.rateLimitPerMinute: must be of type integer"},
		`{"rateLimitPerMinute": 60.0}`:                        {"body.rateLimitPerMinute: must be a plain value of its type, a whole number without point or exponent"},
		`{"rateLimitPerMinute": "60"}`:                        {"body.rateLimitPerMinute: must be of type integer"},
	} {
		if got := w.as(t, w.consumer, "POST", "/api/apis/weather/keys", body).refused(400, "VALIDATION_ERROR"); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
	w.as(t, id.ID{}, "POST", "/api/apis/weather/keys", "").refused(401, "UNAUTHORIZED")
}

func TestARotatedKeyTellsUntilWhenTheOldOneWorks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.issue(t, w.consumer, `{"scopes": ["read"], "rateLimitPerMinute": 7}`)
	var next keyBody
	w.as(t, w.consumer, "POST", "/api/keys/"+old.ID+"/rotate", "").into(201, &next)
	if next.ID == old.ID || next.Key == old.Key || *next.RateLimitPerMinute != 7 || !slices.Equal(next.Scopes, []string{"read"}) ||
		next.Previous.ID != old.ID || !next.Previous.ExpiresAt.Equal(noon.Add(24*time.Hour)) {
		t.Errorf("%+v", next)
	}
	var page keyPage
	w.as(t, w.consumer, "GET", "/api/keys", "").into(200, &page)
	if was := page.Data[1]; !was.ExpiresAt.Equal(noon.Add(24*time.Hour)) || *was.ReplacedBy != next.ID || was.Revoked {
		t.Errorf("the old key is %+v", was)
	}
	rotate := func(user id.ID, key string) answer { return w.as(t, user, "POST", "/api/keys/"+key+"/rotate", "") }
	rotate(w.consumer, old.ID).refused(409, "API_KEY_REVOKED")
	rotate(w.seller, next.ID).refused(403, "API_KEY_FORBIDDEN")
	rotate(w.consumer, newID().String()).refused(404, "API_KEY_NOT_FOUND")
	rotate(w.consumer, "12").refused(400, "VALIDATION_ERROR")
	rotate(id.ID{}, next.ID).refused(401, "UNAUTHORIZED")
}

func TestAKeyIsRevokedByItsOwnerAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.issue(t, w.consumer, "")
	revoke := func(user id.ID, key string) answer { return w.as(t, user, "DELETE", "/api/keys/"+key, "") }
	revoke(w.seller, k.ID).refused(403, "API_KEY_FORBIDDEN")
	revoke(w.consumer, newID().String()).refused(404, "API_KEY_NOT_FOUND")
	revoke(id.ID{}, k.ID).refused(401, "UNAUTHORIZED")
	if got := revoke(w.consumer, "nonsense").refused(400, "VALIDATION_ERROR"); !slices.Equal(got, []string{"params.id: id must be a UUID"}) {
		t.Error(got)
	}
	for range 2 {
		if a := revoke(w.consumer, k.ID); a.Code != 204 || a.Body.Len() != 0 {
			t.Errorf("%d %s", a.Code, a.Body)
		}
	}
	var page keyPage
	w.as(t, w.consumer, "GET", "/api/keys", "").into(200, &page)
	if !page.Data[0].Revoked || !page.Data[0].RevokedAt.Equal(noon) {
		t.Errorf("%+v", page.Data)
	}
}

func TestKeysOfOneMomentDiffer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := map[string]bool{}
	for range 50 {
		seen[w.issue(t, w.consumer, "").Key] = true
	}
	if len(seen) != 50 {
		t.Errorf("%d keys differ", len(seen))
	}
	if _, err := fmt.Sscanf(w.issue(t, w.consumer, "").Prefix, "ck_live_%8x", new(uint32)); err != nil {
		t.Error(err)
	}
}

func TestTimesAreShownAsTheStoreKeepsThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) { w.deps.Now = func() time.Time { return noon.Add(123456789) } })
	kept := noon.Add(123456000)
	k := w.issue(t, w.consumer, "")
	var next keyBody
	w.as(t, w.consumer, "POST", "/api/keys/"+k.ID+"/rotate", "").into(201, &next)
	if !k.CreatedAt.Equal(kept) || !next.CreatedAt.Equal(kept) || !next.Previous.ExpiresAt.Equal(kept.Add(24*time.Hour)) {
		t.Errorf("%v, %v until %v; want whole microseconds", k.CreatedAt, next.CreatedAt, next.Previous.ExpiresAt)
	}
	var made struct {
		CreatedAt time.Time `json:"created_at"`
	}
	w.as(t, w.seller, "POST", "/api/apis", `{"name": "x", "base_url": "https://a.example", "category": "c",
		"endpoints": [{"path": "/", "method": "GET", "price_per_call_usdc": "1"}]}`).into(201, &made)
	if !made.CreatedAt.Equal(kept) {
		t.Errorf("%v, want whole microseconds", made.CreatedAt)
	}
}
