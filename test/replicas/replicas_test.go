package replicas

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

func TestReplicas(t *testing.T) {
	w := begin(t)
	for _, id := range []string{"one", "two", "three"} {
		w.start(id)
	}
	w.members("one", "two", "three")
	w.create()
	head := strings.TrimSpace(w.repo.Git("rev-parse", "HEAD"))
	w.converged(head)
	began := time.Now()
	for _, tell := range []string{"one", "two", "three"} {
		w.converged(w.commit(tell))
	}
	w.divided(began, "one", "two", "three")
	w.idle()
	w.killed()
	w.paused()
	w.joined()
	w.outage()
	w.oneAtATime()
}

// members waits until the Leases are those of the replicas.
func (w *world) members(ids ...string) {
	w.t.Helper()
	sandboxtest.Eventually(w.t, func(ctx context.Context) error {
		list, err := w.core.CoordinationV1().Leases("plumb-system").List(ctx, metav1.ListOptions{LabelSelector: "plumb.dev/replica"})
		if err != nil {
			return err
		}
		there := map[string]bool{}
		acknowledged := map[string]bool{}
		for _, l := range list.Items {
			there[l.Name] = true
			view, _, _ := strings.Cut(l.Annotations["plumb.dev/acknowledged"], " ")
			acknowledged[view] = true
		}
		for _, id := range ids {
			if !there["plumb-"+id] {
				return fmt.Errorf("%s is not among %v", id, there)
			}
		}
		if len(there) != len(ids) || len(acknowledged) != 1 {
			return fmt.Errorf("want %v, there are %v, which acknowledge %v", ids, there, acknowledged)
		}
		return nil
	})
}

// divided reads that each of the replicas, and nobody else, has its part.
func (w *world) divided(since time.Time, ids ...string) {
	w.t.Helper()
	shares, sum := w.shares(since), 0
	for _, id := range ids {
		if shares[id] == 0 {
			w.t.Errorf("%s has done nothing: %v", id, shares)
		}
		sum += shares[id]
	}
	if sum != apps || len(shares) != len(ids) {
		w.t.Errorf("%d apps are divided so: %v", apps, shares)
	}
	w.t.Logf("divided: %v", shares)
}

// idle: replicas with nothing to do renew their Leases, and watch.
func (w *world) idle() {
	w.t.Helper()
	settle := time.NewTimer(3 * time.Second)
	<-settle.C
	const span = 12 * time.Second
	began := time.Now()
	rest := time.NewTimer(span)
	<-rest.C
	leases, watches := 0, 0
	for _, e := range w.events() {
		if e.RequestReceivedTimestamp.Before(began) {
			continue
		}
		switch id, lease := e.replica(); {
		case id == "":
		case e.Verb == "watch":
			watches++
		case lease && e.Verb == "update":
			leases++
		default:
			w.t.Errorf("idle, %s asks: %s %s", id, e.Verb, e.RequestURI)
		}
	}
	minutes := span.Minutes()
	w.t.Logf("idle, a minute: %.0f renewals of Leases, %.0f watches begun, nothing else", float64(leases)/minutes, float64(watches)/minutes)
	if leases == 0 {
		w.t.Error("the audit log shows no renewal: it is not one")
	}
}

// killed: the apps of a replica that dies are taken over.
func (w *world) killed() {
	w.t.Helper()
	at := time.Now()
	w.kill("two")
	w.converged(w.commit("one"))
	w.members("one", "three")
	w.divided(at, "one", "three")
	w.logTakeover("killed", "two", at)
	w.start("two")
	w.members("one", "two", "three")
	began := time.Now()
	w.converged(w.commit("three"))
	w.divided(began, "one", "two", "three")
}

// logTakeover tells when the first object was written that another had.
func (w *world) logTakeover(how, id string, at time.Time) {
	last := map[string]string{}
	for _, e := range w.events() {
		by, lease := e.replica()
		if by == "" || lease || !e.writes() || e.app() == "" {
			continue
		}
		if e.RequestReceivedTimestamp.After(at) && last[e.app()] == id && by != id {
			w.t.Logf("%s: an heir of %s wrote first after %s", how, id, e.RequestReceivedTimestamp.Sub(at).Round(time.Millisecond))
			return
		}
		last[e.app()] = by
	}
	w.t.Errorf("%s: nobody wrote for what %s had", how, id)
}

