package engine

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

func begin(t *testing.T, e *Engine, a *state) *run {
	t.Helper()
	r := &run{e: e, a: a, dest: a.dest}
	r.between, r.stopBetween = context.WithCancelCause(t.Context())
	r.waits, r.stopWait = context.WithCancelCause(r.between)
	if !a.begin(r) {
		t.Fatal("it does not run")
	}
	return r
}

func TestWhatPreempts(t *testing.T) {
	for cause, want := range map[app.Cause]string{
		app.CauseRequest: "writes and waits", app.CauseSpec: "writes and waits", app.CauseRevision: "writes and waits",
		app.CauseDrift: "waits", app.CauseHealth: "nothing", app.CauseDepends: "nothing", app.CauseRetry: "nothing",
	} {
		e := known([]string{"a"})
		a := e.apps[id("a")]
		r := begin(t, e, a)
		e.trigger(a.id, cause, 0)
		got := "nothing"
		switch {
		case r.between.Err() != nil && r.waits.Err() != nil:
			got = "writes and waits"
		case r.waits.Err() != nil:
			got = "waits"
		}
		if got != want {
			t.Errorf("%s stops %s, want %s", cause, got, want)
		}
		if got != "nothing" && waitFailure(context.Cause(r.waits), app.StageHealth).Reason != app.ReasonSuperseded {
			t.Errorf("%s: the wait ended because of %v", cause, context.Cause(r.waits))
		}
		if !e.home.queue.items[a.id].waiting() {
			t.Errorf("%s: it is not due again", cause)
		}
	}
}

// A trigger must never stop the run that it brought about: nothing would be
// due any more.
func TestATriggerDoesNotStopItsOwnRun(t *testing.T) {
	e := known([]string{"a"})
	a := e.apps[id("a")]
	ran := make(chan *run)
	go func() {
		for range 2000 {
			if e.home.queue.due(t.Context()) != nil {
				break
			}
			if got, _, ok := e.home.queue.take(); !ok || got != a.id {
				break
			}
			ran <- begin(t, e, a)
		}
	}()
	for range 2000 {
		told := make(chan struct{})
		go func() { e.trigger(a.id, app.CauseRevision, 0); close(told) }()
		r := <-ran
		<-told
		if r.between.Err() != nil {
			t.Fatal("stopped by what it runs for")
		}
		a.mu.Lock()
		a.run = nil
		a.mu.Unlock()
		e.home.queue.done(a.id)
	}
}

func TestARequestIsAnsweredOnce(t *testing.T) {
	ask := func(token string) *app.Request { return &app.Request{Token: token, Sync: true} }
	spec := app.Spec{ID: id("a"), Request: ask("1")}
	e := New(Options{})
	a := &state{id: spec.ID, dest: e.home, spec: spec}
	seen := func() string {
		r := begin(t, e, a)
		a.run = nil
		if r.spec.Request == nil {
			return ""
		}
		return r.spec.Request.Token
	}
	if got := seen(); got != "1" {
		t.Fatalf("asked for %q", got)
	}
	a.answered = spec.Request
	if got := seen(); got != "" {
		t.Errorf("%q is answered again", got)
	}
	spec.Request = ask("2")
	if cause, due := a.update(spec, ""); cause != app.CauseRequest || !due || seen() != "2" {
		t.Error("a second request is not heard")
	}
	a.answered = spec.Request
	spec.Request = nil
	a.update(spec, "")
	spec.Request = ask("2")
	if cause, due := a.update(spec, ""); cause != app.CauseRequest || !due || seen() != "2" {
		t.Error("the same request made once more is not heard")
	}
}

func TestSuspendedAppsDoNotRun(t *testing.T) {
	a := &state{spec: app.Spec{Suspend: true}}
	if a.begin(&run{}) {
		t.Error("a suspended app runs")
	}
	a.spec.Deletion = &app.Deletion{}
	if !a.begin(&run{}) {
		t.Error("a suspended app cannot be deleted")
	}
	a.removed = true
	if a.begin(&run{}) {
		t.Error("an app that is gone runs")
	}
}

