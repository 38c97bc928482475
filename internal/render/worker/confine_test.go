package worker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// asProbe makes the test binary try, confined, what a child must not do:
// PROGRAM asProbe PART ADDRESS FILE, where PART says what confines, ADDRESS is listened on and FILE exists.
const asProbe = "render-worker-probe"

// probe prints a line for each attempt: what, a tab, and the error or "done".
func probe(part, address, file string) {
	confined, missing, err := []string(nil), []string(nil), error(nil)
	if part == "landlock" {
		confined, missing, err = landlockOnly()
	} else {
		confined, missing, err = confine(512 << 20)
	}
	fmt.Printf("confined\t%s\nmissing\t%s\nfault\t%v\n", strings.Join(confined, ", "), strings.Join(missing, ", "), err)
	attempts := map[string]func() error{
		"read a file":      func() error { _, err := os.ReadFile(file); return err },
		"read passwd":      func() error { _, err := os.ReadFile("/etc/passwd"); return err },
		"list a directory": func() error { _, err := os.ReadDir("/"); return err },
		"write a file":     func() error { return os.WriteFile(file, []byte("x"), 0o600) },
		"make a directory": func() error { return os.Mkdir(file+".d", 0o700) },
		"remove a file":    func() error { return os.Remove(file) },
		"rename a file":    func() error { return os.Rename(file, file+".2") },
		"start a program":  func() error { return exec.Command("/bin/true").Run() },
		"start itself":     func() error { return exec.Command("/proc/self/exe", "-test.run=^$").Run() },
		"connect":          func() error { _, err := net.Dial("tcp", address); return err },
		"listen":           func() error { _, err := net.Listen("tcp", "127.0.0.1:0"); return err },
	}
	if part == "all" {
		// Landlock lets Go listen: by MPTCP, which it does not count as TCP.
		attempts["listen"] = func() error { _, err := net.Listen("tcp", "127.0.0.1:0"); return err }
		attempts["a datagram"] = func() error { _, err := net.Dial("udp", address); return err }
		for what, attempt := range systemAttempts() {
			attempts[what] = attempt
		}
	}
	for what, attempt := range attempts {
		fmt.Printf("%s\t%v\n", what, outcomeOf(attempt()))
	}
	// Threads that are there already and those to come are held as well.
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with this
			for range 50 {
				runtime.Gosched()
			}
			_, err := os.ReadFile(file)
			fmt.Printf("read on another thread\t%v\n", outcomeOf(err))
		})
	}
	wg.Wait()
	// What rendering needs goes on working.
	var keep [][]byte
	for i := range 100 {
		keep = append(keep, bytes.Repeat([]byte{byte(i)}, 1<<20))
	}
	runtime.GC()
	fmt.Printf("end\t%d\n", len(keep))
}

func outcomeOf(err error) string {
	if err == nil {
		return "done"
	}
	return err.Error()
}

// TestConfinement lets a confined process try what it must not do.
func TestConfinement(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux takes files and network from a process")
	}
	for _, part := range []string{"all", "landlock"} {
		t.Run(part, func(t *testing.T) { testConfinement(t, part) })
	}
}

func testConfinement(t *testing.T, part string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file := t.TempDir() + "/secret"
	if err := os.WriteFile(file, []byte("secret"), 0o666); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], asProbe, part, listener.Addr().String(), file)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tried, ended := 0, false
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		what, got, _ := strings.Cut(lines.Text(), "\t")
		switch what {
		case "confined":
			t.Log(lines.Text())
		case "missing":
			if part == "landlock" && strings.Contains(got, "landlock") {
				t.Skip("not in force here: ", got)
			}
			if got != "" {
				t.Log(lines.Text())
			}
			if strings.Contains(got, "seccomp") {
				t.Skip("not in force here: ", got)
			}
		case "fault":
			if got != "<nil>" {
				t.Fatal(got)
			}
		case "end":
			ended = true
		default:
			tried++
			if !strings.Contains(got, "not permitted") && !strings.Contains(got, "permission denied") {
				t.Errorf("%s: %s", what, got)
			}
		}
	}
	if !ended || tried < 10 {
		t.Errorf("the process did not come to its end:\n%s", out)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "secret" {
		t.Errorf("the file was touched: %q, %v", text, err)
	}
}

// TestProcess looks at a child from outside: what it holds, and that nothing
// of the parent came along.
func TestProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc")
	}
	t.Setenv("SECRET_TOKEN", "x")
	opts := Options{Args: []string{asWorker}}.withDefaults()
	w, err := startProcess(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { w.dismiss(); <-w.gone }()
	t.Log("confined by", w.ready.Confined, "lacks", w.ready.Missing)
	dir := fmt.Sprintf("/proc/%d/", w.cmd.Process.Pid)
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) < 2:
		case fields[0] == "NoNewPrivs:" && fields[1] != "1":
			t.Error(line)
		case fields[0] == "Seccomp:" && fields[1] != "2" && slices.Contains(w.ready.Confined, "seccomp"):
			t.Error(line)
		}
	}
	if env, err := os.ReadFile(dir + "environ"); err != nil || len(env) != 0 {
		t.Errorf("environment: %q, %v", env, err)
	}
	if cwd, err := os.Readlink(dir + "cwd"); err != nil || cwd != "/" {
		t.Error(cwd, err)
	}
	fds, err := os.ReadDir(dir + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		target, err := os.Readlink(dir + "fd/" + fd.Name())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if !strings.HasPrefix(target, "pipe:") && !strings.HasPrefix(target, "anon_inode:[event") {
			t.Errorf("file %s is %s", fd.Name(), target)
		}
	}
}

// asParent makes the test binary render without end in a pool: it prints the
// process id of the child. PROGRAM asParent.
const asParent = "parent-of-a-render-worker"

func parent() {
	p := New(Options{Args: []string{asWorker}})
	go func() { _, _ = p.Render(context.Background(), endlessTree(), endlessSpec) }()
	for {
		p.mu.Lock()
		for _, r := range p.running {
			fmt.Println(r.process.cmd.Process.Pid)
			p.mu.Unlock()
			select {}
		}
		p.mu.Unlock()
		runtime.Gosched()
	}
}

// TestParentKilled kills a parent whose child computes: the child must not
// outlive it.
func TestParentKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere a child notices only when it asks for a file")
	}
	cmd := exec.Command(os.Args[0], asParent)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	before, err := identity(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, func() bool { now, err := identity(pid); return err != nil || now != before })
}

// identity tells a process from a later one of the same number; an error if
// there is none, or only its remains.
func identity(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return "", fs.ErrNotExist
	}
	return fields[19], nil // its start time
}
