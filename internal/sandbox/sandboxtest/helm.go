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

// Helm returns a stock helm, built from the version that Plumb delivers with.
func Helm(t testing.TB) string {
	t.Helper()
	path, err := helm()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var helm = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("plumb-test-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(dir, "helm.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	path := filepath.Join(dir, "helm")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "helm.sh/helm/v4/cmd/helm")
	if output, err := build.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build helm: %w", err), errors.New(string(output)))
	}
	return path, nil
})
