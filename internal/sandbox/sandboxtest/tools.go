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

// tools are the stock commands that tests run, by where their packages are: in
// this module, or in test/tools, where what they need is nothing that Plumb
// needs.
var tools = map[string]struct{ module, pkg string }{
	"kubectl":    {".", "k8s.io/kubernetes/cmd/kubectl"},
	"helm":       {".", "helm.sh/helm/v4/cmd/helm"},
	"sops":       {"test/tools", "github.com/getsops/sops/v3/cmd/sops"},
	"age-keygen": {"test/tools", "filippo.io/age/cmd/age-keygen"},
	"kustomize":  {"test/tools", "sigs.k8s.io/kustomize/kustomize/v5"},
	"versitygw":  {"test/tools", "github.com/versity/versitygw/cmd/versitygw"},
}

// Kubectl returns a stock kubectl: the machine's, or one built from the same
// Kubernetes that the control plane is.
func Kubectl(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("kubectl"); err == nil {
		return path
	}
	return Tool(t, "kubectl")
}

// Helm returns a stock helm, built from the version that Plumb delivers with.
func Helm(t testing.TB) string {
	t.Helper()
	return Tool(t, "helm")
}

// Tool returns a stock command, built from the version that a module names.
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

var building sync.Mutex

func tool(name string) (string, error) {
	from, ok := tools[name]
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
	module := filepath.Join(strings.TrimSpace(string(root)), filepath.FromSlash(from.module))
	build := exec.Command("go", "build", "-C", module, "-ldflags=-s -w", "-o", path, from.pkg)
	if output, err := build.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("building: %w", err), errors.New(string(output)))
	}
	return path, nil
}
