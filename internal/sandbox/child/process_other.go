//go:build !unix

package child

import "syscall"

func ownProcessGroup() *syscall.SysProcAttr { return nil }
