package apply_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/apply"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

// memory is a Writer that writes into memory: apply decides nothing, so what
// it asked for, and in which order, is all that can be tested of it.
type memory struct {
	mu      sync.Mutex
	log     []string
	fail    map[string]error
	during  func(name string) // called in the middle of a write
	written plan.Written
}

func (m *memory) did(verb, name string) error {
	if m.during != nil {
		m.during(name)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, verb+" "+name)
	return m.fail[name]
}

func (m *memory) Apply(_ context.Context, o object.Object, _ plan.WriteOptions) (plan.Written, error) {
	return m.written, m.did("apply", o.Ref().Name)
}

func (m *memory) Recreate(_ context.Context, o object.Object, _ plan.WriteOptions) (plan.Written, error) {
	return m.written, m.did("recreate", o.Ref().Name)
}

func (m *memory) Delete(_ context.Context, ref object.Ref, version, uid string, _ app.Propagation) (bool, error) {
	return false, m.did("delete "+version+" "+uid, ref.Name)
}

func (m *memory) wait(verb string, failure *app.Failure) func(context.Context, []object.Ref) *app.Failure {
	return func(_ context.Context, refs []object.Ref) *app.Failure {
		var names []string
		for _, r := range refs {
			names = append(names, r.Name)
		}
		if err := m.did(verb, strings.Join(names, "+")); err != nil {
			return app.AsFailure(err, app.StageHealth)
		}
		return failure
	}
}

func ref(name string) object.Ref {
	return object.Ref{Kind: "ConfigMap", Namespace: "ns", Name: name}
}

func step(verb plan.Verb, name string) plan.Step {
	s := plan.Step{Verb: verb, Ref: ref(name), Version: "v1", UID: "uid-" + name}
	if verb != plan.Prune {
		s.Object = object.New(map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{"name": name, "namespace": "ns"}}, object.Origin{})
	}
	return s
}

func group(steps ...plan.Step) plan.Group { return plan.Group{Steps: steps} }

func run(ctx context.Context, m *memory, p plan.Plan, preempted context.Context) plan.Outcome {
	return apply.Run(ctx, p, apply.Options{Writer: m, Parallel: 1, Preempted: preempted, Now: time.Now,
		Await: m.wait("await", nil), Gone: m.wait("gone", nil)})
}

func TestRunGoesGroupByGroup(t *testing.T) {
	m := &memory{written: plan.Written{Changed: true}}
	first := group(step(plan.Create, "a"), step(plan.Apply, "b"))
	first.Await = []object.Ref{ref("a")}
	pruned := group(step(plan.Prune, "c"))
	pruned.Gone = true
	out := run(t.Context(), m, plan.Plan{Groups: []plan.Group{
		first, pruned, group(step(plan.Recreate, "d"), step(plan.Replace, "e")),
		{Name: "health", Await: []object.Ref{ref("a"), ref("d")}}, {Name: "being deleted", Leaving: []object.Ref{ref("x"), ref("y")}},
	}}, nil)
	want := []string{"apply a", "apply b", "await a", "delete v1 uid-c c", "gone c", "recreate d", "apply e", "await a+d", "gone x+y"}
	if out.Failure != nil || !slices.Equal(m.log, want) {
		t.Errorf("did %q, want %q; failure %v", m.log, want, out.Failure)
	}
	var actions []app.Action
	for _, r := range out.Results {
		actions = append(actions, r.Action)
	}
	if want := []app.Action{app.ActionConfigured, app.ActionConfigured, app.ActionPruned, app.ActionConfigured, app.ActionConfigured}; !slices.Equal(actions, want) {
		t.Errorf("actions are %q, want %q", actions, want)
	}
}

func TestRunTellsWhatAWriteDid(t *testing.T) {
	for want, written := range map[app.Action]plan.Written{
		app.ActionCreated: {Created: true, Changed: true}, app.ActionConfigured: {Changed: true}, app.ActionUnchanged: {},
	} {
		out := run(t.Context(), &memory{written: written}, plan.Plan{Groups: []plan.Group{group(step(plan.Apply, "a"))}}, nil)
		if got := out.Results[0].Action; got != want {
			t.Errorf("%+v is %q, want %q", written, got, want)
		}
	}
}

