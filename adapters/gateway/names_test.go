package gateway

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
)

// arriving is a fixture whose upstream tells what header and trailer have come to it.
func arriving(t *testing.T) (*fixture, chan [2]http.Header) {
	seen := make(chan [2]http.Header, 1)
	return open(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen <- [2]http.Header{r.Header, r.Trailer}
	}), seen
}

// Upstreams read _ and other bytes in a field's name as -, so that a twin of a field that is removed would act as that field.
func TestTwinsOfRemovedFieldsAreRemovedToo(t *testing.T) {
	t.Parallel()
	h, seen := arriving(t)
	for _, name := range []string{
		"X_Api_Key", "X-Api_Key", "x.api.key", "X_User_Id", "x-user_id", "x.user.id", "X!User!Id", "X_Request_Id", "X_Callora_Charge",
		"X-HTTP_Method-Override", "X_HTTP_METHOD_OVERRIDE", "X_Http_Method", "X_Method_Override", "X_Original_Url", "X-Original_URL", "X_Rewrite_Url",
		"X_Forwarded_For", "X-Forwarded_For", "X_FORWARDED_HOST", "x.forwarded.proto", "X_Real_Ip", "True_Client_Ip", "CF_Connecting_IP",
		"Transfer_Encoding", "Content_Length", "Proxy_Authorization", "Proxy", "X-Original-Method",
	} {
		_, in := h.raw("GET /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key + "\r\n" + name + ": /expensive\r\nX_Own: mine\r\n\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: %v, %v", name, res, err)
		}
		got := (<-seen)[0]
		for n, values := range got {
			if strings.Contains(strings.Join(values, ""), "/expensive") {
				t.Errorf("%s came to the upstream as %s", name, n)
			}
		}
		if got.Get("X_Own") != "mine" {
			t.Errorf("a name of the upstream's own is gone: %v", got)
		}
	}
}

func TestATrailerMayNotSayWhatAHeaderMayNot(t *testing.T) {
	t.Parallel()
	h, seen := arriving(t)
	_, in := h.raw("POST /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + h.key +
		"\r\nTrailer: X-Sum, X-User-Id, X_Forwarded_For\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" +
		"X-Sum: 7\r\nX-User-Id: other\r\nX-Api-Key: " + h.key + "\r\nX_Forwarded_For: 1.1.1.1\r\nX-Http-Method-Override: DELETE\r\nAuthorization: Basic dTpw\r\n" +
		"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: y\r\nCookie: a=b\r\nContent_Length: 5\r\nX-Leak: key " + h.key + "\r\n\r\n")
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%v, %v", res, err)
	}
	if got := (<-seen)[1]; len(got) != 1 || got.Get("X-Sum") != "7" {
		t.Errorf("the upstream got the trailer %v", got)
	}
}

func TestTheKeysTextReachesTheUpstreamInNoField(t *testing.T) {
	t.Parallel()
	h, seen := arriving(t)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(h.key+":"))
	for _, fields := range []string{
		"X-Api-Key: " + h.key + "\r\nX-Api-Key: " + h.key, "X-Api-Key: " + h.key + "\r\nAuthorization: Bearer " + h.key,
		"X-Api-Key: " + h.key + "\r\nAuthorization: " + h.key, "X-Api-Key: " + h.key + "\r\nAuthorization: Token token=" + h.key,
		"X-Api-Key: " + h.key + "\r\nAuthorization: " + basic, "X-Api-Key: " + h.key + "\r\nCookie: a=b; key=" + h.key,
		"X-Api-Key: " + h.key + "\r\nApi-Key: " + h.key, "X-Api-Key: " + h.key + "\r\nReferer: https://x/?key=" + h.key,
		"X-Api-Key: " + h.key + "\r\nX-Note: fine\r\nX-Note: %63" + h.key[1:], "Authorization: Bearer " + h.key + "\r\nX_API_KEY: " + h.key,
		"Authorization: Bearer " + h.key + "\r\nKey: " + h.key,
	} {
		_, in := h.raw("GET /v1/call/weather/cheap HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: %v, %v", fields, res, err)
		}
		got := (<-seen)[0]
		if text := fmt.Sprint(got); strings.Contains(text, h.key[1:]) || strings.Contains(text, basic) {
			t.Errorf("%s: the upstream got %v", fields, got)
		}
		if strings.Contains(fields, "fine") && got.Get("X-Note") != "fine" {
			t.Errorf("what is no key is gone: %v", got)
		}
	}
}

func TestTheKeyInAURLIsRefused(t *testing.T) {
	t.Parallel()
	h := open(t, func(http.ResponseWriter, *http.Request) { t.Error("it was forwarded") })
	for _, path := range []string{"/cheap?key=" + h.key, "/cheap?a=b&k=%63" + h.key[1:] + "&c=%zz", "/items/" + h.key} {
		got := h.do(h.request("GET", path, nil))
		got.want(t, 400, "API_KEY_IN_URL")
		if strings.Contains(string(got.body), h.key) {
			t.Errorf("%s", got.body)
		}
	}
	h.wantCharges()
}

// Neither an interim answer nor a trailer of an upstream says what only we may say, on any way out.
func TestAnUpstreamSpeaksNowhereInOurName(t *testing.T) {
	t.Parallel()
	said := []string{"X-Callora-Charge", "X-Request-Id", "Idempotent-Replayed", "X-Ratelimit-Remaining", "X_Callora_Charge"}
	serve := func(w http.ResponseWriter, r *http.Request) {
		for _, name := range said {
			w.Header().Set(name, "forged")
		}
		w.Header().Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "X-Sum, X-Request-Id")
		status := 200
		if r.URL.Query().Has("fails") {
			status = 500
		}
		w.WriteHeader(status)
		w.(http.Flusher).Flush()
		for _, name := range said {
			w.Header().Set(http.TrailerPrefix+name, "forged")
		}
		w.Header().Set("X-Request-Id", "forged")
		w.Header().Set("X-Sum", "7")
	}
	for _, secure := range []bool{false, true} {
		h := open(t, serve, func(c *Config, _ *Deps) { c.RatePerMinute = 100 })
		if secure {
			h.overTLS(serve)
		}
		for _, path := range []string{"/cheap", "/cheap?fails"} {
			for _, method := range []string{"GET", "POST"} {
				r := h.request(method, path, nil)
				hints := 0
				r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, got textproto.MIMEHeader) error {
					hints++
					if len(got) != 1 || got.Get("Link") != "</a>" {
						t.Errorf("an interim answer says %v", got)
					}
					return nil
				}}))
				got := h.do(r)
				if text := fmt.Sprint(got.Header, got.Trailer); strings.Contains(text, "forged") || got.Trailer.Get("X-Sum") != "7" || hints != 1 {
					t.Errorf("TLS %v, %s %s: %d hints, %s", secure, method, path, hints, text)
				}
			}
		}
	}
}
