package worker

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// systemAttempts are attempts by bare system calls.
func systemAttempts() map[string]func() error {
	call := func(number uintptr, args ...uintptr) func() error {
		return func() error {
			var a [3]uintptr
			copy(a[:], args)
			if _, _, errno := unix.Syscall(number, a[0], a[1], a[2]); errno != 0 {
				return errno
			}
			return nil
		}
	}
	return map[string]func() error{
		"a raw socket":       func() error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, 1); return err },
		"a local socket":     func() error { _, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err },
		"trace its parent":   call(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getppid())),
		"read its parent":    func() error { _, err := unix.ProcessVMReadv(os.Getppid(), nil, nil, 0); return err },
		"be privileged":      func() error { return unix.Setuid(0) },
		"lift a limit":       func() error { return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1}) },
		"mount":              func() error { return unix.Mount("none", "/", "tmpfs", 0, "") },
		"a namespace":        func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		"io_uring":           call(unix.SYS_IO_URING_SETUP, 1),
		"bpf":                call(unix.SYS_BPF, 0),
		"load a module":      call(unix.SYS_INIT_MODULE),
		"memory with a name": func() error { _, err := unix.MemfdCreate("x", 0); return err },
		"keys":               call(unix.SYS_KEYCTL, 0),
		"another process":    call(unix.SYS_CLONE, uintptr(unix.SIGCHLD)),
		"executable memory": func() error {
			_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
			return err
		},
		"signal another":       call(unix.SYS_TGKILL, uintptr(os.Getppid()), uintptr(os.Getppid())),
		"kill":                 call(unix.SYS_KILL, uintptr(os.Getppid())),
		"a file by its handle": call(unix.SYS_OPEN_BY_HANDLE_AT),
	}
}

// landlockOnly confines without the filter of system calls, to see that one
// wall stands without the other.
func landlockOnly() (confined, missing []string, err error) {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, nil, err
	}
	what, err := landlock()
	if err != nil {
		return nil, []string{what + " (" + err.Error() + ")"}, nil
	}
	return []string{what}, nil, nil
}
