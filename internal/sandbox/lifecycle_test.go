package sandbox_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// A cluster that was killed goes on where it was, at the same address.
func TestKillAndRestart(t *testing.T) {
	dir := filepath.Join(sandboxtest.Dir(t), "made", "on", "demand", strings.Repeat("too-long-for-a-socket-", 5))
	var steps []string
	first := sandboxtest.Start(t, sandbox.Options{Dir: dir, Progress: func(step string) { steps = append(steps, step) }})
	if len(steps) < 3 {
		t.Errorf("progress was told only %q", steps)
	}
	// What was answered before the kill must be there after it.
	want := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}, Data: map[string]string{"a": "b"}}
	created, err := sandboxtest.Client(t, first).CoreV1().ConfigMaps("default").Create(t.Context(), want, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first.Kill()
	if err := first.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("a killed cluster ended with %v", err)
	}

	second := sandboxtest.Start(t, sandbox.Options{Dir: dir})
	if second.URL != first.URL || second.PID == first.PID {
		t.Errorf("restarted at %s as process %d, was at %s as process %d", second.URL, second.PID, first.URL, first.PID)
	}
	client := sandboxtest.Client(t, second)
	got, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.UID != created.UID || got.ResourceVersion != created.ResourceVersion || got.Data["a"] != "b" {
		t.Errorf("after the restart: %v, want %v", got, created)
	}
	deploymentBecomesReady(t, client, "default", deployment("after-restart", 1, corev1.PodTemplateSpec{}))

	began := time.Now()
	if err := second.Stop(); err != nil {
		t.Error(err)
	}
	t.Logf("stopped after %s", time.Since(began))
	if err := second.Wait(); err != nil {
		t.Errorf("a stopped cluster ended with %v", err)
	}
	if err := second.Stop(); err != nil {
		t.Errorf("stopping again: %v", err)
	}
}

func TestKubeconfigIsPrivate(t *testing.T) {
	info, err := os.Stat(sandboxtest.Cluster(t).Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the kubeconfig has mode %o", info.Mode().Perm())
	}
}

func TestChildEndsWithItsParent(t *testing.T) {
	parent, url := startParent(t, sandboxtest.Dir(t))
	client := http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // it only asks whether somebody is there
		DisableKeepAlives: true,
	}}
	alive := func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/livez", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err == nil {
			response.Body.Close()
		}
		return err
	}
	if err := alive(t.Context()); err != nil {
		t.Fatal(err)
	}
	parent.Process.Kill() // it can do nothing about its child now
	parent.Wait()
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		if alive(ctx) == nil {
			return errors.New("the cluster lives on without its parent")
		}
		return nil
	})
}

func TestStartErrors(t *testing.T) {
	cluster := sandboxtest.Cluster(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	remembering := t.TempDir()
	file := filepath.Join(t.TempDir(), "file")
	if err := errors.Join(os.WriteFile(file, nil, 0o600),
		os.WriteFile(filepath.Join(remembering, "port"), []byte(strconv.Itoa(port)), 0o600)); err != nil {
		t.Fatal(err)
	}
	executable := sandboxtest.Binary(t)
	for name, test := range map[string]struct {
		opts sandbox.Options
		want string
	}{
		"taken port":            {sandbox.Options{Dir: t.TempDir(), Port: port}, "port " + strconv.Itoa(port) + " of 127.0.0.1 is taken"},
		"taken remembered port": {sandbox.Options{Dir: remembering}, "which the cluster had before, is taken"},
		"no directory":          {sandbox.Options{Dir: filepath.Join(file, "x")}, "data directory of Kubernetes: mkdir " + file},
		"directory in use":      {sandbox.Options{Dir: filepath.Dir(cluster.Kubeconfig)}, "is in use by another Kubernetes"},
		"no such executable":    {sandbox.Options{Dir: t.TempDir(), Executable: file + "-none"}, "no such file"},
		"another executable":    {sandbox.Options{Dir: t.TempDir(), Executable: "/bin/true"}, "ended before it was ready"},
		"nothing given":         {sandbox.Options{}, "a data directory are required"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.opts.Executable == "" {
				test.opts.Executable = executable
			}
			_, err := sandbox.Start(t.Context(), test.opts)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestStartIsCancelled(t *testing.T) {
	executable := sandboxtest.Binary(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	changedMind := errors.New("changed my mind")
	_, err := sandbox.Start(ctx, sandbox.Options{
		Executable: executable,
		Dir:        sandboxtest.Dir(t),
		Progress:   func(string) { cancel(changedMind) },
	})
	if !errors.Is(err, changedMind) {
		t.Errorf("error is %v", err)
	}
}

// The version is written down in code; it must be that of the module.
func TestVersionIsThatOfTheModule(t *testing.T) {
	output, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes").Output()
	if err != nil {
		t.Fatal(err)
	}
	module := strings.TrimSpace(string(output))
	cluster := sandboxtest.Cluster(t)
	served, err := sandboxtest.Client(t, cluster).Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if served.GitVersion != module || cluster.Version != module {
		t.Errorf("the API server says %s, the cluster %s; the module is %s", served.GitVersion, cluster.Version, module)
	}
	if served.Major+"."+served.Minor != "1.36" {
		t.Errorf("the API server says major %q, minor %q", served.Major, served.Minor)
	}
}