// paused: a replica is stopped in the middle of delivering a commit, and goes on
// when others have its work and have delivered more: it writes nothing until it
// is a member again.
func (w *world) paused() {
	w.t.Helper()
	at := time.Now()
	w.commit("three") // under way when it is stopped
	w.signal("three", syscall.SIGSTOP)
	w.converged(w.commit("one")) // deletes what the one before makes, or the other way round
	w.converged(w.commit("two"))
	head := w.commit("one")
	w.converged(head)
	w.members("one", "two")
	w.logTakeover("paused", "three", at)
	w.signal("three", syscall.SIGCONT)
	w.members("one", "two", "three")
	w.converged(head)
	lapsed, joined := w.absence("three", at)
	n := 0
	for _, e := range w.events() {
		id, lease := e.replica()
		if id == "three" && !lease && e.RequestReceivedTimestamp.After(lapsed) && e.RequestReceivedTimestamp.Before(joined) {
			n++
			w.t.Errorf("three had no Lease from %s to %s, and at %s it sent %s %s", lapsed, joined, e.RequestReceivedTimestamp, e.Verb, e.RequestURI)
		}
	}
	w.t.Logf("paused: without a Lease for %s, %d requests in that time", joined.Sub(lapsed).Round(time.Millisecond), n)
	began := time.Now()
	w.converged(w.commit("three"))
	w.divided(began, "one", "two", "three")
}

// absence is when the Lease of a replica was removed and when it made another.
func (w *world) absence(id string, since time.Time) (lapsed, joined time.Time) {
	w.t.Helper()
	for _, e := range w.events() {
		if e.ObjectRef.Resource != "leases" || e.RequestReceivedTimestamp.Before(since) || e.ResponseStatus.Code >= 300 {
			continue
		}
		by, _ := e.replica()
		switch {
		case e.Verb == "delete" && e.ObjectRef.Name == "plumb-"+id:
			lapsed = e.StageTimestamp
		case e.Verb == "create" && by == id && !lapsed.IsZero():
			return lapsed, e.RequestReceivedTimestamp
		}
	}
	w.t.Fatalf("the audit log does not show that %s was without a Lease (since %s)", id, lapsed)
	return lapsed, joined
}

// outage: the API server is away for longer than a Lease lives. Nobody takes
// anything over for that: all were out of touch alike.
func (w *world) outage() {
	w.t.Helper()
	before := len(w.events())
	w.cluster.Kill()
	<-w.cluster.Done()
	away := time.NewTimer(8 * time.Second)
	<-away.C
	w.cluster = sandboxtest.Start(w.t, w.options)
	w.converged(w.commit("one"))
	for _, e := range w.events()[before:] {
		if e.ObjectRef.Resource == "leases" && (e.Verb == "delete" || e.Verb == "create") {
			if id, _ := e.replica(); id != "" {
				w.t.Errorf("after an outage of the API server %s did %s %s: %d", id, e.Verb, e.RequestURI, e.ResponseStatus.Code)
			}
		}
	}
}

// joined: a replica comes while commits flow, and goes when told to.
func (w *world) joined() {
	w.t.Helper()
	w.commit("one")
	w.start("four")
	for _, tell := range []string{"two", "three", "four", "one"} {
		w.commit(tell)
	}
	w.converged(w.commit("four"))
	w.members("one", "two", "three", "four")
	began := time.Now()
	w.converged(w.commit("one"))
	w.divided(began, "one", "two", "three", "four")
	w.commit("two")
	left := time.Now()
	if err := w.replicas["four"].Stop(); err != nil {
		w.t.Error(err)
	}
	delete(w.replicas, "four")
	w.converged(w.commit("one"))
	w.members("one", "two", "three")
	w.logTakeover("left", "four", left)
}
