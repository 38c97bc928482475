//go:build !linux

package cli

import "runtime/debug"

// returnMemory gives back what only the start of the process needed.
func returnMemory() { debug.FreeOSMemory() }
