//go:build !linux

package postgres

import "syscall"

// endUnheard has nothing to set here; keep-alive and the contexts' ends remain.
func endUnheard(string, string, syscall.RawConn) error { return nil }
