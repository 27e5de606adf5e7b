package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What an upstream answers with a status that is none cannot be passed on, by whichever way it came.
func TestAStatusThatIsNoneIs502OnEveryWay(t *testing.T) {
	t.Parallel()
	odd := func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 042 Odd\r\nContent-Length: 2\r\n\r\nok")
	}
	plain := open(t, odd)
	tls := open(t, odd)
	secure := httptest.NewTLSServer(http.HandlerFunc(odd))
	t.Cleanup(secure.Close)
	tls.api.BaseURL = secure.URL
	tls.store.setAPI(tls.api)
	tls.tell(change(tls.api.ID))
	engine := newEngine(newGuard(t, "127.0.0.1"), 0)
	t.Cleanup(engine.CloseIdleConnections)
	engine.Other.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	tls.gw.proxy.Transport = engine
	for way, h := range map[string]*fixture{"plain": plain, "TLS": tls} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			t.Log(way, method)
			code := "BAD_GATEWAY"
			if method == "HEAD" {
				code = ""
			}
			h.do(h.request(method, "/cheap", strings.NewReader(strings.Repeat("x", len(method)&4)))).want(t, 502, code)
		}
		h.wantCharges()
	}
}

func TestHTTP10GetsNoInterimAnswer(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "fine")
	})
	for _, method := range []string{"GET", "POST"} {
		_, in := h.raw(method + " /v1/call/weather/cheap HTTP/1.0\r\nX-Api-Key: " + h.key + "\r\n\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || string(body) != "fine" {
			t.Errorf("%s: %d %q, %v", method, res.StatusCode, body, err)
		}
	}
	h.wantCharges("0.01", "0.01")
}
