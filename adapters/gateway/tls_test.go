package gateway

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// An upstream over TLS is called when its certificate is one that the machine trusts, and for the name it is called by.
func TestAnUpstreamOverTLSIsCalledWhenItIsTheOneItSays(t *testing.T) {
	t.Parallel()
	echo := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(append([]byte(r.Method+" "), body...))
	}
	h := open(t, echo)
	secure := httptest.NewTLSServer(http.HandlerFunc(echo))
	t.Cleanup(secure.Close)
	h.api.BaseURL = secure.URL
	h.store.setAPI(h.api)
	h.tell(change(h.api.ID))

	got := h.get("/cheap")
	got.want(t, 502, "BAD_GATEWAY") // its certificate is its own
	if strings.Contains(string(got.body), "certificate") {
		t.Errorf("the caller is told more than that the upstream failed: %s", got.body)
	}
	eventually(t, "the line is written", func() bool { return h.logs.FilterMessage("call").Len() == 1 })
	cause := fmt.Sprint(h.logs.FilterMessage("call").All()[0].ContextMap()["error"])
	if !strings.Contains(cause, "TLS handshake with "+secure.Listener.Addr().String()) || !strings.Contains(cause, "unknown authority") {
		t.Errorf("the log says %q", cause)
	}
	h.wantCharges()

	engine := newEngine(newGuard(t, "127.0.0.1"), 0)
	t.Cleanup(engine.CloseIdleConnections)
	engine.Other.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	h.gw.proxy.Transport = engine
	got = h.get("/cheap")
	got.want(t, 200, "")
	if string(got.body) != "GET " {
		t.Errorf("body %q", got.body)
	}
	got = h.do(h.request("POST", "/cheap", strings.NewReader("a body")))
	got.want(t, 200, "")
	if string(got.body) != "POST a body" {
		t.Errorf("body %q", got.body)
	}
	h.wantCharges("0.01", "0.01")
}
