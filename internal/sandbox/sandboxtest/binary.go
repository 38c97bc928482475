// Package sandboxtest gives integration tests a real Kubernetes and a real
// Git server, both cheap: the plumb binary is built once for all test
// packages, one control plane serves all tests of a package, and tests keep
// apart by namespaces and repositories.
//
// A package that uses Cluster runs its tests through Main:
//
//	func TestMain(m *testing.M) { sandboxtest.Main(m) }
//
// Only tests import it.
package sandboxtest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// binaryVariable names a plumb binary to test instead of building one.
const binaryVariable = "PLUMB_TEST_BINARY"

// Binary returns a plumb binary of the working tree. With -short the test is
// skipped: linking takes seconds, and what runs it takes more.
func Binary(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the plumb binary")
	}
	path, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var builtBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(binaryVariable); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s: %w", binaryVariable, err)
		}
		return path, nil
	}
	// One binary for each checkout, not one for each run: go build does not
	// link again what has not changed. The temporary directory, because go
	// build can replace a running binary only by renaming.
	module, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module to build plumb from: %w", err)
	}
	checkout := sha256.Sum256([]byte(strings.TrimSpace(string(module))))
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("plumb-test-%d", os.Getuid()), fmt.Sprintf("%x", checkout[:6]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	path := filepath.Join(dir, "plumb")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "plumb.dev/plumb/cmd/plumb")
	if output, err := build.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build plumb: %w", err), errors.New(string(output)))
	}
	return path, nil
})
