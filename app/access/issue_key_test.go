package access

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/listing"
)

func TestAKeyOpensTheAPIItWasAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, ref := range []string{"weather", w.weather.ID.String()} {
		perMinute := 30
		out, err := w.issueKey().Do(t.Context(), IssueKeyInput{
			Actor: w.consumer, API: ref, Scopes: []string{"read", "POST:/alerts"}, RateLimitPerMinute: &perMinute,
		})
		if err != nil {
			t.Fatal(err)
		}
		want := apikey.Key{
			ID: out.Key.ID, UserID: w.consumer, APIID: w.weather.ID, Prefix: out.Plain[:apikey.PrefixLength], Hash: apikey.HashOf(out.Plain),
			Scopes: []string{"read", "POST:/alerts"}, RateLimitPerMinute: 30, CreatedAt: noon,
		}
		stored, err := w.keys.KeyByPrefix(t.Context(), want.Prefix)
		if err != nil || !reflect.DeepEqual(stored, want) || !reflect.DeepEqual(out.Key, want) {
			t.Errorf("by %s\nissued %+v\nstored %+v, %v\nwant   %+v", ref, out.Key, stored, err, want)
		}
	}
}

func TestAKeyOpensEverythingUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if k := w.issue(t).Key; !slices.Equal(k.Scopes, []string{apikey.AllScopes}) || k.RateLimitPerMinute != 0 {
		t.Errorf("scopes %q, %d per minute; want all scopes and no limit of its own", k.Scopes, k.RateLimitPerMinute)
	}
}

func TestNoTwoKeysAreAlike(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.issue(t), w.issue(t)
	if a.Plain == b.Plain || a.Key.ID == b.Key.ID {
		t.Errorf("issued %q twice", a.Key.Masked())
	}
}

func TestOnlyAnActiveAPIHasKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.list(t, "paused", listing.Paused)
	for _, ref := range []string{"paused", "nowhere", newID().String(), ""} {
		if _, err := w.issueKey().Do(t.Context(), IssueKeyInput{Actor: w.consumer, API: ref}); !errors.Is(err, listing.ErrNotFound) {
			t.Errorf("%q: %v, want %v", ref, err, listing.ErrNotFound)
		}
	}
}

func TestEveryWrongFieldOfAKeyIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tc := range map[string]struct {
		scopes    []string
		perMinute int
		want      []string
	}{
		"unknown scopes":           {[]string{"read", "admin", "*", "get:/x"}, 1, []string{"body.scopes[1]", "body.scopes[3]"}},
		"no scope at all":          {[]string{}, 1, []string{"body.scopes"}},
		"too many":                 {slices.Repeat([]string{"read"}, 21), 1, []string{"body.scopes"}},
		"no calls":                 {nil, 0, []string{"body.rateLimitPerMinute"}},
		"fewer than none":          {nil, -1, []string{"body.rateLimitPerMinute"}},
		"more than a key may have": {nil, 1_000_001, []string{"body.rateLimitPerMinute"}},
		"both":                     {[]string{"x"}, 0, []string{"body.scopes[0]", "body.rateLimitPerMinute"}},
	} {
		_, err := w.issueKey().Do(t.Context(), IssueKeyInput{Actor: w.consumer, API: "weather", Scopes: tc.scopes, RateLimitPerMinute: &tc.perMinute})
		if got := wrongFields(t, err); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	if _, total, err := w.keys.OfOwner(t.Context(), w.consumer, 1, 0); total != 0 || err != nil {
		t.Errorf("%d keys were issued all the same, %v", total, err)
	}
}

