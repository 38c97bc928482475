package meter

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what processes have used, with all their descendants.
type Usage struct {
	CPU time.Duration // of the living, and of the dead that were waited for
	// RSS in bytes. Pages of files, which processes of one program share,
	// count once: as often as the process has them that has most.
	RSS int64
	// Peak is the most RSS of any one of the processes since ResetPeak, or its
	// start; bytes. See Peaks for that of all together.
	Peak int64

	file int64 // of RSS, pages of files
}

func (u *Usage) add(o Usage) {
	u.CPU += o.CPU
	u.RSS += o.RSS - min(u.file, o.file)
	u.file = max(u.file, o.file)
	u.Peak = max(u.Peak, o.Peak)
}

// Read gives the usage of processes. One that is gone is an error.
func Read(pids ...int) (Usage, error) {
	var sum Usage
	for _, pid := range pids {
		u, err := usage(pid)
		if err != nil {
			return Usage{}, err
		}
		sum.add(u)
		for _, child := range children(pid) {
			if slices.Contains(pids, child) {
				continue
			}
			if u, err := Read(child); err == nil { // children come and go
				sum.add(u)
			}
		}
	}
	return sum, nil
}

// Own meters this process, without those that it started.
func Own() (Usage, error) { return usage(os.Getpid()) }

// ResetPeak makes Peak count from now on. Where that is not permitted, it
// counts from the start of the process.
func ResetPeak(pids ...int) error {
	var first error
	for _, pid := range pids {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil && first == nil {
			first = err
		}
		for _, child := range children(pid) {
			_ = ResetPeak(child) // children come and go
		}
	}
	return first
}

func usage(pid int) (Usage, error) {
	var u Usage
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "VmRSS" && name != "VmHWM" && name != "RssFile" {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return u, fmt.Errorf("/proc/%d/status: %w", pid, err)
		}
		switch name {
		case "VmRSS":
			u.RSS = kb << 10
		case "VmHWM":
			u.Peak = kb << 10
		case "RssFile":
			u.file = kb << 10
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// After the name, which may hold anything: state is field 3 of proc(5).
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 15 {
		return u, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	ticks := func(field int) time.Duration {
		n, _ := strconv.ParseInt(fields[field-3], 10, 64)
		return time.Duration(n) * (time.Second / 100) // USER_HZ, fixed on Linux
	}
	u.CPU = ticks(16) + ticks(17) // of children that were waited for
	// The clock of the process, see clock_getcpuclockid(3), is finer than
	// ticks: a commit costs less than one.
	var t unix.Timespec
	if err := unix.ClockGettime(^int32(pid)<<3|2, &t); err != nil {
		u.CPU += ticks(14) + ticks(15)
		return u, nil
	}
	u.CPU += time.Duration(t.Nano())
	return u, nil
}

func children(pid int) []int {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil
	}
	var out []int
	for _, task := range tasks {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err != nil {
			continue
		}
		for _, text := range strings.Fields(string(data)) {
			if n, err := strconv.Atoi(text); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

// Load is the machine's load average over a minute.
func Load() float64 {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	var one float64
	fmt.Sscan(string(data), &one)
	return one
}

// Scratch is a directory in memory, "" if the machine has none: disks differ
// too much.
func Scratch() string {
	if _, err := os.Stat("/dev/shm"); err == nil {
		return "/dev/shm"
	}
	return ""
}
