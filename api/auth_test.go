package api_test

import (
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/CalloraOrg/callora-backend/api/edge"
)

func TestWhoIsAskingIsProvenByAToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	user := w.consumer.String()
	at := func(d time.Duration) int64 { return noon.Add(d).Unix() }
	good := func(more jwt.MapClaims) jwt.MapClaims {
		c := jwt.MapClaims{"userId": user, "type": "access", "exp": at(time.Minute)}
		for k, v := range more {
			if v == nil {
				delete(c, k)
			} else {
				c[k] = v
			}
		}
		return c
	}
	signed := func(method jwt.SigningMethod, key any, c jwt.MapClaims) string {
		text, err := jwt.NewWithClaims(method, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + text
	}
	hs256 := func(c jwt.MapClaims) string { return signed(jwt.SigningMethodHS256, w.cfg.JWTSecret, c) }
	whole := hs256(good(nil))
	for name, tc := range map[string]struct {
		header, code, message string
	}{
		"userId":               {whole, "", ""},
		"sub":                  {hs256(good(jwt.MapClaims{"userId": nil, "sub": user})), "", ""},
		"bearer in small":      {"bearer" + whole[6:], "", ""},
		"no header":            {"", "UNAUTHORIZED", "Unauthorized"},
		"Basic":                {"Basic eDp5", "INVALID_AUTH_HEADER", "Invalid authorization header"},
		"no scheme":            {whole[7:], "INVALID_AUTH_HEADER", "Invalid authorization header"},
		"no token":             {"Bearer ", "MISSING_TOKEN", "Missing token"},
		"nonsense":             {"Bearer nonsense", "INVALID_TOKEN", "Invalid token"},
		"an API key":           {"Bearer ck_live_0123456789abcdef", "INVALID_TOKEN", "Invalid token"},
		"expired":              {hs256(good(jwt.MapClaims{"exp": at(-time.Second)})), "TOKEN_EXPIRED", "Token expired"},
		"expires now":          {hs256(good(jwt.MapClaims{"exp": at(0)})), "TOKEN_EXPIRED", "Token expired"},
		"never expires":        {hs256(good(jwt.MapClaims{"exp": nil})), "MISSING_CLAIMS", "Token missing required claims"},
		"not yet":              {hs256(good(jwt.MapClaims{"nbf": at(time.Second)})), "TOKEN_NOT_ACTIVE", "Invalid token"},
		"refresh token":        {hs256(good(jwt.MapClaims{"type": "refresh"})), "INVALID_TOKEN", "Invalid token"},
		"no type":              {hs256(good(jwt.MapClaims{"type": nil})), "INVALID_TOKEN", "Invalid token"},
		"nobody":               {hs256(good(jwt.MapClaims{"userId": nil})), "MISSING_CLAIMS", "Token missing required claims"},
		"not a UUID":           {hs256(good(jwt.MapClaims{"userId": "admin"})), "MISSING_CLAIMS", "Token missing required claims"},
		"zero UUID":            {hs256(good(jwt.MapClaims{"userId": "00000000-0000-0000-0000-000000000000"})), "MISSING_CLAIMS", "Token missing required claims"},
		"userId is a number":   {hs256(good(jwt.MapClaims{"userId": 5})), "INVALID_TOKEN", "Invalid token"},
		"another secret":       {signed(jwt.SigningMethodHS256, []byte("another"), good(nil)), "INVALID_TOKEN", "Invalid token"},
		"forged and expired":   {signed(jwt.SigningMethodHS256, []byte("another"), good(jwt.MapClaims{"exp": at(-1)})), "INVALID_TOKEN", "Invalid token"},
		"HS512":                {signed(jwt.SigningMethodHS512, w.cfg.JWTSecret, good(nil)), "INVALID_TOKEN", "Invalid token"},
		"no algorithm":         {signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good(nil)), "INVALID_TOKEN", "Invalid token"},
		"the signature cut":    {whole[:len(whole)-4], "INVALID_TOKEN", "Invalid token"},
		"the payload replaced": {replacePayload(whole, hs256(good(jwt.MapClaims{"userId": newID().String()}))), "INVALID_TOKEN", "Invalid token"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/keys", nil)
		r.Header.Set("X-User-Id", user) // never stronger than a wrong Authorization header
		if tc.header != "" {
			r.Header.Set("Authorization", tc.header)
		} else {
			r.Header.Del("X-User-Id")
		}
		a := w.do(t, r)
		switch {
		case tc.code == "" && a.Code != 200:
			t.Errorf("%s: %d %s", name, a.Code, a.Body)
		case tc.code != "":
			a.refused(401, tc.code)
			if m := a.refusal().Message; m != tc.message || a.Header().Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s: %q", name, m)
			}
		}
	}
}

