package cluster

import (
	"context"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// TestOutage: an API server that is killed is an error while it is away, and
// neither a cluster without objects nor one that has not changed. When it is
// back the watches are too, and have missed nothing.
func TestOutage(t *testing.T) {
	dir := sandboxtest.Dir(t)
	sb := sandboxtest.Start(t, sandbox.Options{Dir: dir})
	p := placeIn(t, sb, "default")
	kept, changed, removed := configMap("kept", `a: "1"`), configMap("changed", `a: "1"`), configMap("removed", `a: "1"`)
	q := p.query(0, kept, changed, removed)
	p.observe(q)
	first := map[string]plan.Written{}
	for _, m := range []string{kept, changed, removed} {
		first[p.object(m).Ref().Name] = p.apply(m)
	}

	sb.Kill()
	<-sb.Done()
	started := time.Now()
	p.eventually("an observation fails", func() bool {
		_, err := p.Self().Observe(t.Context(), q)
		return err != nil
	})
	for what, err := range map[string]error{
		"observe": second(p.Self().Observe(t.Context(), q)),
		"apply":   second(p.Self().Apply(t.Context(), p.object(kept), plan.WriteOptions{Manager: manager})),
		"delete":  second(p.Self().Delete(t.Context(), p.ref("ConfigMap", "kept"), "v1", "", "")),
		"get":     second(p.Get(t.Context(), p.ref("ConfigMap", "kept"))),
	} {
		if f := app.AsFailure(err, ""); f == nil || f.Reason != app.ReasonClusterDown || f.Hint == "" {
			t.Errorf("%s while the API server is away: %v", what, err)
		}
	}
	if d := time.Since(started); d > 20*time.Second {
		t.Errorf("finding that out took %s", d)
	}
	if last, err := p.Contact(); err == nil || last.IsZero() {
		t.Errorf("contact: %s, %v", last, err)
	}
	if live, known := p.Live(p.ref("ConfigMap", "kept"), manager); !known || live.Owned != first["kept"].Owned {
		t.Errorf("forgotten in the outage: %+v", live)
	}

	// On the same port with the same data; what changes before the watches are
	// back must be found.
	sb = sandboxtest.Start(t, sandbox.Options{Dir: dir})
	other := placeIn(t, sb, "default")
	other.kubectl("", "patch", "configmap", "changed", "--type=merge", "-p", `{"data":{"a":"9"}}`)
	other.kubectl("", "delete", "configmap", "removed")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	refs := []object.Ref{p.ref("ConfigMap", "changed"), p.ref("ConfigMap", "removed")}
	err := p.Await(ctx, refs, func() bool {
		changed, _ := p.Live(refs[0], manager)
		removed, _ := p.Live(refs[1], manager)
		return changed.Owned != first["changed"].Owned && !removed.Exists
	})
	if err != nil {
		t.Fatal("the watches did not come back:", err)
	}
	if live := p.current(p.ref("ConfigMap", "kept")); live.Owned != first["kept"].Owned {
		t.Error("what nobody touched has drifted")
	}
	told := func(name string) (out []string) {
		for _, ev := range p.events.of(p.ref("ConfigMap", name)) {
			out = append(out, map[bool]string{true: "deleted", false: "changed"}[ev.Deleted])
		}
		return out
	}
	for name, want := range map[string]string{"kept": "", "changed": "changed", "removed": "deleted"} {
		if got := strings.Join(told(name), " "); got != want {
			t.Errorf("%s: told %q, want %q", name, got, want)
		}
	}
	p.observe(q)
	if w := p.apply(kept); w.Changed {
		t.Errorf("after the outage: %+v", w)
	}
}

// TestNoServer: a cluster that was never there.
func TestNoServer(t *testing.T) {
	p := newPlace(t)
	config := *p.config
	config.Host = "https://127.0.0.1:1"
	gone, err := Connect(&config, Options{Managers: managers})
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	_, err = gone.Self().Observe(t.Context(), p.query(0, configMap("a")))
	if f := app.AsFailure(err, ""); f == nil || f.Reason != app.ReasonClusterDown || f.Stage != app.StageObserve {
		t.Error(err)
	}
	if last, err := gone.Contact(); err == nil || !last.IsZero() {
		t.Errorf("contact: %s, %v", last, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(app.Fail(app.StageApply, app.ReasonSuperseded, "a newer revision"))
	if _, err = gone.Self().Apply(ctx, p.object(configMap("a")), plan.WriteOptions{Manager: manager}); app.AsFailure(err, "").Reason != app.ReasonSuperseded {
		t.Errorf("the cause of the end of a context: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }
