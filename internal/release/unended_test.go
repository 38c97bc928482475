package release

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// awaitJob waits until the hook's Job is made anew: the action is in its middle.
func (w *world) awaitJob(since string) {
	w.Helper()
	jobs, err := w.kube.BatchV1().Jobs(w.namespace).Watch(w.Context(), metav1.ListOptions{ResourceVersion: since})
	if err != nil {
		w.Fatal(err)
	}
	defer jobs.Stop()
	for event := range jobs.ResultChan() {
		if job, ok := event.Object.(*batchv1.Job); ok && event.Type == watch.Added && job.Name == "web-before" {
			return
		}
	}
	w.Fatal("the watch ended")
}

// now is the present version of all Jobs.
func (w *world) now() string {
	w.Helper()
	list, err := w.kube.BatchV1().Jobs(w.namespace).List(w.Context(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	return list.ResourceVersion
}

// TestContextEnds: an action that is told to end does, and says so in the
// storage; another client goes on from there.
func TestContextEnds(t *testing.T) {
	w := newWorld(t)
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	w.inline = map[string]any{"hook": "Running", "text": "second"}
	w.decide()

	ctx, cancel := context.WithCancelCause(t.Context())
	newer := errors.New("a newer revision took over")
	ended, since := make(chan Outcome), w.now()
	go func() {
		out, _ := w.act(ctx, app.ReleaseUpgrade, "")
		ended <- out
	}()
	w.awaitJob(since)
	cancel(newer)
	out := <-ended
	if f := out.Result.Failure; f == nil || !strings.Contains(f.Error(), newer.Error()) {
		t.Errorf("it ended with %v", f)
	}
	if got := w.records(); len(got) != 2 || got[1] != "sh.helm.release.v1.web.v2 failed" {
		t.Errorf("the records are %v", got)
	}
	w.inline = map[string]any{"text": "third"}
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	if got := w.configMap("web"); got["text"] != "third" {
		t.Errorf("the ConfigMap has %v", got)
	}
}

// cut is a connection that can be cut for good, as by the death of a process.
type cut struct {
	next http.RoundTripper
	dead atomic.Bool
}

func (c *cut) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.dead.Load() {
		return nil, errors.New("the process is dead")
	}
	return c.next.RoundTrip(r)
}

// dying gives the world a client whose process can be killed.
func (w *world) dying() (kill func()) {
	w.Helper()
	var c cut
	config := sandboxtest.RESTConfig(w.TB, sandboxtest.Cluster(w.TB))
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { c.next = next; return &c })
	client, err := Open(Options{Config: config})
	if err != nil {
		w.Fatal(err)
	}
	w.client = client
	return func() { c.dead.Store(true) }
}

// killed runs an action, and kills its process when the hook runs. The memory is
// what it was before.
func (w *world) killed(action app.ReleaseAction) {
	w.Helper()
	alive, memory := w.client, w.release.Memory
	kill := w.dying()
	ctx, cancel := context.WithCancel(w.Context())
	ended, since := make(chan struct{}), w.now()
	go func() {
		defer close(ended)
		w.act(ctx, action, "")
	}()
	w.awaitJob(since)
	kill()
	cancel()
	<-ended
	w.client, w.release.Memory = alive, memory
}

// TestKilled: what a dead process left pending is taken over by the next.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	w.inline = map[string]any{"hook": "Running"}
	w.decide()
	w.killed(app.ReleaseInstall)
	if got := w.records(); len(got) != 1 || got[0] != "sh.helm.release.v1.web.v1 pending-install" {
		t.Fatalf("the records are %v", got)
	}
	w.inline = map[string]any{"text": "first"}
	outs := w.wants(app.ReleaseInSync, app.ReleaseUnlock, app.ReleaseUpgrade)
	if r := outs[0].Result.Release; r.FullName() != w.namespace+"/web.v1" || r.Status != "failed" {
		t.Errorf("unlocked %+v", r)
	}

	w.inline = map[string]any{"hook": "Running"}
	w.decide()
	w.killed(app.ReleaseUpgrade)
	if got := w.records(); len(got) != 3 || got[2] != "sh.helm.release.v1.web.v3 pending-upgrade" {
		t.Fatalf("the records are %v", got)
	}
	w.inline = map[string]any{"text": "second"}
	w.wants(app.ReleaseInSync, app.ReleaseUnlock, app.ReleaseUpgrade)
	if got := w.configMap("web"); got["text"] != "second" {
		t.Errorf("the ConfigMap has %v", got)
	}
}

// TestKilledUninstall: an uninstall that did not end is ended, and the release
// comes anew.
func TestKilledUninstall(t *testing.T) {
	w := newWorld(t)
	w.chart = load(t, edited(t, "web", map[string]string{"templates/hook.yaml": strings.NewReplacer(
		"pre-install,pre-upgrade", "post-delete").Replace(read(t, "web/templates/hook.yaml"))}))
	w.inline = map[string]any{"hook": "Running"}
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	w.killed(app.ReleaseRemove)
	if got := w.records(); len(got) != 1 || got[0] != "sh.helm.release.v1.web.v1 uninstalling" {
		t.Fatalf("the records are %v", got)
	}
	w.release.Uninstall.DisableHooks = true
	w.wants(app.ReleaseAbsent, app.ReleaseRemove)
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
}
