package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"plumb.dev/plumb/internal/app"
)

func id(name string) app.ID { return app.ID{Kind: "Kustomization", Namespace: "ns", Name: name} }

// next takes what is due, or will be.
func next(ctx context.Context, q *queue) (app.ID, app.Cause, error) {
	if err := q.due(ctx); err != nil {
		return app.ID{}, "", err
	}
	id, cause, _ := q.take()
	return id, cause, nil
}

func take(t *testing.T, q *queue) (app.ID, app.Cause) {
	t.Helper()
	got, cause, err := next(context.Background(), q)
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
		if got, _, err := next(ctx, q); err == nil {
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
		if got, _, err := next(ctx, q); err == nil {
			t.Errorf("%s was forgotten and runs", got)
		}
	})
}

func tenantOf(n int) string { return fmt.Sprint("tenant-", n) }

// Of what is equally urgent each tenant has a turn, however much another has.
func TestTenantsHaveTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, now := newQueue(), time.Now()
		for i := range 5000 {
			big := id(fmt.Sprint("big-", i))
			q.enrol(big, "big")
			q.add(big, app.CauseRevision, now)
		}
		for i := range 5 {
			small := id(fmt.Sprint("small-", i))
			q.enrol(small, "small")
			q.add(small, app.CauseRevision, now)
		}
		var order []string
		for range 12 {
			got, _ := take(t, q)
			name, _, _ := strings.Cut(got.Name, "-")
			order = append(order, name)
		}
		if got := strings.Join(order, " "); got != "big small big small big small big small big small big big" {
			t.Error(got)
		}
		late := id("small-late")
		q.enrol(late, "small")
		q.add(late, app.CauseRevision, now)
		take(t, q)
		if got, _ := take(t, q); got != late {
			t.Errorf("%s goes before who comes late and has had no turn", got)
		}
	})
}

// Whose drift never ends holds nobody's commit up for ever.
func TestUrgencyDoesNotStarve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, now := newQueue(), time.Now()
		q.enrol(id("quiet"), "quiet")
		q.add(id("quiet"), app.CauseBookkeeping, now)
		for i := range 3 {
			q.add(id(fmt.Sprint("restless-", i)), app.CauseDrift, now)
		}
		for taken := 0; ; taken++ {
			got, _ := take(t, q)
			if got == id("quiet") {
				if taken < passedOver {
					t.Errorf("what is less urgent was taken after %d", taken)
				}
				return
			}
			if taken > passedOver {
				t.Fatal("what is less urgent never has its turn")
			}
			q.done(got)
			q.add(got, app.CauseDrift, now)
		}
	})
}

// TestNobodyStarves: whatever comes meanwhile, an item is taken after a number
// of others that is bounded by the tenants and by what its own tenant had
// before it: not by what the others have. Items come at random, for random
// causes, before and while others are taken; some run, some are forgotten.
func TestNobodyStarves(t *testing.T) {
	causes := []app.Cause{app.CauseRequest, app.CauseDrift, app.CauseSpec, app.CauseRevision, app.CauseHealth, app.CauseRetry, app.CauseBookkeeping}
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			q, now := newQueue(), time.Now()
			tenants := 1 + random.IntN(6)
			type waits struct {
				bound, passed int
			}
			waiting := map[app.ID]*waits{}
			var running []app.ID
			n := 0
			come := func() {
				// The first tenant has most of it.
				tenant := max(0, random.IntN(3*tenants)-2*tenants)
				one := id(fmt.Sprint("app-", n))
				n++
				level := random.IntN(len(causes))
				q.enrol(one, tenantOf(tenant))
				before := 0
				if l := q.ready[urgency(causes[level])].lines[tenantOf(tenant)]; l != nil {
					before = l.items.Len()
				}
				q.add(one, causes[level], now)
				// Its level has at least every (passedOver+urgencies)th turn, and
				// of those its tenant one in as many as there are tenants.
				waiting[one] = &waits{bound: (before + 1) * tenants * (passedOver + urgencies)}
			}
			for range random.IntN(200) {
				come()
			}
			for range 600 {
				for range random.IntN(3) {
					come()
				}
				if random.IntN(4) == 0 && len(running) > 0 {
					again := running[0]
					running = running[1:]
					q.done(again)
				}
				got, _, ok := q.take()
				if !ok {
					continue
				}
				running = append(running, got)
				delete(waiting, got)
				for one, w := range waiting {
					if w.passed++; w.passed > w.bound {
						t.Fatalf("seed %d: %s was passed over %d times by others, at most %d are fair", seed, one, w.passed, w.bound)
					}
					if random.IntN(5000) == 0 {
						q.forget(one)
						delete(waiting, one)
					}
				}
			}
			for len(waiting) > 0 { // all that waits is taken in the end, each once
				got, _, ok := q.take()
				if !ok {
					t.Fatalf("seed %d: %d are lost", seed, len(waiting))
				}
				if _, there := waiting[got]; !there {
					t.Fatalf("seed %d: %s was taken twice, or forgotten", seed, got)
				}
				delete(waiting, got)
			}
			if _, _, ok := q.take(); ok || q.size() != 0 {
				t.Errorf("seed %d: something is left", seed)
			}
		})
	}
}

// An app that waits behind what its tenant has, and becomes more urgent, goes
// where that belongs; one that changes hands waits in the other line.
func TestQueueMovesWhatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, now := newQueue(), time.Now()
		for _, name := range []string{"a", "b", "c"} {
			q.enrol(id(name), "one")
			q.add(id(name), app.CauseRevision, now)
		}
		q.add(id("c"), app.CauseRequest, now)
		q.enrol(id("b"), "two")
		var order []string
		for range 3 {
			got, _ := take(t, q)
			order = append(order, got.Name)
		}
		if got := strings.Join(order, " "); got != "c a b" || q.size() != 0 {
			t.Errorf("%s, and %d are left", got, q.size())
		}
		for i := range q.ready {
			if len(q.ready[i].lines) != 0 || q.ready[i].order.Len() != 0 {
				t.Errorf("urgency %d keeps empty lines", i)
			}
		}
	})
}

// A time that a status tells is waited for by the clock that is not put back.
func TestQueueGoesByTheMonotonicClock(t *testing.T) {
	q := newQueue()
	q.add(id("a"), app.CauseRetry, time.Now().Add(time.Hour).Round(0))
	if due := q.items[id("a")].due; !strings.Contains(due.String(), " m=") {
		t.Errorf("it is due at %s, wherever the clock on the wall goes", due)
	}
}
