package pgserver

import "os"

// killAll kills the server; its sessions end when they notice.
func killAll(server *os.Process) error { return server.Kill() }
