package gateway

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

func change(u id.ID) ports.Change { return ports.Change{Kind: ports.ChangedAPI, Subject: u.String()} }

func newRecorded(path string) (*http.Request, *httptest.ResponseRecorder) {
	return httptest.NewRequest("GET", path, nil), httptest.NewRecorder()
}

func TestACallReachesTheUpstreamAsItWasMade(t *testing.T) {
	t.Parallel()
	var got *http.Request
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(t.Context())
		body, _ := io.ReadAll(r.Body)
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2; Path=/")
		w.Header().Set("X-Request-Id", "the upstream's")
		w.Header().Set("X-Callora-Charge", "0")
		w.WriteHeader(201)
		_, _ = w.Write(body)
	})
	r := h.request("POST", "/cheap?b=2&a=1&a=%20;c&&=", strings.NewReader(" {\"x\" : 1}\n"))
	r.Header["X-Twice"] = []string{"1", "2"}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Cookie", "theirs=1")
	r.Header.Set("Authorization", "Bearer for-the-upstream")
	r.Header.Set("X-Forwarded-For", "1.2.3.4")
	r.Header.Set("X-Forwarded-Host", "evil.example")
	r.Header.Set("X-Forwarded-Weird", "x")
	r.Header.Set("Forwarded", "for=1.2.3.4")
	r.Header.Set("X-Real-Ip", "1.2.3.4")
	r.Header.Set("X-User-Id", "somebody")
	r.Header.Set("X-Admin-Api-Key", "x")
	r.Header.Set("X-Callora-Price", "0")
	r.Header.Set("X-Request-Id", "the caller's")
	r.Header.Set("Connection", "X-Hop, close")
	r.Header.Set("X-Hop", "secret")
	r.Header.Set("Te", "trailers, gzip")
	answer := h.do(r)

	if got.Method != "POST" || got.RequestURI != "/base/cheap?b=2&a=1&a=%20;c&&=" || got.Host != strings.TrimPrefix(h.upstream.URL, "http://") {
		t.Errorf("%s %s at %s", got.Method, got.RequestURI, got.Host)
	}
	if !slices.Equal(got.Header["X-Twice"], []string{"1", "2"}) || got.Header.Get("Cookie") != "theirs=1" ||
		got.Header.Get("Authorization") != "Bearer for-the-upstream" || got.Header.Get("Te") != "trailers" {
		t.Errorf("headers %v", got.Header)
	}
	for _, name := range []string{"X-Api-Key", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Weird", "Forwarded", "X-Real-Ip", "X-User-Id",
		"X-Admin-Api-Key", "X-Callora-Price", "X-Hop", "Accept-Encoding"} {
		if v, ok := got.Header[name]; ok {
			t.Errorf("%s: %q reached the upstream", name, v)
		}
	}
	requestID := answer.Header.Get("X-Request-Id")
	if got.Header.Get("X-Request-Id") != requestID || len(answer.Header.Values("X-Request-Id")) != 1 {
		t.Errorf("request ids %q and %q", got.Header.Get("X-Request-Id"), answer.Header.Values("X-Request-Id"))
	}
	if answer.StatusCode != 201 || string(answer.body) != " {\"x\" : 1}\n" || len(answer.Header.Values("Set-Cookie")) != 2 ||
		answer.Header.Get("X-Callora-Charge") != "0.0100000" {
		t.Errorf("%d %q %v", answer.StatusCode, answer.body, answer.Header)
	}
	h.wantCharges("0.01")
	e := h.ledger.charged()[0]
	if e.ID.String() != requestID || e.Status != 201 || e.UserID != h.owner || e.APIID != h.api.ID || e.KeyID.IsZero() || e.Latency <= 0 ||
		e.EndpointID != h.api.Endpoints[0].ID || !e.OccurredAt.Equal(e.ID.Time()) {
		t.Errorf("event %+v", e)
	}
}

func TestOurKeyNeverReachesTheUpstream(t *testing.T) {
	t.Parallel()
	seen := make(chan http.Header, 2)
	h := open(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })
	r := h.request("GET", "/cheap", nil)
	r.Header = http.Header{"Authorization": {"Bearer " + h.key}}
	h.do(r).want(t, 200, "")
	r = h.request("GET", "/cheap", nil)
	r.Header.Set("Authorization", "Bearer "+h.key)
	h.do(r).want(t, 200, "")
	for range 2 {
		for name, values := range <-seen {
			if strings.Contains(strings.Join(values, " "), h.key) {
				t.Errorf("%s holds the key", name)
			}
		}
	}
}

func TestEveryMethodPasses(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Method", r.Method) })
	var want []string
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} {
		if got := h.do(h.request(m, "/cheap", nil)); got.StatusCode != 200 || got.Header.Get("X-Method") != m {
			t.Errorf("%s: %d as %s", m, got.StatusCode, got.Header.Get("X-Method"))
		}
		want = append(want, "0.01")
	}
	h.wantCharges(want...)
}

