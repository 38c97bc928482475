//go:build linux && !amd64 && !arm64

package worker

import "errors"

func seccomp() error { return errors.New("no filter was written for this architecture") }
