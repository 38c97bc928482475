//go:build unix && !linux

package worker

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// confine sets the limits that this system has; nothing else of it can take
// files and network from a process.
func confine(memory int64) (confined, missing []string, err error) {
	if err := limit(uint64(memory) + 512<<20); err != nil {
		return nil, nil, err
	}
	return []string{"limits"}, []string{"this system cannot take files and network from a process"}, nil
}

// apart keeps signals typed at a terminal from the child.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func thisProgram() (string, error) { return os.Executable() }

// usedCPU is the time that the process has computed.
func usedCPU() time.Duration {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
