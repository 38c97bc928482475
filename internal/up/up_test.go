package up_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/internal/up"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

// startTimeout is generous: machines that run tests are busy.
const startTimeout = 3 * time.Minute

// program is a running `plumb up`.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	state  up.State
	stdout *bufio.Reader
	stderr *sandboxtest.Output
}

// start runs `plumb up` until it says that all is ready.
func start(t *testing.T, args ...string) *program {
	t.Helper()
	p := &program{t: t, stderr: &sandboxtest.Output{}}
	p.cmd = exec.Command(sandboxtest.Binary(t), append([]string{"up", "-o", "json"}, args...)...)
	p.cmd.Stderr = p.stderr
	pipe, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(pipe)
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	hurry := time.AfterFunc(startTimeout, func() { p.cmd.Process.Kill() })
	defer hurry.Stop()
	line, err := p.stdout.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &p.state)
	}
	if err != nil {
		p.cmd.Wait()
		t.Fatalf("plumb up %s: %v\n%s", strings.Join(args, " "), err, p.stderr)
	}
	t.Logf("ready after %.1f s", time.Since(began).Seconds())
	return p
}

// interrupt is Ctrl-C.
func (p *program) interrupt() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
	rest, err := io.ReadAll(p.stdout)
	if err != nil || len(rest) > 0 {
		p.t.Errorf("standard output goes on with %q (%v)", rest, err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("interrupted, it ended with %v\n%s", err, p.stderr)
	}
}

// kill leaves it no time for anything.
func (p *program) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// now is what up.json says.
func (p *program) now() (up.State, error) {
	var s up.State
	data, err := os.ReadFile(filepath.Join(p.state.Data, "up.json"))
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	return s, err
}

// killChild kills a child, and waits until another is in its place.
func (p *program) killChild(pid func(up.PIDs) int) {
	p.t.Helper()
	before, err := p.now()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := syscall.Kill(pid(before.PIDs), syscall.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
	sandboxtest.Eventually(p.t, func(context.Context) error {
		now, err := p.now()
		if err == nil && pid(now.PIDs) == pid(before.PIDs) {
			err = errors.New("it has not been started again\n" + p.stderr.String())
		}
		return err
	})
}

func (p *program) client() *kubernetes.Clientset {
	p.t.Helper()
	return client(p.t, p.state.Kubeconfig)
}

func client(t *testing.T, kubeconfig string) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// clone is a user's clone of a repository of the Git server.
func (p *program) clone(name string) *clone {
	p.t.Helper()
	c := &clone{p.t, filepath.Join(p.t.TempDir(), name)}
	run(p.t, ".", "clone", "--quiet", p.state.Git+"/"+name+".git", c.dir)
	return c
}

type clone struct {
	t   *testing.T
	dir string
}

// replace changes a file, commits and pushes.
func (c *clone) replace(file, from, to string) {
	c.t.Helper()
	path := filepath.Join(c.dir, file)
	data, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	if !strings.Contains(string(data), from) {
		c.t.Fatalf("%s has no %q:\n%s", file, from, data)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(data), from, to)), 0o644); err != nil {
		c.t.Fatal(err)
	}
	run(c.t, c.dir, "commit", "--quiet", "--all", "--message", "from "+from+" to "+to)
	run(c.t, c.dir, "push", "--quiet")
}

func run(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = dir, sandboxtest.GitEnvironment()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// becomes waits until a Deployment has the image and the replicas, all ready.
func becomes(t *testing.T, c *kubernetes.Clientset, namespace, name, image string, replicas int32) {
	t.Helper()
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		d, err := c.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		got := d.Spec.Template.Spec.Containers[0].Image
		if !strings.HasSuffix(got, image) || *d.Spec.Replicas != replicas || d.Status.ReadyReplicas != replicas {
			return fmt.Errorf("%s/%s has image %s, %d replicas, %d of them ready; want %s and %d",
				namespace, name, got, *d.Spec.Replicas, d.Status.ReadyReplicas, image, replicas)
		}
		return nil
	})
}

func scale(t *testing.T, c *kubernetes.Clientset, namespace, name string, replicas int32) {
	t.Helper()
	_, err := c.AppsV1().Deployments(namespace).UpdateScale(t.Context(), name, &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: autoscalingv1.ScaleSpec{Replicas: replicas},
	}, metav1.UpdateOptions{FieldManager: "someone"})
	if err != nil {
		t.Fatal(err)
	}
}

