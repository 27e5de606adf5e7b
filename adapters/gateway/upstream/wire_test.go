package upstream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// Whatever an upstream answers, it is what the standard transport makes of it.
func TestAnAnswerIsWhatTheStandardTransportMakesOfIt(t *testing.T) {
	t.Parallel()
	ways := ways()
	for name, raw := range map[string]string{
		"a known length":              "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-odd-CASE: v\r\n\r\nhello",
		"an empty body":               "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"chunks and trailers":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Sum: 9\r\n\r\n",
		"an end with the connection":  "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
		"HTTP/1.0":                    "HTTP/1.0 200 OK\r\n\r\nold",
		"HTTP/1.0 that keeps on":      "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
		"no content":                  "HTTP/1.1 204 No Content\r\n\r\n",
		"not modified":                "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\nContent-Length: 100\r\n\r\n",
		"interim answers":             "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\n1",
		"a 100 that nobody asked for": "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1",
		"gzip that is left alone":     "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
		"a status below 100":          "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
		"an odd status":               "HTTP/1.1 299 What\r\nContent-Length: 1\r\n\r\n1",
		"too short a body":            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nshort",
		"a broken chunk":              "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"chunks that break off":       "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		"two lengths":                 "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"no HTTP at all":              "220 smtp.example ready\r\n\r\n",
		"half a header":               "HTTP/1.1 200 OK\r\nContent-Le",
		"nothing":                     "",
		"too large a header":          "HTTP/1.1 200 OK\r\nX-Long: " + long + "\r\nContent-Length: 0\r\n\r\n",
		"a header with an odd letter": "HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 0\r\n\r\n",
	} {
		for _, way := range []string{
			"GET/plain", "HEAD/plain", "POST 1000/plain", "PUT 65000/plain", "GET/TLS 1.2", "POST 1000/TLS 1.2", "HEAD/TLS 1.3", "PUT 65000/TLS 1.3",
		} {
			call, way, _ := strings.Cut(way, "/")
			t.Run(name+", "+call+", "+way, func(t *testing.T) {
				t.Parallel()
				s := serveOver(t, ways[way], func(nc net.Conn, r *http.Request, _ int) bool {
					_, _ = io.Copy(io.Discard, r.Body)
					sent := raw
					if last := max(strings.LastIndex(raw, "HTTP/1"), 0); r.Method == "HEAD" {
						head, body, _ := strings.Cut(raw[last:], "\r\n\r\n")
						sent = raw[:last] + head + raw[last+len(head):len(raw)-len(body)]
					}
					_, _ = io.WriteString(nc, sent)
					return false
				})
				tr := newTransport(t)
				got, gotBody, gotErr := s.call(t, tr, call)
				want, wantBody, wantErr := s.call(t, tr.Other, call)
				if (gotErr == nil) != (wantErr == nil) || errors.Is(gotErr, io.ErrUnexpectedEOF) != errors.Is(wantErr, io.ErrUnexpectedEOF) && want != nil {
					t.Fatalf("error %v; want one like %v", gotErr, wantErr)
				}
				if gotBody != wantBody {
					t.Errorf("body %q; want %q", gotBody, wantBody)
				}
				if (got == nil) != (want == nil) {
					t.Fatalf("answer %v; want %v", got, want)
				}
				if got == nil {
					return
				}
				type shown struct {
					Status          string
					Major, Minor    int
					Header, Trailer http.Header
					Length          int64
					Coding          []string
				}
				of := func(r *http.Response) shown {
					return shown{r.Status, r.ProtoMajor, r.ProtoMinor, r.Header, r.Trailer, r.ContentLength, r.TransferEncoding}
				}
				if !reflect.DeepEqual(of(got), of(want)) {
					t.Errorf("got\n%+v\nwant\n%+v", of(got), of(want))
				}
			})
		}
	}
}

