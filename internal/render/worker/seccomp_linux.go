//go:build linux && (amd64 || arm64)

package worker

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// allowed are the system calls that are left: memory, threads, the clock, and
// the files that are open already, which are the pipes to the parent. All
// others fail as forbidden; the Go runtime lives with that where it tries one.
var allowed = []uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_CLOSE,
	unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MREMAP, unix.SYS_BRK, unix.SYS_MINCORE,
	unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_MEMBARRIER,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_GETTID, unix.SYS_GETPID,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY,
	unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_CTL,
	unix.SYS_GETRANDOM, unix.SYS_GETRUSAGE,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

// Offsets in what a filter sees: struct seccomp_data.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArg0   = 16
	offsetArg2   = 32
)

// seccomp puts all threads under a filter of system calls.
func seccomp() error {
	filter := seccompFilter(uint32(os.Getpid()))
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	if thread != 0 {
		return errors.New("a thread has a filter of its own")
	}
	return nil
}

func seccompFilter(pid uint32) []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		least = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		some  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		end   = unix.BPF_RET | unix.BPF_K

		allow = unix.SECCOMP_RET_ALLOW
		kill  = unix.SECCOMP_RET_KILL_PROCESS
		deny  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		lack  = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	)
	f := []unix.SockFilter{
		{Code: load, K: offsetArch},
		{Code: equal, Jt: 1, K: auditArch},
		{Code: end, K: kill},
		{Code: load, K: offsetNumber},
		{Code: least, Jf: 1, K: 0x40000000}, // another calling convention (x32)
		{Code: end, K: kill},
	}
	// when decides about one system call by one test of an argument.
	when := func(number uint32, offset uint32, test uint16, value uint32, yes, no uint32) {
		f = append(f,
			unix.SockFilter{Code: equal, Jf: 4, K: number},
			unix.SockFilter{Code: load, K: offset},
			unix.SockFilter{Code: test, Jf: 1, K: value},
			unix.SockFilter{Code: end, K: yes},
			unix.SockFilter{Code: end, K: no},
		)
	}
	when(unix.SYS_MMAP, offsetArg2, some, unix.PROT_EXEC, deny, allow)
	when(unix.SYS_MPROTECT, offsetArg2, some, unix.PROT_EXEC, deny, allow)
	when(unix.SYS_CLONE, offsetArg0, some, unix.CLONE_THREAD, allow, deny)
	when(unix.SYS_TGKILL, offsetArg0, equal, pid, allow, deny)
	when(unix.SYS_PRCTL, offsetArg0, equal, unix.PR_SET_VMA, allow, deny) // naming memory
	for _, number := range allowed {
		f = append(f, unix.SockFilter{Code: equal, Jf: 1, K: number}, unix.SockFilter{Code: end, K: allow})
	}
	// Its flags lie in memory, where a filter cannot see them; without it,
	// clone is used.
	f = append(f, unix.SockFilter{Code: equal, Jf: 1, K: unix.SYS_CLONE3}, unix.SockFilter{Code: end, K: lack})
	return append(f, unix.SockFilter{Code: end, K: deny})
}
