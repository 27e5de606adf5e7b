package gateway

import (
	"net/http"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// proxied makes every call of a test go by httputil.ReverseProxy, with which calls that go by forward have all in common.
var proxied bool

// Every test holds both ways to make a call to its promise. No call, however it ended, leaves a goroutine behind.
func TestMain(m *testing.M) {
	status := m.Run()
	if proxied = true; status == 0 {
		println("and by httputil.ReverseProxy:")
		status = m.Run()
	}
	client.CloseIdleConnections()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if err := goleak.Find(); status == 0 && err != nil {
		println("goroutines are left:", err.Error())
		status = 1
	}
	os.Exit(status)
}
