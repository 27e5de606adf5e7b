package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
)

// The proxy clears the header after an interim answer; what we and outer layers have set is not the interim answer's.
func TestAnInterimAnswerTakesNothingFromTheAnswer(t *testing.T) {
	t.Parallel()
	h := open(t, func(w http.ResponseWriter, _ *http.Request) {
		for _, link := range []string{"</a.css>", "</b.css>"} {
			w.Header().Set("Link", link)
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.Header().Del("Link")
	}, func(c *Config, _ *Deps) { c.RatePerMinute = 100 })
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Outer", "1")
		h.gw.ServeHTTP(w, r)
	}))
	defer outer.Close()
	var links []string
	r := h.request("GET", "/cheap", nil)
	r.URL.Host = strings.TrimPrefix(outer.URL, "http://")
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, got textproto.MIMEHeader) error {
		links = append(links, got.Get("Link"))
		if len(got) != 1 {
			t.Errorf("interim header %v", got)
		}
		return nil
	}}))
	got := h.do(r)
	if !slices.Equal(links, []string{"</a.css>", "</b.css>"}) || got.Header.Get("Link") != "" {
		t.Errorf("interim links %v, then %v", links, got.Header)
	}
	if got.Header.Get("X-Request-Id") == "" || got.Header.Get("X-Ratelimit-Limit") != "100" || got.Header.Get("X-Outer") != "1" {
		t.Errorf("header %v", got.Header)
	}
}

func TestADeadlineOfAnEarlierRequestDoesNotCutAnAnswer(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(-time.Second)) // as the REST API leaves one, much later
		h.gw.ServeHTTP(w, r)
	}))
	defer outer.Close()
	for _, path := range []string{"/cheap", "/cheap;"} { // an answer, and a refusal
		r := h.request("GET", path, nil)
		r.URL.Host = strings.TrimPrefix(outer.URL, "http://")
		if got := h.do(r); got.err != nil || len(got.body) == 0 {
			t.Errorf("%s: %d %q, %v", path, got.StatusCode, got.body, got.err)
		}
	}
}

func TestOddBytesOfAPathAreForwardedAsWritten(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	for _, path := range []string{`/items/a|b^"<>{}`, "/items/caf\u00e9", "/items/%C3%A9%7c|", "/items/[1]"} {
		_, in := h.raw("GET /v1/call/weather" + path + "?q=\u00e9|%zz HTTP/1.0\r\nX-Api-Key: " + h.key + "\r\n\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(res.Body); string(body) != "GET /base"+path+"?q=\u00e9|%zz " || res.Header.Get("X-Callora-Charge") != "0.0200000" {
			t.Errorf("%s is forwarded as %s for %s", path, body, res.Header.Get("X-Callora-Charge"))
		}
	}
}

func TestHeadersThatWouldMakeItAnotherCallAreDropped(t *testing.T) {
	t.Parallel()
	var got http.Header
	h := open(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	r := h.request("GET", "/cheap", nil)
	for _, name := range []string{"X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "X-Method-Override", "X-Client-Ip", "X-Forwarded-Port"} {
		r.Header.Set(name, "/expensive")
	}
	r.Header["Authorization"] = []string{"Basic dTpw", "Bearer " + h.key}
	h.do(r).want(t, 200, "")
	delete(got, "User-Agent")
	if len(got) != 1 || got.Get("X-Request-Id") == "" {
		t.Errorf("the upstream got %v", got)
	}
}

func TestTrailersOfARequestPass(t *testing.T) {
	t.Parallel()
	var got http.Header
	h := open(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got = r.Trailer
	})
	_, in := h.raw("POST /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key +
		"\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 7\r\n\r\n")
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 200 || got.Get("X-Sum") != "7" {
		t.Errorf("%v, %v, trailer %v", res, err, got)
	}
}

// For a caller of HTTP/1.0 the connection's end is the answer's end: the last byte must wait for the charge.
func TestAnUnchargedAnswerIsNotCompleteForHTTP10(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	h := open(t, func(w http.ResponseWriter, _ *http.Request) {
		for _, piece := range []string{"one ", "", "two ", "three"} {
			fmt.Fprint(w, piece)
			w.(http.Flusher).Flush()
		}
		<-end
	})
	read := func() string {
		_, in := h.raw("GET /v1/call/weather/cheap HTTP/1.0\r\nX-Api-Key: " + h.key + "\r\n\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		most := make([]byte, len("one two thre"))
		if _, err := io.ReadFull(res.Body, most); err != nil {
			t.Fatal(err)
		}
		end <- struct{}{}
		rest, _ := io.ReadAll(res.Body)
		return string(most) + string(rest)
	}
	if got := read(); got != "one two three" {
		t.Errorf("got %q", got)
	}
	h.ledger.refuses(true)
	if got := read(); got != "one two thre" {
		t.Errorf("without a charge: %q", got)
	}
	h.wantCharges("0.01")
}

func TestAPIsMayTradeTheirSlugs(t *testing.T) {
	t.Parallel()
	h := open(t, echo)
	other := listing.API{ID: newID(), Slug: "other", BaseURL: h.upstream.URL + "/other", Status: listing.Active,
		Endpoints: []listing.Endpoint{{ID: newID(), Method: "*", Path: "*", Price: money.MustParse("1")}}}
	h.store.setAPI(other)
	h.tell(change(other.ID))
	for range 2 {
		h.api.Slug, other.Slug = other.Slug, h.api.Slug
		h.store.setAPI(h.api)
		h.store.setAPI(other)
		h.tell(change(other.ID), change(h.api.ID))
		eventually(t, "both are found", func() bool {
			a, b := h.gw.table.Find(h.api.Slug), h.gw.table.Find(other.Slug)
			return a != nil && b != nil && a.ID == h.api.ID && b.ID == other.ID
		})
	}
}

func TestABodyThatIsHeldBackIsWholeInTheEnd(t *testing.T) {
	t.Parallel()
	text := bytes.Repeat([]byte("0123456789"), 100)
	for _, size := range []int{2, 3, 7, 64, 4096} {
		l := &lastByte{ReadCloser: io.NopCloser(bytes.NewReader(text))}
		var got []byte
		buf := make([]byte, size)
		for {
			n, err := l.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				break
			}
		}
		if !bytes.Equal(got, text) {
			t.Errorf("in pieces of %d: %d bytes", size, len(got))
		}
	}
	if _, err := (&lastByte{}).Read(make([]byte, 1)); err != io.ErrShortBuffer {
		t.Error(err)
	}
}
