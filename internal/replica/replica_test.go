package replica

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/internal/shard"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

// worker is a member with what it was told.
type worker struct {
	*Member
	end   context.CancelFunc
	ended chan error

	mu       sync.Mutex
	share    shard.Share
	shared   bool
	narrowed int
	pushed   []string
}

// busy guards that no two workers of a group work on the same.
type busy struct {
	t       *testing.T
	mu      sync.Mutex
	workers []*worker
}

func (b *busy) check() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, one := range b.workers {
		for _, other := range b.workers[:i] {
			if both := one.has().And(other.has()); both.Len() > 0 {
				b.t.Errorf("%s and %s work both on %d partitions", one, other, both.Len())
			}
		}
	}
}

func (w *worker) has() shard.Share {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.share
}

func (b *busy) join(namespace, id string) *worker {
	b.t.Helper()
	m, err := New(Options{Config: sandboxtest.RESTConfig(b.t, sandboxtest.Cluster(b.t)), Namespace: namespace, ID: id,
		Duration: 2 * time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.t.Fatal(err)
	}
	w := &worker{Member: m, ended: make(chan error, 1)}
	b.mu.Lock()
	b.workers = append(b.workers, w)
	b.mu.Unlock()
	ctx, cancel := context.WithCancel(b.t.Context())
	w.end = cancel
	if err := m.Join(ctx); err != nil {
		b.t.Fatal(err)
	}
	go func() {
		w.ended <- m.Run(ctx, Work{
			Narrow: func(s shard.Share) {
				w.mu.Lock()
				w.share, w.narrowed = w.share.And(s), w.narrowed+1
				w.mu.Unlock()
			},
			Widen: func(_ context.Context, s shard.Share, shared bool) error {
				w.mu.Lock()
				w.share, w.shared = s, shared
				w.mu.Unlock()
				b.check()
				return nil
			},
			Pushed: func(urls ...string) {
				w.mu.Lock()
				w.pushed = append(w.pushed, urls...)
				w.mu.Unlock()
			},
		})
	}()
	return w
}

// leave ends a worker as a server does.
func (b *busy) leave(w *worker) {
	b.t.Helper()
	w.end()
	if err := <-w.ended; err != nil {
		b.t.Errorf("%s: %v", w, err)
	}
	w.mu.Lock()
	w.share = shard.Share{}
	w.mu.Unlock()
	if err := w.Leave(b.t.Context()); err != nil {
		b.t.Error(err)
	}
}

// all waits until the workers have all partitions among them.
func all(t *testing.T, workers ...*worker) {
	t.Helper()
	sandboxtest.Eventually(t, func(context.Context) error {
		n := 0
		for _, w := range workers {
			share := w.has()
			if share.Len() == 0 {
				return fmt.Errorf("%s has nothing", w)
			}
			n += share.Len()
		}
		if n != shard.Partitions {
			return fmt.Errorf("they have %d partitions", n)
		}
		return nil
	})
}

func TestComeAndGo(t *testing.T) {
	namespace := sandboxtest.Namespace(t, sandboxtest.Cluster(t))
	b := &busy{t: t}
	one := b.join(namespace, "one")
	all(t, one)
	if one.shared {
		t.Error("who is alone is told that others may have worked")
	}
	two := b.join(namespace, "two")
	all(t, one, two)
	three := b.join(namespace, "three")
	all(t, one, two, three)
	one.Pushed("https://git.example/fleet.git")
	for _, w := range []*worker{two, three} {
		sandboxtest.Eventually(t, func(context.Context) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if !slices.Equal(w.pushed, []string{"https://git.example/fleet.git"}) {
				return fmt.Errorf("%s heard of %v", w, w.pushed)
			}
			return nil
		})
	}
	b.leave(one)
	all(t, two, three)
	if !two.shared || one.pushed != nil {
		t.Error("what others did is not told, or one's own push is")
	}
	b.leave(three)
	all(t, two)
	b.leave(two)
	list, err := two.leases.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("left are %d Leases (%v)", len(list.Items), err)
	}
}

// Whose Lease is removed stops, and comes back as another.
func TestLapse(t *testing.T) {
	namespace := sandboxtest.Namespace(t, sandboxtest.Cluster(t))
	b := &busy{t: t}
	one, two := b.join(namespace, "one"), b.join(namespace, "two")
	all(t, one, two)
	old := two.incarnation
	narrowed := two.narrowed
	if err := one.leases.Delete(t.Context(), two.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		l, err := one.leases.Get(ctx, two.name, metav1.GetOptions{})
		if err == nil && holderOf(l) == old {
			err = errors.New("it is the old one")
		}
		return err
	})
	all(t, one, two)
	if two.narrowed < narrowed+1 {
		t.Error("it did not stop")
	}
	b.leave(one)
	b.leave(two)
}

// A Lease that nobody renews, whatever time it tells, is removed when it has
// not changed for as long as it says.
func TestAbandonedLease(t *testing.T) {
	namespace := sandboxtest.Namespace(t, sandboxtest.Cluster(t))
	core := sandboxtest.Client(t, sandboxtest.Cluster(t))
	holder, seconds, renewed := "dead", int32(2), metav1.NewMicroTime(time.Now().Add(time.Hour))
	_, err := core.CoordinationV1().Leases(namespace).Create(t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "plumb-dead", Labels: map[string]string{Label: "true"}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &renewed}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b := &busy{t: t}
	one := b.join(namespace, "one")
	all(t, one)
	if !one.shared {
		t.Error("it is not told that another was there")
	}
	b.leave(one)
}

// The process that comes later under the same id is the one that goes on.
func TestTaken(t *testing.T) {
	namespace := sandboxtest.Namespace(t, sandboxtest.Cluster(t))
	b := &busy{t: t}
	one := b.join(namespace, "same")
	all(t, one)
	again := (&busy{t: t}).join(namespace, "same")
	if err := <-one.ended; !errors.Is(err, ErrTaken) {
		t.Errorf("the first ends with %v", err)
	}
	if one.Fence().Open() {
		t.Error("the first may still write")
	}
	if err := one.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	all(t, again)
	if again.shared {
		t.Error("a restart must not wait for itself")
	}
	b.leave(again)
}

// All replicas have one key, whoever comes first, and those that come later.
func TestKey(t *testing.T) {
	config := sandboxtest.RESTConfig(t, sandboxtest.Cluster(t))
	namespace := "keys-" + strings.ToLower(rand.Text()[:8])
	keys := make([][]byte, 8)
	var group sync.WaitGroup
	for i := range keys {
		m, err := New(Options{Config: config, Namespace: namespace, ID: fmt.Sprint("r", i), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() { keys[i], _ = m.Key(t.Context()) })
	}
	group.Wait()
	for _, key := range keys {
		if len(key) != keyBytes || !bytes.Equal(key, keys[0]) {
			t.Fatalf("keys differ, or are none: %d bytes", len(key))
		}
	}
}
