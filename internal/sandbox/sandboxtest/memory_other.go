//go:build !linux

package sandboxtest

import "os"

// memory is a directory that is not on a disk, or else the usual one.
func memory() string { return os.TempDir() }
