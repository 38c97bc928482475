package controlplane

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// dataDir is the directory of one cluster.
type dataDir struct {
	path string // absolute
	lock *os.File
}

func (d *dataDir) file(name string) string { return filepath.Join(d.path, name) }

func (d *dataDir) pki() string            { return d.file("pki") }
func (d *dataDir) etcd() string           { return d.file("etcd") }
func (d *dataDir) port() string           { return d.file("port") }
func (d *dataDir) logFile() string        { return d.file("kubernetes.log") }
func (d *dataDir) auditPolicy() string    { return d.file("audit-policy.yaml") }
func (d *dataDir) kubeconfig() string     { return d.file("kubeconfig") }
func (d *dataDir) nodeKubeconfig() string { return d.file("node.kubeconfig") }
func (d *dataDir) controllerManagerKubeconfig() string {
	return d.file("controller-manager.kubeconfig")
}
func (d *dataDir) schedulerKubeconfig() string { return d.file("scheduler.kubeconfig") }

// openDataDir creates the directory and locks it for this process. The lock
// ends with the process, however it ends.
func openDataDir(path string) (*dataDir, error) {
	if path == "" {
		return nil, errors.New("no data directory given for Kubernetes")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory of Kubernetes: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory of Kubernetes: %w", err)
	}
	d := &dataDir{path: path}
	d.lock, err = os.OpenFile(d.file("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory of Kubernetes: %w", err)
	}
	if err := lockFile(d.lock); err != nil {
		return nil, fmt.Errorf("data directory %s is in use by another Kubernetes; stop that one or choose another directory (%w)", path, err)
	}
	return d, nil
}

// listen binds the API server's port before anything else is started, so that
// a taken port is the first thing one hears of. It remembers the port.
func (d *dataDir) listen(port int) (net.Listener, error) {
	remembered := false
	if port == 0 {
		text, err := os.ReadFile(d.port())
		if err == nil {
			port, err = strconv.Atoi(strings.TrimSpace(string(text)))
			remembered = err == nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("the file that remembers the API server's port: %w; remove it to choose a new port", err)
		}
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) && remembered {
		return nil, fmt.Errorf("port %d of 127.0.0.1, which the cluster had before, is taken; free it, or choose another with --port", port)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %d of 127.0.0.1 is taken; choose another, or 0 for a free one", port)
	}
	if err != nil {
		return nil, fmt.Errorf("port of the API server: %w", err)
	}
	port = listener.Addr().(*net.TCPAddr).Port
	if err := writeFile(d.port(), []byte(strconv.Itoa(port)+"\n")); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

// writeFile replaces a file, readable for its owner only, in one step: a
// crash leaves the old or the new one.
func writeFile(path string, content []byte) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
