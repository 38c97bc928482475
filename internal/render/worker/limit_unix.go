//go:build unix

package worker

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// limit bounds the data of the process, in bytes, and lets it write no files
// and dump no core, which would hold what it renders.
func limit(data uint64) error {
	for _, l := range []struct {
		what     string
		resource int
		most     uint64
	}{{"core dumps", unix.RLIMIT_CORE, 0}, {"file sizes", unix.RLIMIT_FSIZE, 0}, {"data", unix.RLIMIT_DATA, data}} {
		var now unix.Rlimit
		if err := unix.Getrlimit(l.resource, &now); err != nil {
			return fmt.Errorf("limit %s: %w", l.what, err)
		}
		wanted := now
		wanted.Max = min(now.Max, l.most)
		wanted.Cur = min(now.Cur, wanted.Max)
		if err := unix.Setrlimit(l.resource, &wanted); err != nil {
			return fmt.Errorf("limit %s: %w", l.what, err)
		}
	}
	return nil
}
