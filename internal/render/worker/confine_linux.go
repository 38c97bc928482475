package worker

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confine takes from the process, for good, what rendering has no use for. It
// says what holds, and what this kernel or this build does not have. A limit
// that cannot be set is an error: every Linux has those.
func confine(memory int64) (confined, missing []string, err error) {
	if err := limit(dataBytes() + uint64(memory) + dataSlack); err != nil {
		return nil, nil, err
	}
	confined = append(confined, "limits")
	if err := closeInherited(); err != nil {
		return nil, nil, err
	}
	note := func(what string, err error) {
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s (%v)", what, err))
		} else {
			confined = append(confined, what)
		}
	}
	// Attributes of a thread: it must be this one to the end. Those that are
	// made from now on inherit them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, nil, fmt.Errorf("give up new privileges: %w", err)
	}
	what, err := landlock()
	note(what, err)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{}); err != nil {
		return nil, nil, fmt.Errorf("limit open files: %w", err)
	}
	note("seccomp", seccomp())
	return confined, missing, nil
}

// dataSlack is how much more data than the guard allows the kernel gives, in
// bytes: it catches what the guard is too slow for, and Go takes memory in
// pieces of 64 MiB.
const dataSlack = 192 << 20

// landlock denies all files, and what of the network it knows. The error tells
// why it does not.
func landlock() (string, error) {
	const name = "landlock"
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return name, errno
	}
	// The kernel refuses bits that it does not know: each version added some.
	attr := unix.LandlockRulesetAttr{Access_fs: unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1}
	size := unsafe.Sizeof(attr.Access_fs)
	if abi >= 2 {
		attr.Access_fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		attr.Access_fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 {
		attr.Access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		size += unsafe.Sizeof(attr.Access_net)
	}
	if abi >= 5 {
		attr.Access_fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return name, errno
	}
	defer unix.Close(int(fd))
	// Every thread must do this for itself.
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); errno != 0 {
		return name, fmt.Errorf("a build with cgo cannot: %w", errno)
	}
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return name, errno
	}
	return fmt.Sprintf("landlock %d", abi), nil
}

// closeInherited closes what the process got open from whoever started its
// parent, and files of the Go runtime that it needs no more. The pipes to the
// parent are 0 to 2; what has no name is what the runtime waits with.
func closeInherited() error {
	const dir = "/proc/self/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("find what is open: %w", err)
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= 2 {
			continue
		}
		target, err := os.Readlink(dir + e.Name())
		if err != nil || strings.HasPrefix(target, "anon_inode:[event") {
			continue
		}
		if err := unix.Close(fd); err != nil {
			return fmt.Errorf("close what is open: %w", err)
		}
	}
	return nil
}

// dataBytes is what RLIMIT_DATA counts so far.
func dataBytes() uint64 {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "VmData:" {
			if kib, err := strconv.ParseUint(fields[1], 10, 64); err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

// apart makes the child end with its parent, and keeps signals typed at a
// terminal from it.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// thisProgram is this program even after its file was replaced.
func thisProgram() (string, error) { return "/proc/self/exe", nil }

// usedCPU is the time that the process has computed.
func usedCPU() time.Duration {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
