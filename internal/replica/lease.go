package replica

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/shard"
)

// What a Lease of a replica says beside what every Lease says.
const (
	// Label is on every Lease of a replica.
	Label = "plumb.dev/replica"
	// acknowledged is what shard.Handover calls so.
	acknowledged = "plumb.dev/acknowledged"
	// pushes tells others of push events, see pushed.go.
	pushes = "plumb.dev/pushes"
)

var notInNames = regexp.MustCompile(`[^a-z0-9.-]+`)

// leaseName makes the name of an object of an id, different ones of different
// ids.
func leaseName(id string) string {
	const most = 200
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(id), "-"), "-.")
	name = strings.NewReplacer("..", "-", ".-", "-", "-.", "-").Replace(name)
	if name != id || len(name) > most {
		sum := sha256.Sum256([]byte(id))
		name = strings.Trim(name[:min(len(name), most)]+"-"+hex.EncodeToString(sum[:4]), "-.")
	}
	return "plumb-" + name
}

// durationOf is how long a Lease must stay unchanged to be expired. One that
// does not say is over.
func durationOf(l *coordinationv1.Lease) time.Duration {
	if l.Spec.LeaseDurationSeconds == nil {
		return 0
	}
	return time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
}

func holderOf(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

func memberOf(l *coordinationv1.Lease) shard.Member {
	return shard.Member{Name: l.Name, Incarnation: holderOf(l), Acknowledged: l.Annotations[acknowledged]}
}

// create makes the Lease of this process. One of the same name was left by a
// process before it, which is dead: a replica's id belongs to one process at a
// time. So it is taken over as it stands.
func (m *Member) create(ctx context.Context) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	began := m.now()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: m.name, Namespace: m.opts.Namespace}}
	m.fill(lease)
	got, err := m.leases.Create(ctx, lease, metav1.CreateOptions{})
	switch {
	case apierrors.IsNotFound(err):
		if err := m.createNamespace(ctx); err != nil {
			return err
		}
		got, err = m.leases.Create(ctx, lease, metav1.CreateOptions{})
	case apierrors.IsAlreadyExists(err):
		var old *coordinationv1.Lease
		if old, err = m.leases.Get(ctx, m.name, metav1.GetOptions{}); err != nil {
			return err
		}
		old.Annotations = nil
		m.fill(old)
		got, err = m.leases.Update(ctx, old, metav1.UpdateOptions{})
	}
	if err != nil {
		return err
	}
	m.lease = got
	m.fence.begin()
	m.fence.extend(began + m.opts.Duration - m.opts.Margin)
	return nil
}

// createNamespace makes the namespace of the Leases, for who serves a cluster
// from outside and has installed nothing but the definitions.
func (m *Member) createNamespace(ctx context.Context) error {
	_, err := m.core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: m.opts.Namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("namespace %s, for the Lease of this replica: %w", m.opts.Namespace, err)
	}
	return nil
}

// fill writes what this process says of itself.
func (m *Member) fill(l *coordinationv1.Lease) {
	seconds, now := int32(m.opts.Duration/time.Second), metav1.NowMicro()
	if l.Labels == nil {
		l.Labels = map[string]string{}
	}
	l.Labels[Label] = "true"
	if holderOf(l) != m.incarnation {
		l.Spec.AcquireTime = &now
	}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &m.incarnation, &seconds, &now
}

// precedes reports whether a Lease is an earlier state of the one that this
// process wrote last: the data of the cluster were restored. m.writing is held.
func (m *Member) precedes(l *coordinationv1.Lease) bool {
	mine, err := strconv.ParseUint(m.lease.ResourceVersion, 10, 64)
	then, err2 := strconv.ParseUint(l.ResourceVersion, 10, 64)
	return err == nil && err2 == nil && then < mine
}

// errLost: the Lease of this process is gone.
var errLost = fmt.Errorf("the Lease of this replica is gone")

// update renews the Lease and sets an annotation, if one is named. Nobody but
// this process writes to it: a conflict is a write of its own whose answer was
// lost, or someone's hand.
func (m *Member) update(ctx context.Context, annotation, value string) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	for try := 0; ; try++ {
		began := m.now()
		lease := m.lease.DeepCopy()
		m.fill(lease)
		if annotation != "" {
			if lease.Annotations == nil {
				lease.Annotations = map[string]string{}
			}
			lease.Annotations[annotation] = value
		}
		limited, cancel := context.WithTimeout(ctx, m.opts.Duration/3)
		got, err := m.leases.Update(limited, lease, metav1.UpdateOptions{})
		cancel()
		switch {
		case err == nil:
			m.lease = got
			m.fence.extend(began + m.opts.Duration - m.opts.Margin)
			return nil
		case apierrors.IsNotFound(err):
			return errLost
		case !apierrors.IsConflict(err) || try == 3:
			return err
		}
		limited, cancel = context.WithTimeout(ctx, m.opts.Duration/3)
		got, err = m.leases.Get(limited, m.name, metav1.GetOptions{})
		cancel()
		switch {
		case apierrors.IsNotFound(err):
			return errLost
		case err != nil:
			return err
		case holderOf(got) != m.incarnation && m.precedes(got):
			return errLost
		case holderOf(got) != m.incarnation:
			return fmt.Errorf("%w: %s", ErrTaken, m.opts.ID)
		}
		m.lease = got
	}
}