// A newcomer's first hour: the sample comes up, a commit is delivered, drift
// is undone or reported; processes die, and it goes on.
func TestSample(t *testing.T) {
	data := filepath.Join(sandboxtest.Dir(t), "made", "on demand")
	p := start(t, "--data", data)
	c := p.client()

	// Ready is ready: nothing is waited for.
	for _, d := range []struct {
		namespace, name string
		replicas        int32
	}{{"shop-dev", "web", 1}, {"shop-staging", "web", 2}, {"shop-production", "web", 3}, {"guestbook", "guestbook", 1}} {
		got, err := c.AppsV1().Deployments(d.namespace).Get(t.Context(), d.name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got.Status.ReadyReplicas != d.replicas {
			t.Errorf("%s/%s has %d ready replicas, want %d", d.namespace, d.name, got.Status.ReadyReplicas, d.replicas)
		}
	}
	if now, err := p.now(); err != nil || now != p.state {
		t.Errorf("up.json says %+v (%v), standard output said %+v", now, err, p.state)
	}
	if text := p.stderr.String(); strings.Count(text, "✓") < 5 || strings.Contains(text, "!") {
		t.Errorf("progress:\n%s", text)
	}

	sample := p.clone("sample")
	const dev = "apps/shop/overlays/dev/kustomization.yaml"
	sample.replace(dev, "1.9.0-rc.1", "1.9.0")
	becomes(t, c, "shop-dev", "web", ":1.9.0", 1)

	scale(t, c, "shop-dev", "web", 5)
	becomes(t, c, "shop-dev", "web", ":1.9.0", 1)
	scale(t, c, "guestbook", "guestbook", 3)
	becomes(t, c, "guestbook", "guestbook", ":2.3.0", 3)

	t.Run("in use", func(t *testing.T) {
		refused(t, 7, []string{"is in use by another plumb up, process " + strconv.Itoa(p.cmd.Process.Pid), "--data"}, "--data", data)
	})
	t.Run("taken port", func(t *testing.T) {
		for flag, address := range map[string]string{"--http-port": p.state.HTTP, "--git-port": p.state.Git} {
			_, port, _ := net.SplitHostPort(strings.TrimPrefix(address, "http://"))
			refused(t, 7, []string{"port " + port + " of 127.0.0.1", "is taken", "choose another with " + flag}, "--data", t.TempDir(), flag, port)
		}
	})

	p.killChild(func(p up.PIDs) int { return p.Engine })
	sample.replace(dev, "1.9.0", "1.9.1")
	becomes(t, c, "shop-dev", "web", ":1.9.1", 1)
	if text := p.stderr.String(); !strings.Contains(text, "the engine has ended (signal: killed)") || !strings.Contains(text, "the engine is back") {
		t.Errorf("nothing is said of the engine's end:\n%s", text)
	}
	p.killChild(func(p up.PIDs) int { return p.Kubernetes })
	sample.replace(dev, "1.9.1", "1.9.2")
	becomes(t, c, "shop-dev", "web", ":1.9.2", 1)

	// What is in the cluster, and in no repository, is still there later.
	kept := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}
	if _, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), kept, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.kill()
	again := start(t, "--data", data) // which fails if a child of the first lives on
	if again.state.Git != p.state.Git || again.state.HTTP != p.state.HTTP || again.state.Kubeconfig != p.state.Kubeconfig {
		t.Errorf("it was at %+v, and is now at %+v", p.state, again.state)
	}
	if text := again.stderr.String(); strings.Contains(text, "sample repository made") {
		t.Errorf("the sample was made anew:\n%s", text)
	}
	c = again.client()
	if _, err := c.CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	becomes(t, c, "shop-dev", "web", ":1.9.2", 1)
	sample.replace(dev, "1.9.2", "1.9.3")
	becomes(t, c, "shop-dev", "web", ":1.9.3", 1)
	logMemory(t, again.state.PIDs.Engine)

	again.interrupt()
	if _, err := again.now(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("up.json is still there (%v)", err)
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(again.state.HTTP, "http://")); err == nil {
		conn.Close()
		t.Error("the engine lives on")
	}
}

// logMemory tells what the engine takes.
func logMemory(t *testing.T, pid int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return // not every system tells
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "Rss") {
			t.Logf("engine: %s", strings.Join(strings.Fields(line), " "))
		}
	}
}

