package stellarprobe

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func serve(t *testing.T, h http.HandlerFunc) *url.URL {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestAnswersAreJudgedByWhatTheySay(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		make   func(*http.Client, *url.URL) Probe
		status int
		body   string
		well   bool
	}{
		{"a healthy RPC server", RPC, 200, `{"jsonrpc":"2.0","id":1,"result":{"status":"healthy","latestLedger":50}}`, true},
		{"an RPC error with status 200", RPC, 200, `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"data stores are not initialized"}}`, false},
		{"an RPC server that is not healthy", RPC, 200, `{"jsonrpc":"2.0","id":1,"result":{"status":"catching up"}}`, false},
		{"an RPC answer without a result", RPC, 200, `{}`, false},
		{"an RPC answer that is not JSON", RPC, 200, `<html>`, false},
		{"an RPC gateway error", RPC, 502, `{"jsonrpc":"2.0","id":1,"result":{"status":"healthy"}}`, false},
		{"a Horizon with ledgers", Horizon, 200, `{"history_latest_ledger":51234567}`, true},
		{"a Horizon without a ledger", Horizon, 200, `{"history_latest_ledger":0}`, false},
		{"some other web page", Horizon, 200, `hello`, false},
		{"a Horizon that is over its limit", Horizon, 429, `{"history_latest_ledger":51234567}`, false},
		{"an endless answer", Horizon, 200, strings.Repeat(" ", 10*maxAnswer) + `{"history_latest_ledger":1}`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := tc.make(http.DefaultClient, serve(t, answer(tc.status, tc.body)))(t.Context())
			if (err == nil) != tc.well || (err != nil && !errors.Is(err, ErrUnwell)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTheRequestsAreThoseOfTheProtocols(t *testing.T) {
	t.Parallel()
	rpc := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Version string `json:"jsonrpc"`
			Method  string `json:"method"`
			ID      int    `json:"id"`
		}
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || r.Method != "POST" || q.Version != "2.0" || q.Method != "getHealth" ||
			q.ID == 0 || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("asked by %s with %+v, %v", r.Method, q, err)
		}
		answer(200, `{"result":{"status":"healthy"}}`)(w, r)
	})
	horizon := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" || r.URL.Path != "/" {
			t.Errorf("asked by %s %s", r.Method, r.URL)
		}
		answer(200, `{"history_latest_ledger":1}`)(w, r)
	})
	for _, probe := range []Probe{RPC(http.DefaultClient, rpc), Horizon(http.DefaultClient, horizon)} {
		for range 2 { // a probe is asked again and again
			if err := probe(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestSilenceIsNotMistakenForAnAnswer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	silent := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // from here on the server notices when its client leaves
		cancel()
		<-r.Context().Done()
	})
	if err := RPC(http.DefaultClient, silent)(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnwell) {
		t.Errorf("a silent server: %v", err)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	u, err := url.Parse(gone.URL)
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	if err := Horizon(http.DefaultClient, u)(t.Context()); err == nil || errors.Is(err, ErrUnwell) {
		t.Errorf("a server that is gone: %v", err)
	}
	cut := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "{")
	})
	if err := Horizon(http.DefaultClient, cut)(t.Context()); err == nil || errors.Is(err, ErrUnwell) {
		t.Errorf("an answer that breaks off: %v", err)
	}
	if err := Horizon(http.DefaultClient, &url.URL{Scheme: "http", Host: "a b"})(t.Context()); err == nil {
		t.Error("a URL that is none was asked")
	}
}
