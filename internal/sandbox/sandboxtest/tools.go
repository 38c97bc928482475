package sandboxtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// tools are the commands of the module test/tools, by their packages.
var tools = map[string]string{
	"sops":       "github.com/getsops/sops/v3/cmd/sops",
	"age-keygen": "filippo.io/age/cmd/age-keygen",
	"versitygw":  "github.com/versity/versitygw/cmd/versitygw",
	"kustomize":  "sigs.k8s.io/kustomize/kustomize/v5",
}

var building sync.Mutex

// Tool returns a stock command, built from the module test/tools.
func Tool(t testing.TB, name string) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	path, err := tool(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return path
}

func tool(name string) (string, error) {
	pkg, ok := tools[name]
	if !ok {
		return "", errors.New("no such tool")
	}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("plumb-test-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(dir, name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	path := filepath.Join(dir, name)
	build := exec.Command("go", "build", "-C", filepath.Join(strings.TrimSpace(string(root)), "test", "tools"), "-ldflags=-s -w", "-o", path, pkg)
	if output, err := build.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("building: %w", err), errors.New(string(output)))
	}
	return path, nil
}
