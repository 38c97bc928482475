//go:build !unix

package sandbox

import "syscall"

func ownProcessGroup() *syscall.SysProcAttr { return nil }
