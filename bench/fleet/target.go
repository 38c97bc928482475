package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"plumb.dev/plumb/bench/internal/meter"
	"plumb.dev/plumb/internal/sandbox/gitserver"
)

// target is the controller that is driven, with what is around it.
type target struct {
	dir        string
	up         *meter.Up // nil if it was there before
	pids       []int     // of the controller
	serverPIDs []int     // of the API server; may be empty
	restartCmd string

	server *meter.Server
	client dynamic.Interface
	api    *http.Client // the same without any machinery
	host   string

	git     *gitserver.Server // nil if it is another's
	gitURL  string
	pushes  int // of this process
	webhook string
	secret  []byte
}

// open connects to the target, and starts what is not there.
func open(ctx context.Context, o options) (*target, error) {
	t := &target{pids: o.pids, serverPIDs: o.serverPIDs, webhook: o.webhook, restartCmd: o.restartCmd, gitURL: strings.TrimSuffix(o.gitURL, "/")}
	var err error
	if t.dir, err = os.MkdirTemp(meter.Scratch(), "plumb-fleet-"); err != nil {
		return nil, err
	}
	if err := t.open(ctx, o); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *target) open(ctx context.Context, o options) (err error) {
	kubeconfig := o.kubeconfig
	secretFile := o.webhookSecret
	if kubeconfig == "" {
		var more []string
		if o.pprof != "" {
			more = []string{"--pprof", o.pprof}
		}
		if t.up, err = meter.StartUp(ctx, o.binary, t.dir, more...); err != nil {
			return err
		}
		kubeconfig, t.pids, t.serverPIDs = t.up.Kubeconfig, []int{t.up.PIDs.Engine}, []int{t.up.PIDs.Kubernetes}
		t.webhook = t.up.HTTP + "/hooks/push"
		secretFile = filepath.Join(t.up.Data, "webhook-secrets", "generic")
	}
	if secretFile != "" {
		text, err := os.ReadFile(secretFile)
		if err != nil {
			return fmt.Errorf("secret of the webhook: %w", err)
		}
		t.secret = bytes.TrimSpace(text)
	}
	if t.gitURL == "" {
		// The server of `plumb up` would do as well, but does not count.
		if t.git, err = gitserver.New(gitserver.Options{Dir: filepath.Join(t.dir, "git"), OnPush: func(name string) { go t.pushed(ctx, name) }}); err != nil {
			return err
		}
		if err := t.git.Start(0); err != nil {
			return err
		}
		t.gitURL = t.git.URL()
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	if t.server, config, err = meter.NewServer(config); err != nil {
		return err
	}
	if t.api, err = rest.HTTPClientFor(config); err != nil {
		return err
	}
	t.host = strings.TrimSuffix(config.Host, "/")
	t.client, err = dynamic.NewForConfigAndClient(config, t.api)
	return err
}

func (t *target) close() {
	if t.up != nil {
		t.up.Stop()
	}
	if t.git != nil {
		t.git.Close()
	}
	os.RemoveAll(t.dir)
}

func (t *target) repoURL(name string) string { return t.gitURL + "/" + name + ".git" }

// push pushes, and tells the webhook where no server does that.
func (t *target) push(ctx context.Context, repo meter.Clone) error {
	if err := repo.Push(); err != nil {
		return err
	}
	t.pushes++
	if t.git == nil {
		t.pushed(ctx, strings.TrimSuffix(filepath.Base(repo.Remote), ".git"))
	}
	return nil
}

// pushed posts the generic push event. A controller that is not told finds out
// by itself, later.
func (t *target) pushed(ctx context.Context, name string) {
	if t.webhook == "" {
		return
	}
	body, err := json.Marshal(map[string]string{"url": t.repoURL(name), "ref": "refs/heads/main"})
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.webhook, bytes.NewReader(body))
	if err != nil {
		return
	}
	request.Header.Set("Content-Type", "application/json")
	if len(t.secret) > 0 {
		mac := hmac.New(sha256.New, t.secret)
		mac.Write(body)
		request.Header.Set("X-Plumb-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet: webhook:", err)
		return
	}
	response.Body.Close()
	if response.StatusCode >= 300 {
		fmt.Fprintln(os.Stderr, "fleet: webhook answered", response.Status)
	}
}

// gitRequests is how many requests the Git server has had from others; ok is
// false if it does not tell. A push of this process takes an advertisement.
func (t *target) gitRequests() (n int64, ok bool) {
	if t.git == nil {
		return 0, false
	}
	return t.git.Counters.Advertisements.Load() + t.git.Counters.UploadPack.Load() - int64(t.pushes), true
}

// restart kills the controller and returns when it runs again; its processes
// are other ones then.
func (t *target) restart(ctx context.Context) error {
	if t.restartCmd != "" {
		out, err := exec.CommandContext(ctx, "sh", "-c", t.restartCmd).Output()
		if err != nil {
			return fmt.Errorf("--restart-cmd: %w", err)
		}
		if pids, err := parsePIDs(string(out)); err != nil || len(pids) > 0 {
			t.pids = pids
			return err
		}
		return nil
	}
	old := t.up.PIDs.Engine
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if now, err := t.up.Now(); err == nil && now.PIDs.Engine != old && now.PIDs.Engine != 0 {
			t.up.State, t.pids = now, []int{now.PIDs.Engine}
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.New("the engine did not come back in a minute")
}

func parsePIDs(list string) ([]int, error) {
	var pids []int
	for _, text := range strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(", \n\t", r) }) {
		pid, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no process id", text)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
