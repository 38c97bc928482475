//go:build unix

package up

import (
	"errors"
	"os"
	"syscall"
)

// canInherit: a lock is held as long as any process has the file open.
const canInherit = true

func tryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// alive reports whether there is such a process.
func alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
