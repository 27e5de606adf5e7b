package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/fx"
	"go.uber.org/zap"

	"github.com/CalloraOrg/callora-backend/adapters/system"
	"github.com/CalloraOrg/callora-backend/cmd/callora/config"
)

func TestTheGatewayGetsItsPathsUntouchedAndRestTheOthers(t *testing.T) {
	var who, saw string
	note := func(name string) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { who, saw = name, r.URL.EscapedPath()+"?"+r.URL.RawQuery })
	}
	h := dispatch(note("rest"), note("gateway"), &inFlight{})
	for target, want := range map[string]string{
		"/v1/call/weather/forecast?city=Quito": "gateway", "/v1/call/weather": "gateway", "/v1/call//a/%2e%2e/b%2Fc;d?": "gateway",
		"/v1/call/": "gateway", "/api/gateway/x": "gateway", "/v1/call": "rest", "/v1/callx": "rest", "/api/apis": "rest",
		"/v1/./call/weather": "rest", "/v1/%63all/weather": "rest", "//v1/call/weather": "rest", "/": "rest",
	} {
		r := httptest.NewRequest("GET", "http://x"+target, nil)
		h.ServeHTTP(httptest.NewRecorder(), r)
		if who != want {
			t.Errorf("%s went to %s", target, who)
		}
		if want == "gateway" && saw != r.URL.EscapedPath()+"?"+r.URL.RawQuery {
			t.Errorf("%s arrived as %s", target, saw)
		}
	}
}

func TestCallsInFlightAreWaitedForAndNotLongerThanAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, release := &inFlight{}, make(chan struct{})
		h := dispatch(http.NotFoundHandler(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }), calls)
		go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/v1/call/x", nil))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if calls.wait(ctx) {
			t.Error("a call in flight was not seen")
		}
		close(release)
		if !calls.wait(t.Context()) {
			t.Error("the end of a call was not seen")
		}
	})
}

func TestWhatIsNoRequestIsRefusedWithTheEnvelope(t *testing.T) {
	refused := make(chan int, 1)
	s, err := makeServer(http.NotFoundHandler(), zap.NewNop(), system.NewID, func(status int) { refused <- status })
	if err != nil {
		t.Fatal(err)
	}
	if err := s.open(t.Context(), "127.0.0.1", 0); err != nil {
		t.Fatal(err)
	}
	defer s.http.Close()
	c, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "NONSENSE\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || !strings.Contains(string(answer), `{"code":"MALFORMED_REQUEST",`) {
		t.Errorf("%q, %v", answer, err)
	}
	if status := <-refused; status != http.StatusBadRequest {
		t.Errorf("counted as %d", status)
	}
}

func TestTheWiringIsComplete(t *testing.T) {
	cfg, err := config.Parse(servingOn("postgres://me@db/callora"), config.Serving)
	if err != nil {
		t.Fatal(err)
	}
	if err := fx.ValidateApp(options(cfg, zap.NewNop(), pools{})); err != nil {
		t.Error(err)
	}
}
