// Package replica makes this process one of several that serve a cluster. Each
// holds a Lease; the Leases that exist are the members, and package shard says
// what follows from that. This package brings it about: it renews, watches,
// removes the Leases of the dead, and closes the fence when this process may
// itself be taken for dead. It must not know what a share is worked on.
package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"plumb.dev/plumb/internal/pace"
	"plumb.dev/plumb/internal/shard"
)

// ErrTaken: another process holds the Lease of this replica's id.
var ErrTaken = errors.New("another process goes by the replica id")

// Options make a member. Config, ID and Log must be set.
type Options struct {
	// Config reaches the cluster, with no fence before it.
	Config *rest.Config
	// Namespace holds the Leases; "" means plumb-system. It is made if it does
	// not exist.
	Namespace string
	// ID is the same after a restart, and belongs to one process at a time.
	ID string
	// Duration is how long a Lease lives without being renewed, whole seconds;
	// 0 means 6 s. It is renewed three times in that.
	Duration time.Duration
	// Margin is how much sooner this process stops to write, to allow for what
	// is on its way; 0 means a third of Duration.
	Margin time.Duration
	Log    *slog.Logger
}

// Work is what a member shares with others. Narrow and Widen are called one at
// a time.
type Work struct {
	// Narrow ends the work on everything that is not in the share, and returns
	// when none of it is under way. New work on it must not begin.
	Narrow func(share shard.Share)
	// Widen begins work on the whole share. shared tells whether others have, or
	// may have, worked on it since this process last looked. An error makes it be
	// called again; ctx ends when the share is no longer so.
	Widen func(ctx context.Context, share shard.Share, shared bool) error
	// Pushed hears of push events that other members got.
	Pushed func(urls ...string)
}

// Member is this process among the replicas.
type Member struct {
	opts    Options
	name    string // of the Lease
	core    kubernetes.Interface
	leases  coordinationclient.LeaseInterface
	fence   *Fence
	members *members
	pushbox *pushbox
	now     func() time.Duration

	writing     sync.Mutex // one write to the Lease at a time
	incarnation string
	lease       *coordinationv1.Lease // as it was written last
}

// New makes a member that is not one yet. It sends nothing.
func New(opts Options) (*Member, error) {
	if opts.Namespace == "" {
		opts.Namespace = "plumb-system"
	}
	if opts.Duration == 0 {
		opts.Duration = 6 * time.Second
	}
	if opts.Margin == 0 {
		opts.Margin = opts.Duration / 3
	}
	config := rest.CopyConfig(opts.Config)
	config.QPS = -1
	config.WarningHandlerWithContext = rest.NoWarnings{}
	// A connection for each request under way: one that hangs is given up with
	// its request, and does not take the next renewal down with it.
	config.NextProtos = []string{"http/1.1"}
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	return &Member{opts: opts, name: leaseName(opts.ID), core: core, leases: core.CoordinationV1().Leases(opts.Namespace),
		fence: newFence(sinceBoot), members: newMembers(sinceBoot), pushbox: newPushbox(), now: sinceBoot}, nil
}

// Fence is what all connections must be behind that work on the share.
func (m *Member) Fence() *Fence { return m.fence }

// Join makes this process a member, as soon as the API server lets it. It
// returns an error only when ctx ends.
func (m *Member) Join(ctx context.Context) error {
	m.incarnation = rand.Text()
	retry := wait.Backoff{Duration: 50 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 10, Cap: 2 * time.Second}
	for told := false; ; {
		err := m.create(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !told && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			told = true
			m.opts.Log.Warn("the Lease of this replica cannot be made; nothing is delivered before", "lease", m.opts.Namespace+"/"+m.name, "error", err)
		}
		again := time.NewTimer(retry.Step())
		select {
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		case <-again.C:
		}
	}
}

// Leave ends the membership: others take the share over at once. All work must
// have ended.
func (m *Member) Leave(ctx context.Context) error {
	m.fence.end()
	m.writing.Lock()
	defer m.writing.Unlock()
	if m.lease == nil {
		return nil
	}
	err := m.leases.Delete(ctx, m.name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &m.lease.UID, ResourceVersion: &m.lease.ResourceVersion}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("removing the Lease of this replica: %w", err)
	}
	return nil
}

// Run takes part, from Join on, until ctx ends.
func (m *Member) Run(ctx context.Context, work Work) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	tasks.Go(func() { m.watch(ctx) })
	tasks.Go(func() { m.tellPushes(ctx) })
	shared := false
	for {
		lost, err := m.term(ctx, work, &shared)
		if ctx.Err() != nil {
			return nil
		}
		if !lost {
			return err
		}
		m.opts.Log.Warn("the Lease of this replica expired, others have its work; it joins anew", "lease", m.opts.Namespace+"/"+m.name)
		shared = true
		work.Narrow(shard.Share{})
		if err := m.Join(ctx); err != nil {
			return nil
		}
	}
}

