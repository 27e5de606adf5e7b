package fault

import "testing"

func TestEveryKindHasItsStatus(t *testing.T) {
	t.Parallel()
	for k, want := range map[Kind]int{
		Internal: 500, Invalid: 400, Unauthenticated: 401, Forbidden: 403, NotFound: 404, Conflict: 409, PaymentRequired: 402, TooMany: 429,
		TooLarge: 413, BadUpstream: 502, UpstreamTimeout: 504, Unavailable: 503, WrongMethod: 405, WrongMedia: 415, TooSlow: 408, Kind(-1): 500,
	} {
		if got := HTTPStatus(k); got != want {
			t.Errorf("kind %d: %d, want %d", k, got, want)
		}
	}
}
