package sandbox_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// asParent makes the test binary a process that starts a cluster and waits to
// be killed: PROGRAM asParent EXECUTABLE DIR.
const asParent = "as-parent-of-a-cluster"

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == asParent {
		cluster, err := sandbox.Start(context.Background(), sandbox.Options{Executable: os.Args[2], Dir: os.Args[3]})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(cluster.URL)
		cluster.Wait()
		os.Exit(1)
	}
	sandboxtest.Main(m)
}

// startParent runs this binary as a parent and returns it with the URL of
// its cluster.
func startParent(t *testing.T, dir string) (parent *exec.Cmd, url string) {
	t.Helper()
	parent = exec.Command(os.Args[0], asParent, sandboxtest.Binary(t), dir)
	parent.Stderr = os.Stderr
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		parent.Process.Kill()
		t.Fatalf("the parent started no cluster: %v", err)
	}
	return parent, strings.TrimSpace(line)
}
