package resident

import (
	"bufio"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Program is the program's file, as far as it is in memory.
type Program struct{ mappings []mapping }

// mapping is a part of a file in memory.
type mapping struct{ start, length uintptr }

// Return gives back what only the start of the process, or what it did last,
// needed. The program carries a whole Kubernetes, and the initialisation of its
// packages touches much of the file; those pages would count as the process's
// until memory runs short. What is needed of them comes back by itself, in
// small pages rather than by 2 MiB. It opens no file.
func (p Program) Return() {
	debug.FreeOSMemory()
	for _, m := range p.mappings {
		// The range is of the program's file, not of Go's heap, and the system
		// checks it. Advice may be declined: it would have been kinder, no more.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.length, unix.MADV_NOHUGEPAGE)
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.length, unix.MADV_DONTNEED)
	}
}

// FileBytes is how many bytes of files are in memory for this process.
func FileBytes() int {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data)) // size, resident, shared, …: in pages
	if len(fields) < 3 {
		return 0
	}
	pages, err := strconv.Atoi(fields[2])
	if err != nil {
		return 0
	}
	return pages * os.Getpagesize()
}

// FindProgram finds the parts of the program's file that are in memory as they
// are on disk: neither writable, nor written to before they were protected, as
// relocations are. Only these can be read again.
func FindProgram() Program {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return Program{}
	}
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		return Program{}
	}
	defer file.Close()
	var out []mapping
	var current mapping // zero: none that counts
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 5 && !strings.HasSuffix(fields[0], ":"):
			// 00400000-022aa000 r--p 00000000 fe:00 1234 /usr/bin/plumb
			current = mapping{}
			from, to, _ := strings.Cut(fields[0], "-")
			start, err1 := strconv.ParseUint(from, 16, 64)
			end, err2 := strconv.ParseUint(to, 16, 64)
			if err1 == nil && err2 == nil && start < end && len(fields) == 6 && fields[5] == program && !strings.Contains(fields[1], "w") {
				current = mapping{uintptr(start), uintptr(end - start)}
			}
		case len(fields) >= 2 && fields[0] == "Anonymous:": // pages that are not the file's
			if fields[1] == "0" && current != (mapping{}) {
				out = append(out, current)
			}
		}
	}
	return Program{out}
}