// An existing cluster, with a repository of one's own, and with none.
func TestExistingCluster(t *testing.T) {
	cluster := sandboxtest.Cluster(t)
	data := t.TempDir()

	p := start(t, "--data", data, "--no-sample", "--kubeconfig", cluster.Kubeconfig)
	if p.state.PIDs.Kubernetes != 0 || p.state.Kubeconfig != cluster.Kubeconfig || p.state.PIDs.Engine == 0 {
		t.Errorf("state is %+v", p.state)
	}
	if _, err := os.Stat(filepath.Join(data, "kubernetes")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a Kubernetes has been made (%v)", err)
	}
	if _, err := os.Stat(filepath.Join(data, "git", "sample.git")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the sample has been made (%v)", err)
	}
	p.interrupt()

	repo := t.TempDir()
	write := func(colour string) {
		t.Helper()
		text := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own, namespace: default}\ndata: {colour: " + colour + "}\n"
		if err := errors.Join(os.MkdirAll(filepath.Join(repo, "deploy"), 0o755), os.WriteFile(filepath.Join(repo, "deploy", "own.yaml"), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
		run(t, repo, "add", "--all")
		run(t, repo, "commit", "--quiet", "--message", colour)
	}
	colour := func(want string) func(context.Context) error {
		return func(ctx context.Context) error {
			cm, err := client(t, cluster.Kubeconfig).CoreV1().ConfigMaps("default").Get(ctx, "own", metav1.GetOptions{})
			if err == nil && cm.Data["colour"] != want {
				err = fmt.Errorf("colour is %q, want %q", cm.Data["colour"], want)
			}
			return err
		}
	}
	run(t, repo, "init", "--quiet", "--initial-branch=trunk")
	write("blue")
	p = start(t, "--data", data, "--repo", repo, "--path", "deploy", "--kubeconfig", cluster.Kubeconfig)
	if err := colour("blue")(t.Context()); err != nil {
		t.Error(err)
	}
	write("green")
	sandboxtest.Eventually(t, colour("green"))
	p.interrupt()

	// Without a word it goes on with the same repository.
	write("red")
	p = start(t, "--data", data, "--kubeconfig", cluster.Kubeconfig)
	sandboxtest.Eventually(t, colour("red"))
	p.interrupt()
}

// refused runs `plumb up` and wants it to end with the code and the texts, in
// an error of one line and a hint.
func refused(t *testing.T, code int, wants []string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, sandboxtest.Binary(t), append([]string{"up", "-o", "json"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() != code {
		t.Errorf("exit code %d (%v), want %d", cmd.ProcessState.ExitCode(), err, code)
	}
	if stdout.Len() > 0 {
		t.Errorf("standard output: %s", &stdout)
	}
	_, message, _ := strings.Cut(stderr.String(), "plumb: ")
	if lines := strings.Count(message, "\n"); lines != 2 || !strings.Contains(message, "\n  hint: ") {
		t.Errorf("not an error of one line and a hint:\n%s", &stderr)
	}
	for _, want := range wants {
		if !strings.Contains(message, want) {
			t.Errorf("%q is missing in:\n%s", want, &stderr)
		}
	}
}

func TestRefused(t *testing.T) {
	empty, file := t.TempDir(), filepath.Join(t.TempDir(), "file")
	fresh := t.TempDir()
	run(t, fresh, "init", "--quiet")
	inside := filepath.Join(fresh, "inside")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Mkdir(inside, 0o700)); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		code  int
		wants []string
		args  []string
	}{
		"data is a file":         {7, []string{"cannot be written: mkdir " + file, "choose a directory that you may write to with --data"}, []string{"--data", file}},
		"no repository":          {7, []string{empty + " is not a Git repository", "git init"}, []string{"--repo", empty}},
		"nothing there":          {7, []string{"--repo: stat /nowhere"}, []string{"--repo", "/nowhere"}},
		"a file as repository":   {7, []string{file + " is not a directory"}, []string{"--repo", file}},
		"no commit":              {7, []string{"has no commit yet", "commit something"}, []string{"--repo", fresh}},
		"inside a repository":    {7, []string{"inside of a Git repository", "--repo " + fresh + " --path inside/x"}, []string{"--repo", inside, "--path", "x"}},
		"no URL":                 {7, []string{"--repo: "}, []string{"--repo", "gopher://example.com/x"}},
		"password in URL":        {7, []string{"--repo: ", "Secret"}, []string{"--repo", "https://me:hidden@example.com/x"}},
		"path without repo":      {2, []string{"--path is a directory of the repository", "give --repo too"}, []string{"--path", "x"}},
		"repo and no sample":     {2, []string{"exclude each other"}, []string{"--repo", fresh, "--no-sample"}},
		"context without a file": {2, []string{"--context is one of a kubeconfig"}, []string{"--context", "x"}},
		"no kubeconfig":          {7, []string{"kubeconfig: stat /nowhere", "--kubeconfig is the file"}, []string{"--kubeconfig", "/nowhere"}},
		"yaml":                   {2, []string{"-o yaml"}, []string{"-o", "yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, test.code, test.wants, append([]string{"--data", t.TempDir()}, test.args...)...)
		})
	}
}
