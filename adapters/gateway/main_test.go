package gateway

import (
	"net/http"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// No call, however it ended, leaves a goroutine behind.
func TestMain(m *testing.M) {
	status := m.Run()
	client.CloseIdleConnections()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if err := goleak.Find(); status == 0 && err != nil {
		println("goroutines are left:", err.Error())
		status = 1
	}
	os.Exit(status)
}