// TestNext holds when an app is due again after each sort of end.
func TestNext(t *testing.T) {
	fixed := app.Policy{RetryInterval: time.Minute, Interval: 10 * time.Minute, RetryLimit: -1}
	growing := app.Policy{Retry: app.Backoff{Initial: 5 * time.Second, Factor: 2, Max: time.Minute}, RetryLimit: 2}
	fail := func(stage app.Stage, reason app.Reason) *app.Failure { return app.Fail(stage, reason, "no") }
	tried := func(n int) *app.SyncAttempt { return &app.SyncAttempt{Attempt: app.Attempt{Retries: n}} }
	never := fail(app.StagePlan, app.ReasonEmpty)
	never.Retry.Never = true
	after := fail(app.StageDepends, app.ReasonDependency)
	after.Retry.After = 30 * time.Second
	refused, timedOut := fail(app.StageApply, app.ReasonForbidden), fail(app.StageDelete, app.ReasonTimeout)
	for _, c := range []struct {
		name   string
		policy app.Policy
		rep    app.Report
		delete bool
		want   time.Duration // -1 for never
	}{
		{"well", fixed, app.Report{}, false, -1},
		{"pre-empted: what took over runs", fixed, app.Report{Failure: fail(app.StageApply, app.ReasonSuperseded)}, false, -1},
		{"only a commit can mend it", fixed, app.Report{Failure: never}, false, -1},
		{"the failure says when", fixed, app.Report{Failure: after}, false, 30 * time.Second},
		{"a fixed interval", fixed, app.Report{Failure: refused, Attempt: tried(7)}, false, time.Minute},
		{"a growing one", growing, app.Report{Failure: refused, Attempt: tried(1)}, false, 20 * time.Second},
		{"tries are used up", growing, app.Report{Failure: refused, Attempt: tried(2)}, false, -1},
		{"the API server is away", growing, app.Report{Failure: fail(app.StageObserve, app.ReasonClusterDown)}, false, time.Second},
		{"the API server is in trouble", fixed, app.Report{Failure: fail(app.StageApply, app.ReasonInternal)}, false, time.Second},
		{"the cache was emptied", fixed, app.Report{Failure: fail(app.StageFetch, app.ReasonSourceLost)}, false, time.Second},
		{"a look that failed", growing, app.Report{Failure: fail(app.StageObserve, app.ReasonInternal)}, false, time.Second},
		{"a look that was not permitted", growing, app.Report{Failure: fail(app.StageObserve, app.ReasonForbidden)}, false, time.Second},
		{"a rendering that failed", growing, app.Report{Failure: fail(app.StageRender, app.ReasonBuild)}, false, -1},
		{"held", growing, app.Report{RetryAt: time.Date(2000, 1, 1, 0, 0, 7, 0, time.UTC)}, false, 7 * time.Second},
		{"held, after a failure that passes", fixed, app.Report{RetryAt: time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC),
			Failure: fail(app.StageApply, app.ReasonClusterDown)}, false, time.Second},
		{"a deletion that failed", app.Policy{}, app.Report{Failure: timedOut, Attempt: tried(0)}, true, time.Second},
		{"a deletion that nothing can mend", app.Policy{}, app.Report{Failure: never}, true, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // which begins at 2000-01-01
				e := known([]string{"a"})
				a := e.apps[id("a")]
				a.spec.Policy = c.policy
				if c.delete {
					a.spec.Deletion = &app.Deletion{}
				}
				at, want := e.next(a, c.rep), time.Time{}
				if c.want >= 0 {
					want = time.Now().Add(c.want)
				}
				if !at.Equal(want) {
					t.Errorf("at %s, want %s", at, want)
				}
				if it := e.home.queue.items[a.id]; (it != nil) != (c.want >= 0) || it != nil && !it.due.Equal(want) {
					t.Errorf("in the queue it is %+v", it)
				}
			})
		})
	}
}

// A look at the health of an app comes in between; the retry that the app
// waits for must still come.
func TestALookAtHealthUsesUpNoRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		rep := app.Report{Objects: []app.ObjectReport{{Ref: object.Ref{Kind: "ConfigMap", Name: "x"}}}}
		a := &state{id: id("a"), dest: e.home, last: &rep}
		e.apps[a.id] = a
		start := time.Now()
		e.plan(a, app.CauseRetry, start.Add(time.Minute))
		e.trigger(a.id, app.CauseHealth, healthDelay)
		got, cause := take(t, e.home.queue)
		if cause != app.CauseHealth || time.Since(start) != healthDelay {
			t.Fatalf("ran for %s after %s", cause, time.Since(start))
		}
		e.work(t.Context(), e.home, got, cause)
		e.home.queue.done(got)
		if _, cause := take(t, e.home.queue); cause != app.CauseRetry || time.Since(start) != time.Minute {
			t.Errorf("ran for %s after %s, want the retry", cause, time.Since(start))
		}
	})
}

func TestMapsShrink(t *testing.T) {
	refs := func(names ...string) (out []app.Record) {
		for _, n := range names {
			out = append(out, app.Record{Ref: object.Ref{Kind: "ConfigMap", Name: n}})
		}
		return out
	}
	a := &state{id: id("a"), health: map[object.Ref]seenHealth{}}
	a.remember(refs("stays", "goes"))
	for _, r := range refs("stays", "goes", "checked", "passed by") {
		a.health[r.Ref] = seenHealth{}
	}
	a.spec.Policy.HealthChecks = []app.HealthCheck{{Kind: "ConfigMap", Name: "checked"}}
	left := a.left(refs("stays", "new"))
	a.remember(refs("stays", "new"))
	a.forgetHealth()
	if len(a.health) != 2 {
		t.Errorf("health is still known of %v", a.health)
	}
	e := New(Options{})
	e.apps[a.id] = a
	e.home.own(a.id, refs("goes"))
	if e.home.disown(a.id, left); len(e.home.owners) != 0 {
		t.Errorf("left are %v, and still owned %v", left, e.home.owners)
	}
	e.home.own(id("another"), refs("goes"))
	if e.home.disown(a.id, left); len(e.home.owners) != 1 {
		t.Error("took it from another app")
	}
}
