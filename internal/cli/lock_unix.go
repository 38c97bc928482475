//go:build unix

package cli

import (
	"os"
	"syscall"
)

// tryLock takes the lock that is a file, unless another process has it. It is
// given back when the process ends, however it does.
func tryLock(path string) (unlock func(), ok bool) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, false
	}
	return func() { file.Close() }, true
}
