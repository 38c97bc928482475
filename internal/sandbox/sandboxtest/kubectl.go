package sandboxtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Kubectl returns a stock kubectl: the machine's, or one built from the same
// Kubernetes that the control plane is.
func Kubectl(t testing.TB) string {
	t.Helper()
	path, err := kubectl()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var kubectl = sync.OnceValues(func() (string, error) {
	if path, err := exec.LookPath("kubectl"); err == nil {
		return path, nil
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("plumb-test-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(dir, "kubectl.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	path := filepath.Join(dir, "kubectl")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "k8s.io/kubernetes/cmd/kubectl")
	if output, err := build.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build kubectl: %w", err), errors.New(string(output)))
	}
	return path, nil
})
