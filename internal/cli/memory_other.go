//go:build !linux

package cli

import "runtime/debug"

// returnMemory gives back what only the start of the process needed.
func returnMemory() { debug.FreeOSMemory() }

// fileMemory is how many bytes of files are in memory for this process; here
// nobody knows.
func fileMemory() int { return 0 }