// Whatever is sent, it is to the byte what the standard transport sends.
func TestARequestIsWhatTheStandardTransportMakesOfIt(t *testing.T) {
	t.Parallel()
	ways := ways()
	for name, tt := range map[string]struct {
		call   string
		change func(r *http.Request)
	}{
		"plain": {"GET", func(*http.Request) {}},
		"headers": {"GET", func(r *http.Request) {
			r.Header = http.Header{"Accept": {"a", "b"}, "User-Agent": {"me"}, "X-Empty": {""}, "odd-CASE": {"v"}, "Accept-Encoding": {"br"}}
		}},
		"no user agent":         {"GET", func(r *http.Request) { r.Header["User-Agent"] = nil }},
		"an empty user agent":   {"GET", func(r *http.Request) { r.Header["User-Agent"] = []string{""} }},
		"a padded user agent":   {"GET", func(r *http.Request) { r.Header["User-Agent"] = []string{"\tme too "} }},
		"another host":          {"GET", func(r *http.Request) { r.Host = "api.example" }},
		"a host that is not":    {"GET", func(r *http.Request) { r.Host = "api example\r\nX: y" }},
		"no host but the URL's": {"GET", func(r *http.Request) { r.Host = "" }},
		"a path as written": {"GET", func(r *http.Request) {
			r.URL = &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Opaque: "/a%2Fb/../c", RawQuery: "q=%zz"}
		}},
		"HEAD":                  {"HEAD", func(*http.Request) {}},
		"DELETE":                {"DELETE", func(*http.Request) {}},
		"OPTIONS":               {"OPTIONS", func(*http.Request) {}},
		"POST without a body":   {"POST", func(*http.Request) {}},
		"PUT with none":         {"PUT", func(r *http.Request) { r.Body = http.NoBody }},
		"PATCH without a body":  {"PATCH", func(*http.Request) {}},
		"any other without one": {"M-SEARCH", func(*http.Request) {}},
		"a byte":                {"POST 1", func(r *http.Request) { r.Header["Content-Length"] = []string{"7"} }},
		"GET with a body":       {"GET 10", func(*http.Request) {}},
		"DELETE with a body":    {"DELETE 10", func(*http.Request) {}},
		"a kilobyte":            {"POST 1000", func(r *http.Request) { r.Header["Content-Type"] = []string{"application/json"} }},
		"a large body":          {"PUT 65536", func(*http.Request) {}},
		"a larger one":          {"PUT 65537", func(*http.Request) {}},
		"a body in pieces": {"POST 4000", func(r *http.Request) {
			r.Body = io.NopCloser(iotest.DataErrReader(iotest.OneByteReader(r.Body)))
		}},
		"a body that is to come": {"POST 1000", func(r *http.Request) { r.Body = later{r.Body} }},
		"an unknown length":      {"POST 1000", func(r *http.Request) { r.ContentLength = -1 }},
	} {
		for way, config := range ways {
			t.Run(name+", "+way, func(t *testing.T) {
				t.Parallel()
				s := serveOver(t, config, func(nc net.Conn, r *http.Request, _ int) bool {
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(nc, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
					return false
				})
				tr := newTransport(t)
				var sent []string
				for _, rt := range []http.RoundTripper{tr, tr.Other} {
					r := s.request(t, t.Context(), tt.call)
					tt.change(r)
					if _, err := rt.RoundTrip(r); err != nil {
						t.Fatal(err)
					}
					sent = append(sent, s.took())
				}
				if sent[0] != sent[1] {
					t.Errorf("sent\n%.300q; want\n%.300q", sent[0], sent[1])
				}
			})
		}
	}
}

func TestInterimAnswersAreTold(t *testing.T) {
	t.Parallel()
	s := answers(t, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
	var heard []string
	enough := errors.New("enough")
	for _, answer := range []error{nil, enough} {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			heard = append(heard, fmt.Sprint(code, " ", h.Get("Link")))
			return answer
		}})
		if _, err := newTransport(t).RoundTrip(s.request(t, ctx, "GET")); !errors.Is(err, answer) {
			t.Errorf("error %v; want %v", err, answer)
		}
	}
	if want := []string{"103 </a.css>", "103 </a.css>"}; !reflect.DeepEqual(heard, want) {
		t.Errorf("heard %q; want %q", heard, want)
	}
}

func TestAnswersThatNobodyCouldPassOnAreErrors(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]error{
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n": errSwitched,
	} {
		if _, _, err := answers(t, raw).call(t, newTransport(t), "GET"); !errors.Is(err, want) {
			t.Errorf("%.16q: error %v; want %v", raw, err, want)
		}
	}
}

func TestOnlySimpleCallsAreOurOwn(t *testing.T) {
	t.Parallel()
	plain := func(change func(r *http.Request)) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://api.example/", nil)
		if err != nil {
			t.Fatal(err)
		}
		change(r)
		return r
	}
	body := func(n int64) func(r *http.Request) {
		return func(r *http.Request) {
			r.Method, r.ContentLength, r.Body = "POST", n, io.NopCloser(strings.NewReader("x"))
		}
	}
	for name, change := range map[string]func(r *http.Request){
		"TLS": func(r *http.Request) { r.URL.Scheme = "https" }, "a GET": func(*http.Request) {}, "no body": func(r *http.Request) { r.Body = http.NoBody },
		"a POST without one": func(r *http.Request) { r.Method = "POST" }, "the largest body": body(mostBody),
	} {
		if !lean(plain(change)) {
			t.Errorf("%s is not our own", name)
		}
	}
	for name, change := range map[string]func(r *http.Request){
		"another scheme":        func(r *http.Request) { r.URL.Scheme = "ftp" },
		"too long a body":       body(mostBody + 1),
		"an unknown length":     body(-1),
		"a length of none":      func(r *http.Request) { r.ContentLength = 1 },
		"a tunnel":              func(r *http.Request) { r.Method = "CONNECT" },
		"a method in two lines": func(r *http.Request) { r.Method = "GET\r" },
		"no host":               func(r *http.Request) { r.URL.Host = "" },
		"an odd Host":           func(r *http.Request) { r.Host = "a b" },
		"a zone":                func(r *http.Request) { r.Host = "[fe80::1%25eth0]" },
		"trailers":              func(r *http.Request) { r.Trailer = http.Header{"X": nil} },
		"a connection to close": func(r *http.Request) { r.Close = true },
		"an upgrade":            func(r *http.Request) { r.Header["Upgrade"] = []string{"websocket"} },
		"an expectation":        func(r *http.Request) { r.Header["Expect"] = []string{"100-continue"} },
		"hop-by-hop options":    func(r *http.Request) { r.Header["Connection"] = []string{"close"} },
		"a coding":              func(r *http.Request) { r.TransferEncoding = []string{"chunked"} },
		"an international name": func(r *http.Request) { r.URL.Host = "bücher.example" },
	} {
		if lean(plain(change)) {
			t.Errorf("a call with %s is our own", name)
		}
	}
}
