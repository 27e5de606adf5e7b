package pgserver

import (
	"os"
	"syscall"
)

// owner is the user the server runs as: on Windows always the present one.
type owner struct{}

func serverUser() *owner { return nil }

func (*owner) attributes() *syscall.SysProcAttr { return nil }

func (*owner) give(string) error { return nil }

func (*owner) reach(string) (*os.File, error) { return nil, nil }

const byHandle = ""

func cacheDir() (string, error) { return userCacheDir() }

// stopSignals has none that asks: the server recovers at its next start, as after a crash.
var stopSignals = []os.Signal{os.Kill}