func replacePayload(token, with string) string {
	parts, other := strings.Split(token, "."), strings.Split(with, ".")
	parts[1] = other[1]
	return strings.Join(parts, ".")
}

func TestAUserIDIsTakenAtItsWordFromWhereTheConfigurationSays(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		from       string // the range that is believed
		production bool
		peer       string
		header     string // that shows a proxy
		ok         bool
	}{
		{from: "127.0.0.0/8", peer: "127.0.0.1:5000", ok: true},
		{from: "127.0.0.0/8", peer: "[::ffff:127.0.0.1]:5000", ok: true},
		{from: "fe80::/10", peer: "[fe80::1%eth0]:5000", ok: true},
		{from: "", peer: "127.0.0.1:5000"},
		{from: "127.0.0.0/8", peer: "192.0.2.1:5000"},
		{from: "127.0.0.0/8", peer: "nonsense"},
		{from: "127.0.0.0/8", peer: "127.0.0.1:5000", production: true},
		{from: "127.0.0.0/8", peer: "127.0.0.1:5000", header: "X-Forwarded-For"},
		{from: "127.0.0.0/8", peer: "127.0.0.1:5000", header: "Forwarded"},
		{from: "127.0.0.0/8", peer: "127.0.0.1:5000", header: "X-Real-Ip"},
		{from: "127.0.0.0/8", peer: "127.0.0.1:5000", header: "Via"},
	} {
		w := newWorld(t, func(w *world) {
			w.cfg.Production, w.cfg.UserHeaderFrom = tc.production, nil
			if tc.from != "" {
				w.cfg.UserHeaderFrom = []netip.Prefix{netip.MustParsePrefix(tc.from)}
			}
		})
		for user, sound := range map[string]bool{w.consumer.String(): true, "user-1": false, "": false, "00000000-0000-0000-0000-000000000000": false} {
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/vault/balance", nil)
			r.RemoteAddr = tc.peer
			r.Header.Set("X-User-Id", user)
			if tc.header != "" {
				r.Header.Set(tc.header, "127.0.0.1")
			}
			if a := w.do(t, r); (a.Code == 200) != (tc.ok && sound) {
				t.Errorf("%+v, user %q: %d", tc, user, a.Code)
			} else if a.Code != 200 {
				a.refused(401, "UNAUTHORIZED")
			}
		}
	}
}

func TestAMintedTokenIsGoodForItsTime(t *testing.T) {
	t.Parallel()
	now := noon
	w := newWorld(t, func(w *world) { w.deps.Now = func() time.Time { return now } })
	token, err := edge.Tokens{Secret: w.cfg.JWTSecret}.Mint(w.consumer, time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	var codes []int
	for range 3 {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/keys", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		codes = append(codes, w.do(t, r).Code)
		now = now.Add(45 * time.Minute)
	}
	if !slices.Equal(codes, []int{200, 200, 401}) {
		t.Error(codes)
	}
}

func TestMetricsNeedTheirKeyInProduction(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		production  bool
		key, header string
		want        int
	}{
		{false, "metrics key", "", 200}, {true, "metrics key", "Bearer metrics key", 200}, {true, "metrics key", "", 401},
		{true, "metrics key", "Bearer metrics", 401}, {true, "metrics key", "Basic metrics key", 401}, {true, "", "Bearer ", 401}, {true, "", "", 401},
	} {
		w := newWorld(t, func(w *world) { w.cfg.Production, w.cfg.MetricsKey = tc.production, tc.key })
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/metrics", nil)
		r.Header.Set("Authorization", tc.header)
		if a := w.do(t, r); a.Code != tc.want || (a.Code == 200) != (a.Body.String() == "up 1\n") {
			t.Errorf("%+v: %d %s", tc, a.Code, a.Body)
		}
	}
	w := newWorld(t, func(w *world) { w.deps.Metrics = nil })
	if a := w.do(t, httptest.NewRequestWithContext(t.Context(), "GET", "/api/metrics", nil)); a.Code != 200 {
		t.Errorf("without metrics: %d", a.Code)
	}
}
