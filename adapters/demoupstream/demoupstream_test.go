package demoupstream

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func ask(t *testing.T, method, path, body string) (*http.Response, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
	res := rec.Result()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(text)
}

func TestEveryKindOfAnswer(t *testing.T) {
	for _, tc := range []struct {
		name, method, path string
		status             int
		want               string
	}{
		{"a forecast", "GET", "/weather/forecast", 200, `"city":"Lagos"`},
		{"a forecast for a city", "GET", "/weather/forecast?city=Quito", 200, `"city":"Quito"`},
		{"a city in the path", "GET", "/weather/forecast/S%C3%A3o%20Paulo", 200, `"city":"São Paulo"`},
		{"a stream", "GET", "/weather/stream?events=3&interval_ms=0", 200, "id: 3\nevent: reading\n"},
		{"a failure", "GET", "/data/fail", 500, "on purpose"},
		{"a chosen failure", "GET", "/data/fail?status=404", 404, "on purpose"},
		{"a failure is never a success", "GET", "/data/fail?status=200", 400, "on purpose"},
		{"a slow answer", "GET", "/data/slow?ms=1", 200, `"waited_ms":1`},
		{"an echo", "PATCH", "/echo/a%2Fb?x=1", 200, `"path":"/echo/a%2Fb"`},
		{"nothing there", "GET", "/weather/tides", 404, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, text := ask(t, tc.method, tc.path, "")
			if res.StatusCode != tc.status || !strings.Contains(text, tc.want) {
				t.Errorf("got %d %s", res.StatusCode, text)
			}
		})
	}
}

func TestTheDownloadHasTheLengthItStates(t *testing.T) {
	res, text := ask(t, "GET", "/data/export?mb=3", "")
	if len(text) != 3<<20 || res.Header.Get("Content-Length") != "3145728" {
		t.Errorf("%d bytes, stated %s", len(text), res.Header.Get("Content-Length"))
	}
}

func TestTheEchoTellsWhatArrived(t *testing.T) {
	_, text := ask(t, "POST", "/echo/x", "hello")
	var got struct{ Method, Body string }
	if err := json.Unmarshal([]byte(text), &got); err != nil || got.Method != "POST" || got.Body != "hello" {
		t.Errorf("got %s, %v", text, err)
	}
	if res, _ := ask(t, "POST", "/echo/x", strings.Repeat("x", mostEcho+1)); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body too large: got %d", res.StatusCode)
	}
}

func TestACallerWhoLeavesEndsTheWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, path := range []string{"/data/slow?ms=60000", "/weather/stream?events=2&interval_ms=60000"} {
		Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", path, nil))
	}
}

// broken is a caller whose connection is gone.
type broken struct{ http.ResponseWriter }

func (broken) Header() http.Header       { return http.Header{} }
func (broken) WriteHeader(int)           {}
func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestABrokenConnectionEndsTheAnswer(t *testing.T) {
	for _, path := range []string{"/data/export?mb=1024", "/weather/stream?events=1000&interval_ms=60000"} {
		Handler().ServeHTTP(broken{}, httptest.NewRequest("GET", path, nil))
	}
}
