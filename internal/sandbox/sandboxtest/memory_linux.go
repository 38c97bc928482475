package sandboxtest

import (
	"os"
	"syscall"
)

// roomForClusters is what /dev/shm must have free to be used, in bytes. A
// cluster takes about 40 MB; containers often have no more than 64.
const roomForClusters = 512 << 20

// memory is a directory that is not on a disk, or else the usual one.
func memory() string {
	const dir = "/dev/shm"
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < roomForClusters {
		return os.TempDir()
	}
	return dir
}
