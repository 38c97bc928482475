package sandboxtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"plumb.dev/plumb/internal/sandbox"
)

// startTimeout is generous: machines that run tests are busy.
const startTimeout = 2 * time.Minute

// shared is the cluster of this test process.
var shared struct {
	sync.Mutex
	main    bool // Main is there to clean up
	dir     string
	cluster *sandbox.Cluster
	err     error
}

// Main runs a package's tests and ends the process. It stops the shared
// cluster afterwards.
func Main(m *testing.M) {
	shared.main = true
	code := m.Run()
	if shared.cluster != nil {
		shared.cluster.Kill() // nothing of it will be needed
	}
	if shared.dir != "" {
		os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// Cluster returns the cluster that all tests of the process share; use
// Namespace in it. With -short the test is skipped.
func Cluster(t testing.TB) *sandbox.Cluster {
	t.Helper()
	binary := Binary(t)
	shared.Lock()
	defer shared.Unlock()
	if !shared.main {
		t.Fatal("sandboxtest.Cluster needs a TestMain that calls sandboxtest.Main")
	}
	if shared.cluster == nil && shared.err == nil {
		shared.dir, shared.err = os.MkdirTemp(memory(), "plumb-cluster-")
		if shared.err == nil {
			shared.cluster, shared.err = start(sandbox.Options{
				Executable: binary,
				Dir:        filepath.Join(shared.dir, "kubernetes"),
				AuditLog:   filepath.Join(shared.dir, "audit.log"),
			})
		}
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cluster
}

// AuditLog is the file of audit events of the shared cluster.
func AuditLog(t testing.TB) string {
	t.Helper()
	Cluster(t)
	return filepath.Join(shared.dir, "audit.log")
}

// Dir makes a directory for a cluster of the test's own, in memory if the
// machine offers that, and removes it after the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(memory(), "plumb-cluster-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Start starts a cluster of the test's own, for those that kill it or need
// several. An empty Executable and Dir are filled in. It ends with the test.
func Start(t testing.TB, opts sandbox.Options) *sandbox.Cluster {
	t.Helper()
	if binary := Binary(t); opts.Executable == "" {
		opts.Executable = binary
	}
	if opts.Dir == "" {
		opts.Dir = Dir(t)
	}
	cluster, err := start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Kill)
	return cluster
}

// Launch starts a cluster for whoever cleans up by themselves: opts must name
// the Executable and a Dir.
func Launch(opts sandbox.Options) (*sandbox.Cluster, error) { return start(opts) }

func start(opts sandbox.Options) (*sandbox.Cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var stderr bytes.Buffer
	opts.Stderr = &stderr
	cluster, err := sandbox.Start(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, stderr.String())
	}
	return cluster, nil
}

// RESTConfig reaches the cluster as its administrator, without a limit of
// the rate.
func RESTConfig(t testing.TB, cluster *sandbox.Cluster) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	return config
}

// Client is a typed client of the cluster's administrator.
func Client(t testing.TB, cluster *sandbox.Cluster) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(RESTConfig(t, cluster))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// Namespace makes a new namespace, named after the test. It is deleted after
// the test without waiting for that.
func Namespace(t testing.TB, cluster *sandbox.Cluster) string {
	t.Helper()
	prefix := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(t.Name()), "-"), "-")
	prefix = prefix[:min(len(prefix), 40)] + "-"
	namespaces := Client(t, cluster).CoreV1().Namespaces()
	namespace, err := namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { namespaces.Delete(context.Background(), namespace.Name, metav1.DeleteOptions{}) })
	return namespace.Name
}