// term takes part under one incarnation, until that is lost. shared is set as
// soon as others are seen.
func (m *Member) term(ctx context.Context, work Work, shared *bool) (lost bool, _ error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer m.fence.end()
	var renewal sync.WaitGroup
	defer renewal.Wait()
	defer cancel(nil)
	renewal.Go(func() { cancel(m.renew(ctx)) })

	handover := shard.NewHandover(m.name, m.incarnation)
	seen := false // this incarnation, in the watch
	var widening background
	defer func() { widening.stop() }()
	for {
		members, synced := m.members.state()
		*shared = *shared || len(members) > 1
		seen = seen || slices.ContainsFunc(members, func(o shard.Member) bool { return o.Name == m.name && o.Incarnation == m.incarnation })
		if synced && seen {
			step := handover.See(members)
			switch {
			case step.Lost:
				if m.taken() {
					return false, fmt.Errorf("%w: %s", ErrTaken, m.opts.ID)
				}
				return true, nil
			case step.Narrow:
				widening.stop()
				work.Narrow(step.Share)
				if err := m.persist(ctx, step.Acknowledge); err != nil {
					return errors.Is(err, errLost), err
				}
				m.opts.Log.Debug("acknowledged", "members", len(members), "kept", step.Share.Len())
				continue
			case step.Widen:
				m.opts.Log.Info("share", "replicas", len(members), "partitions", step.Share.Len(), "of", shard.Partitions)
				others := *shared
				widening = start(ctx, func(ctx context.Context) { m.widen(ctx, work, step.Share, others) })
			}
		}
		if urls := m.hearPushes(); len(urls) > 0 {
			work.Pushed(urls...)
		}
		expiry := m.removeExpired(ctx)
		select {
		case <-ctx.Done():
			return errors.Is(context.Cause(ctx), errLost), context.Cause(ctx)
		case <-m.members.news:
		case <-expiry.C:
		}
		expiry.Stop()
	}
}

// taken reports whether the watch shows the Lease of this process in the hands
// of another.
func (m *Member) taken() bool {
	l := m.members.lease(m.name)
	m.writing.Lock()
	defer m.writing.Unlock()
	return l != nil && !m.precedes(l)
}

// background is something that is under way and may be stopped. The zero value
// is nothing.
type background struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func start(ctx context.Context, f func(context.Context)) background {
	ctx, cancel := context.WithCancel(ctx)
	b := background{cancel, make(chan struct{})}
	go func() {
		defer close(b.done)
		f(ctx)
	}()
	return b
}

// stop returns when it has ended.
func (b background) stop() {
	if b.cancel != nil {
		b.cancel()
		<-b.done
	}
}

// widen begins a share, and tries again until that works or is outdated.
func (m *Member) widen(ctx context.Context, work Work, share shard.Share, shared bool) {
	for {
		err := work.Widen(ctx, share, shared)
		if err == nil || ctx.Err() != nil {
			return
		}
		m.opts.Log.Warn("the share of this replica cannot be begun", "error", err)
		again := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
		case <-again.C:
		}
		again.Stop()
	}
}

// retryEvery is how soon a write to the Lease that failed is tried again.
const retryEvery = 300 * time.Millisecond

// persist publishes an acknowledgement.
func (m *Member) persist(ctx context.Context, value string) error {
	for {
		err := m.update(ctx, acknowledged, value)
		switch {
		case err == nil || errors.Is(err, errLost) || errors.Is(err, ErrTaken):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		again := time.NewTimer(retryEvery)
		select {
		case <-ctx.Done():
		case <-again.C:
		}
		again.Stop()
	}
}

// renew keeps the Lease alive, and returns when it is lost.
func (m *Member) renew(ctx context.Context) error {
	every := m.opts.Duration / 3
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		err := m.update(ctx, "", "")
		switch {
		case err == nil:
			timer.Reset(every)
			continue
		case errors.Is(err, errLost), errors.Is(err, ErrTaken):
			m.fence.end()
			return err
		}
		m.opts.Log.Debug("the Lease of this replica is not renewed", "error", err)
		timer.Reset(retryEvery)
	}
}

// removeExpired removes the Leases that nobody renews. It gives a timer for
// the next time that one may be expired. Only what a Lease says when it is
// removed counts, and who is out of touch himself judges nobody: what seems
// unchanged to him may just not have been told.
func (m *Member) removeExpired(ctx context.Context) *time.Timer {
	const longest = time.Hour
	next := time.Duration(longest)
	since, open := m.fence.opened()
	if !open {
		return time.NewTimer(m.opts.Duration / 3)
	}
	for _, s := range m.members.others(m.name) {
		left := max(s.at, since) + durationOf(s.lease) - m.now()
		if left > 0 {
			next = min(next, left)
			continue
		}
		next = min(next, time.Second) // should it fail
		limited, cancel := context.WithTimeout(ctx, m.opts.Duration/3)
		err := m.leases.Delete(limited, s.lease.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &s.lease.UID, ResourceVersion: &s.lease.ResourceVersion}})
		cancel()
		switch {
		case err == nil:
			m.opts.Log.Info("a replica is gone", "lease", s.lease.Name)
		case !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil:
			m.opts.Log.Warn("the Lease of a replica that is gone cannot be removed", "lease", s.lease.Name, "error", err)
		}
	}
	return time.NewTimer(next)
}

// watch keeps the members up to date until ctx ends.
func (m *Member) watch(ctx context.Context) {
	ctx = klog.NewContext(ctx, logr.Discard())
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.LabelSelector = Label
			ctx, cancel := context.WithTimeout(ctx, m.opts.Duration)
			defer cancel()
			return m.leases.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = Label
			return m.leases.Watch(ctx, options)
		},
	}
	pacer := pace.Pacer{Most: time.Second}
	cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(pacer.Watches(lw), m.core), &coordinationv1.Lease{}, m.members,
		cache.ReflectorOptions{Name: "replicas", Backoff: &wait.Backoff{Duration: 50 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 10, Cap: time.Second}}).
		RunWithContext(ctx)
}

// String names the member in logs.
func (m *Member) String() string { return strings.TrimPrefix(m.name, "plumb-") }