func TestAScopeIsOfAnEndpointThatIsSold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for scope, ok := range map[string]bool{
		"*": true, "read": true, "write": true, "*:*": true, "GET:*": true, "HEAD:*": true, "POST:*": true, "DELETE:*": true, // any method of /any/{x}
		"GET:/forecast": true, "HEAD:/forecast": true, "*:/forecast": true, "DELETE:/any/{x}": true, "PUT:/any/{x}": true,
		"POST:/forecast": false, "GET:/forecasts": false, "GET:/forecast/": false, "GET:/Forecast": false, "GET:/any/{y}": false, "PUT:/forecast": false,
		"GET:/any/1": false, "OPTIONS:/alerts": false,
	} {
		_, err := w.issueKey().Do(t.Context(), IssueKeyInput{Actor: w.consumer, API: "weather", Scopes: []string{"read", scope}})
		if ok && err != nil {
			t.Errorf("%s: %v", scope, err)
		}
		if ok {
			continue
		}
		if got := wrongFields(t, err); !slices.Equal(got, []string{"body.scopes[1]"}) {
			t.Errorf("%s: %q", scope, got)
		}
		if f, _ := errors.AsType[*fault.Error](err); f.Details[0].Message != "must be of an endpoint that the API sells: GET:/forecast, POST:/alerts, *:/any/{x}, PUT:*" {
			t.Errorf("%s: %s", scope, f.Details[0].Message)
		}
	}
}

func TestAnErrorNamesAFewOfManyEndpoints(t *testing.T) {
	t.Parallel()
	sold := slices.Repeat([]listing.Endpoint{{Method: "GET", Path: "/a"}}, 12)
	if got := named(sold); got != strings.Repeat("GET:/a, ", 9)+"GET:/a and 2 more" {
		t.Error(got)
	}
}

func TestTheEndsOfEveryRangeAreAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, perMinute := range []int{1, maxPerMinute} {
		scopes := slices.Repeat([]string{"read"}, apikey.MaxScopes)
		if _, err := w.issueKey().Do(t.Context(), IssueKeyInput{Actor: w.consumer, API: "weather", Scopes: scopes, RateLimitPerMinute: &perMinute}); err != nil {
			t.Errorf("%d per minute: %v", perMinute, err)
		}
	}
}

func TestATakenPrefixIsDrawnAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	uc := w.issueKey()
	uc.Random = drawsOf(1, 1, 1, 2)
	var plain []string
	for range 2 {
		out, err := uc.Do(t.Context(), IssueKeyInput{Actor: w.consumer, API: "weather"})
		if err != nil {
			t.Fatal(err)
		}
		plain = append(plain, out.Plain)
	}
	if want := apikey.Mark + fmt.Sprintf("%048x", bytes.Repeat([]byte{2}, 24)); plain[1] != want {
		t.Errorf("the second key is %q, want %q", plain[1], want)
	}
}

func TestABrokenRandomSourceIssuesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issueWith(t, drawsOf(1))
	for name, random := range map[string]io.Reader{
		"always the same": drawsOf(slices.Repeat([]byte{1}, 100)...),
		"dry":             drawsOf(),
		"half a secret":   bytes.NewReader(make([]byte, 10)),
	} {
		uc := w.issueKey()
		uc.Random = random
		if out, err := uc.Do(t.Context(), IssueKeyInput{Actor: w.consumer, API: "weather"}); err == nil || out.Plain != "" {
			t.Errorf("%s: issued %q, %v", name, out.Key.Masked(), err)
		} else if errors.Is(err, apikey.ErrPrefixTaken) {
			t.Errorf("%s: %v blames the caller", name, err)
		}
	}
}

func TestAStoreThatFailsIssuesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.keys.Fail = errDown
	if _, err := w.issueKey().Do(t.Context(), IssueKeyInput{Actor: w.consumer, API: "weather"}); !errors.Is(err, errDown) {
		t.Errorf("error = %v, want %v", err, errDown)
	}
}

func (w *world) issueWith(t *testing.T, random io.Reader) {
	t.Helper()
	uc := w.issueKey()
	uc.Random = random
	if _, err := uc.Do(t.Context(), IssueKeyInput{Actor: w.consumer, API: "weather"}); err != nil {
		t.Fatal(err)
	}
}
