package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"plumb.dev/plumb/internal/app"
)

func id(name string) app.ID { return app.ID{Kind: "Kustomization", Namespace: "ns", Name: name} }

func take(t *testing.T, q *queue) (app.ID, app.Cause) {
	t.Helper()
	got, cause, err := q.next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return got, cause
}

func TestQueueTakesByUrgency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		now := time.Now()
		q.add(id("periodic"), app.CauseRetry, now)
		q.add(id("commit"), app.CauseRevision, now)
		q.add(id("first-drift"), app.CauseDrift, now)
		q.add(id("second-drift"), app.CauseDrift, now)
		q.add(id("user"), app.CauseRequest, now)
		for _, want := range []string{"user", "first-drift", "second-drift", "commit", "periodic"} {
			if got, _ := take(t, q); got.Name != want {
				t.Errorf("got %s, want %s", got.Name, want)
			}
		}
	})
}

func TestQueueKeepsTheEarlierTimeAndTheMoreUrgentCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		start := time.Now()
		q.add(id("a"), app.CauseRetry, start.Add(time.Hour))
		q.add(id("a"), app.CauseHealth, start.Add(time.Minute))
		q.add(id("a"), app.CauseRetry, start.Add(2*time.Hour))
		got, cause := take(t, q)
		if got != id("a") || cause != app.CauseHealth || time.Since(start) != time.Minute {
			t.Errorf("got %s for %s after %s", got, cause, time.Since(start))
		}
	})
}

func TestQueueRunsForTheCauseThatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		start := time.Now()
		q.add(id("a"), app.CauseDrift, start.Add(time.Hour))
		q.add(id("a"), app.CauseDepends, start)
		if _, cause := take(t, q); cause != app.CauseDepends {
			t.Errorf("ran for %s, which is not due", cause)
		}
		q.add(id("b"), app.CauseRevision, start)
		q.add(id("b"), app.CauseDrift, start.Add(time.Hour))
		if _, cause := take(t, q); cause != app.CauseRevision {
			t.Errorf("ran for %s, which is not due", cause)
		}
	})
}

func TestQueueForgetsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.add(id("a"), app.CauseRevision, time.Now())
		take(t, q)
		q.add(id("a"), app.CauseDrift, time.Now())
		q.forget(id("a"))
		q.done(id("a"))
		if len(q.items) != 0 {
			t.Errorf("still there: %+v", q.items[id("a")])
		}
	})
}

func TestQueueNeverRunsAnAppTwiceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.add(id("a"), app.CauseRevision, time.Now())
		take(t, q)
		q.add(id("a"), app.CauseDrift, time.Now())
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if got, _, err := q.next(ctx); err == nil {
			t.Fatalf("%s runs twice", got)
		}
		q.done(id("a"))
		if got, cause := take(t, q); got != id("a") || cause != app.CauseDrift {
			t.Errorf("got %s for %s: what came up while it ran is lost", got, cause)
		}
	})
}

func TestQueueForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.add(id("waiting"), app.CauseRevision, time.Now())
		q.forget(id("waiting"))
		q.add(id("running"), app.CauseRevision, time.Now())
		take(t, q)
		q.add(id("running"), app.CauseDrift, time.Now())
		q.forget(id("running"))
		q.done(id("running"))
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if got, _, err := q.next(ctx); err == nil {
			t.Errorf("%s was forgotten and runs", got)
		}
	})
}
