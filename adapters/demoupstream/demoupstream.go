// Package demoupstream is the seller's side of the demo: one HTTP server that plays the upstreams of all its APIs, with an
// answer of every kind a gateway has to carry.
package demoupstream

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The base paths of the three APIs.
const (
	Weather = "/weather"
	Data    = "/data"
	Echo    = "/echo"
)

// Limits of what a caller may ask for.
const (
	mostWait   = time.Minute
	mostEvents = 1000
	mostMB     = 1024
	mostEcho   = 1 << 20
)

// Handler serves the demo's upstreams:
//
//	GET /weather/forecast         JSON; ?city=
//	GET /weather/forecast/{city}  the same
//	GET /weather/stream           server-sent events; ?events= (5) &interval_ms= (500)
//	GET /data/export              a large download of known length; ?mb= (16)
//	GET /data/fail                an error; ?status= (500)
//	GET /data/slow                JSON after a while; ?ms= (2000)
//	any /echo/...                 what arrived, as JSON
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Weather+"/forecast", func(w http.ResponseWriter, r *http.Request) {
		city := r.URL.Query().Get("city")
		if city == "" {
			city = "Lagos"
		}
		forecast(w, city)
	})
	mux.HandleFunc("GET "+Weather+"/forecast/{city}", func(w http.ResponseWriter, r *http.Request) { forecast(w, r.PathValue("city")) })
	mux.HandleFunc("GET "+Weather+"/stream", stream)
	mux.HandleFunc("GET "+Data+"/export", export)
	mux.HandleFunc("GET "+Data+"/fail", fail)
	mux.HandleFunc("GET "+Data+"/slow", slow)
	mux.HandleFunc(Echo+"/", echo)
	return mux
}

func forecast(w http.ResponseWriter, city string) {
	answer(w, http.StatusOK, map[string]any{
		"city": city, "summary": "sunny spells", "temperature_c": 24, "wind_kmh": 11,
		"days": []map[string]any{{"day": 1, "high_c": 27, "low_c": 19}, {"day": 2, "high_c": 25, "low_c": 18}},
	})
}

func stream(w http.ResponseWriter, r *http.Request) {
	events := number(r, "events", 5, mostEvents)
	pause := time.Duration(number(r, "interval_ms", 500, int(mostWait/time.Millisecond))) * time.Millisecond
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w)
	for n := 1; n <= events; n++ {
		if n > 1 && !wait(r, pause) {
			return
		}
		if _, err := fmt.Fprintf(w, "id: %d\nevent: reading\ndata: {\"temperature_c\":%d}\n\n", n, 20+n%7); err != nil {
			return
		}
		if err := flush.Flush(); err != nil {
			return
		}
	}
}

func export(w http.ResponseWriter, r *http.Request) {
	const line = "2026-01-01T00:00:00Z,station-07,24.1,1013.2,0.00,11.4,NNE,ok...\n" // 64 bytes
	lines := int64(number(r, "mb", 16, mostMB)) << 20 / int64(len(line))
	w.Header().Set("Content-Type", "text/csv")
	w.Header().Set("Content-Length", strconv.FormatInt(lines*int64(len(line)), 10))
	const perWrite = 512 // 32 KiB
	block := strings.Repeat(line, perWrite)
	for ; lines > 0; lines -= perWrite {
		if _, err := io.WriteString(w, block); err != nil {
			return
		}
	}
}

func fail(w http.ResponseWriter, r *http.Request) {
	status := number(r, "status", http.StatusInternalServerError, 599)
	answer(w, max(status, 400), map[string]any{"error": "the demo's upstream fails on purpose"})
}

func slow(w http.ResponseWriter, r *http.Request) {
	ms := number(r, "ms", 2000, int(mostWait/time.Millisecond))
	if wait(r, time.Duration(ms)*time.Millisecond) {
		answer(w, http.StatusOK, map[string]any{"waited_ms": ms})
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostEcho))
	if err != nil {
		answer(w, http.StatusRequestEntityTooLarge, map[string]any{"error": "the body is too large to echo"})
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"method": r.Method, "path": r.URL.EscapedPath(), "query": r.URL.RawQuery, "headers": r.Header, "body": string(body),
	})
}

// number reads a whole number from the query, within 0 and most.
func number(r *http.Request, name string, otherwise, most int) int {
	n, err := strconv.Atoi(r.URL.Query().Get(name))
	if err != nil {
		return otherwise
	}
	return min(max(n, 0), most)
}

// wait reports false when the caller left.
func wait(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller may have left; there is nobody else to tell
}