func TestThePathThatIsPricedIsThePathThatIsForwarded(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	var charges []string
	for _, tt := range []struct{ path, forwarded, price string }{
		{"", "/base/", "0.05"},
		{"/", "/base/", "0.05"},
		{"/cheap", "/base/cheap", "0.01"},
		{"/cheap/", "/base/cheap/", "0.01"},
		{"/%63heap", "/base/%63heap", "0.01"},
		{"//cheap", "/base/cheap", "0.01"},
		{"/cheap/../expensive", "/base/expensive", "5"},
		{"/cheap/%2e%2e/expensive", "/base/expensive", "5"},
		{"/cheap/%2E./expensive", "/base/expensive", "5"},
		{"/../../expensive", "/base/expensive", "5"},
		{"/./expensive/.", "/base/expensive/", "5"},
		{"/expensive//", "/base/expensive/", "5"},
		{"/expensive?x=/../cheap", "/base/expensive?x=/../cheap", "5"},
		{"/expensive??a=1", "/base/expensive??a=1", "5"},
		{"/expensive?", "/base/expensive?", "5"},
		{"/expensive%3Fcheap", "/base/expensive%3Fcheap", "0.05"},
		{"/expensive%23cheap", "/base/expensive%23cheap", "0.05"},
		{"/items/42", "/base/items/42", "0.02"},
		{"/items/a%20b", "/base/items/a%20b", "0.02"},
		{"/items/%C3%BC", "/base/items/%C3%BC", "0.02"},
		{"/items/42/more", "/base/items/42/more", "0.05"},
		{"/cheaper", "/base/cheaper", "0.05"},
	} {
		conn, in := h.raw("GET /v1/call/weather" + tt.path + " HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\nConnection: close\r\n\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.path, err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = conn.Close()
		if want := "GET " + tt.forwarded + " "; res.StatusCode != 200 || string(body) != want {
			t.Errorf("%s is forwarded as %q (%d), want %q", tt.path, body, res.StatusCode, want)
		}
		if res.Header.Get("X-Callora-Charge") != tt.price+zeroCharge[len("0"):] && !strings.HasPrefix(res.Header.Get("X-Callora-Charge"), tt.price) {
			t.Errorf("%s costs %s, want %s", tt.path, res.Header.Get("X-Callora-Charge"), tt.price)
		}
		charges = append(charges, tt.price)
	}
	h.wantCharges(charges...)
	for _, path := range []string{"/cheap;/../expensive", "/expensive;x=1", "/cheap/..;/expensive", "/cheap%3B/x", "/a%5Cb", "/a\\b", "/a%00", "/a%0d%0ab",
		"/cheap/..%2fexpensive", "/%ff", "/items/5%2Freport"} {
		_, in := h.raw("GET /v1/call/weather" + path + " HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\nConnection: close\r\n\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if res.StatusCode != 400 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	h.wantCharges(charges...)
}

func TestCompressedBodiesAreLeftAlone(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	_, _ = zw.Write(bytes.Repeat([]byte("callora "), 1000))
	_ = zw.Close()
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") == "gzip" {
			w.Header().Set("Content-Encoding", "gzip")
		}
		_, _ = w.Write(packed.Bytes())
	})
	r := h.request("GET", "/cheap", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	got := h.do(r)
	if !bytes.Equal(got.body, packed.Bytes()) || got.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%d bytes, %v", len(got.body), got.Header)
	}
	h.wantCharges("0.01")
}

func TestAnswersWithoutBodies(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/base/204":
			w.WriteHeader(204)
		case "/base/304":
			w.Header().Set("ETag", `"x"`)
			w.WriteHeader(304)
		case "/base/head":
			w.Header().Set("Content-Length", "123456")
		case "/base/302":
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(302)
		}
	})
	if got := h.get("/204"); got.StatusCode != 204 || len(got.body) != 0 {
		t.Errorf("204: %d", got.StatusCode)
	}
	if got := h.get("/304"); got.StatusCode != 304 || got.Header.Get("Etag") != `"x"` || got.Header.Get("X-Callora-Charge") != zeroCharge {
		t.Errorf("304: %d %v", got.StatusCode, got.Header)
	}
	if got := h.do(h.request("HEAD", "/head", nil)); got.ContentLength != 123456 || got.Header.Get("X-Callora-Charge") != "0.0500000" {
		t.Errorf("HEAD: %d %v", got.ContentLength, got.Header)
	}
	if got := h.get("/302"); got.StatusCode != 302 || got.Header.Get("Location") != "http://127.0.0.1:1/" {
		t.Errorf("a redirect was not passed on: %d", got.StatusCode)
	}
	if got := h.get("/empty"); got.StatusCode != 200 || got.ContentLength != 0 {
		t.Errorf("empty: %d, length %d", got.StatusCode, got.ContentLength)
	}
	h.wantCharges("0.05", "0.05", "0.05")
}

func TestChunksTrailersAndInterimAnswersPass(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "X-Sum")
		body, _ := io.ReadAll(r.Body)
		for range 3 {
			fmt.Fprintf(w, "%s.", body)
			w.(http.Flusher).Flush()
		}
		w.Header().Set("X-Sum", fmt.Sprint(r.ContentLength, r.TransferEncoding))
	})
	var interim []int
	r := h.request("POST", "/cheap", io.MultiReader(strings.NewReader("ab"), strings.NewReader("c"))) // of unknown length
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		interim = append(interim, code)
		return nil
	}}))
	got := h.do(r)
	if string(got.body) != "abc.abc.abc." || got.Trailer.Get("X-Sum") != "-1 [chunked]" || !slices.Equal(interim, []int{103}) {
		t.Errorf("%q, trailer %v, interim %v", got.body, got.Trailer, interim)
	}
	h.wantCharges("0.01")
}
