//go:build !unix

package worker

import (
	"os"
	"syscall"
	"time"
)

func confine(int64) (confined, missing []string, err error) {
	return nil, []string{"this system confines nothing; memory and time are watched by the process itself"}, nil
}

func apart() *syscall.SysProcAttr { return nil }

func thisProgram() (string, error) { return os.Executable() }

func usedCPU() time.Duration { return 0 }