func TestRunFinishesAGroupBeforeItStops(t *testing.T) {
	m := &memory{fail: map[string]error{
		"a": app.Fail(app.StageObserve, app.ReasonForbidden, "a may not"), "c": errors.New("c broke"), "gone": errors.New("-")}}
	g := group(step(plan.Apply, "a"), step(plan.Apply, "b"), step(plan.Prune, "c"))
	g.Await, g.Gone = []object.Ref{ref("b")}, true
	out := run(t.Context(), m, plan.Plan{Groups: []plan.Group{g, group(step(plan.Apply, "d"))}}, nil)
	if want := []string{"apply a", "apply b", "delete v1 uid-c c"}; !slices.Equal(m.log, want) {
		t.Errorf("did %q, want %q", m.log, want)
	}
	f := out.Failure
	if f == nil || f.Stage != app.StageApply || f.Reason != app.ReasonForbidden {
		t.Fatalf("failure is %#v, want that of the first step", f)
	}
	if text := f.Error(); !strings.Contains(text, "a may not") || !strings.Contains(text, "c broke") {
		t.Errorf("%q does not name all that failed", text)
	}
	for i, want := range []app.Action{app.ActionFailed, app.ActionUnchanged, app.ActionFailed} {
		if r := out.Results[i]; r.Action != want || (r.Failure != nil) != (want == app.ActionFailed) {
			t.Errorf("result %d: %q, failure %v", i, r.Action, r.Failure)
		}
	}
	if stage := out.Results[2].Failure.Stage; stage != app.StagePrune {
		t.Errorf("a failed prune is of stage %q", stage)
	}
}

func TestRunBoundsWhatItSaysOfFailures(t *testing.T) {
	m := &memory{fail: map[string]error{"a": errors.New("it broke")}}
	steps := make([]plan.Step, 500)
	for i := range steps {
		steps[i] = step(plan.Apply, "a")
	}
	out := run(t.Context(), m, plan.Plan{Groups: []plan.Group{group(steps...)}}, nil)
	text := out.Failure.Error()
	if n := strings.Count(text, "it broke"); n != 20 || !strings.Contains(text, "and 480 more") {
		t.Errorf("%d failures are named: …%s", n, text[len(text)-40:])
	}
}

func TestRunStopsWhenAWaitFails(t *testing.T) {
	m := &memory{fail: map[string]error{}}
	broken := app.Fail(app.StageHealth, app.ReasonUnhealthy, "b is broken")
	out := apply.Run(t.Context(), plan.Plan{Groups: []plan.Group{
		{Steps: []plan.Step{step(plan.Apply, "a")}, Await: []object.Ref{ref("a")}}, group(step(plan.Apply, "b"))}},
		apply.Options{Writer: m, Now: time.Now, Await: m.wait("await", broken)})
	if out.Failure != broken || len(out.Results) != 1 {
		t.Errorf("failure %v after %d steps", out.Failure, len(out.Results))
	}
}

func TestRunIsPreemptedBetweenGroupsOnly(t *testing.T) {
	newer := &app.Failure{Stage: app.StageApply, Reason: app.ReasonSuperseded, Err: errors.New("a newer revision takes over")}
	for name, cause := range map[string]error{"a failure": newer, "any error": errors.New("stop")} {
		preempted, preempt := context.WithCancelCause(t.Context())
		m := &memory{during: func(step string) {
			if step == "a" {
				preempt(cause)
			}
		}}
		out := run(t.Context(), m, plan.Plan{Groups: []plan.Group{
			group(step(plan.Apply, "a"), step(plan.Apply, "b")), group(step(plan.Apply, "c"))}}, preempted)
		if want := []string{"apply a", "apply b"}; !slices.Equal(m.log, want) {
			t.Errorf("%s: did %q, want %q", name, m.log, want)
		}
		if out.Failure == nil || out.Failure.Reason != app.ReasonSuperseded || !errors.Is(out.Failure, cause) && out.Failure != cause {
			t.Errorf("%s: failure is %v", name, out.Failure)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	m := &memory{}
	if out := run(ctx, m, plan.Plan{Groups: []plan.Group{group(step(plan.Apply, "a"))}}, nil); out.Failure.Reason != app.ReasonTerminated || len(m.log) > 0 {
		t.Errorf("after the end: did %q, failure %v", m.log, out.Failure)
	}
}

func TestRunWritesSideBySideWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		release := make(chan struct{})
		m := &memory{during: func(string) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			<-release
			mu.Lock()
			now--
			mu.Unlock()
		}}
		steps := make([]plan.Step, 20)
		for i := range steps {
			steps[i] = step(plan.Apply, string(rune('a'+i)))
		}
		done := make(chan plan.Outcome)
		go func() {
			done <- apply.Run(t.Context(), plan.Plan{Groups: []plan.Group{group(steps...)}}, apply.Options{Writer: m, Now: time.Now})
		}()
		synctest.Wait()
		if most != 8 {
			t.Errorf("%d writes at a time, want 8", most)
		}
		close(release)
		out := <-done
		for i, r := range out.Results {
			if r.Step.Ref != steps[i].Ref {
				t.Errorf("result %d is that of %s", i, r.Step.Ref)
			}
		}
	})
}
