//go:build unix

package demo

import (
	"errors"
	"os"
	"syscall"
)

const canLock = true

// lockFile takes the file's lock, which ends with the process whatever ends the process. It reports false when another
// process has it.
func lockFile(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
