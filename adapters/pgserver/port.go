package pgserver

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports of servers are below those that systems give to outgoing connections: else a client could take the port while
// the server is down, and Restart would fail.
const (
	firstPort  = 20_000
	portRange  = 12_000
	portProbes = 100
)

func freePort() (int, error) {
	var err error
	for range portProbes {
		port := firstPort + rand.IntN(portRange)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}
