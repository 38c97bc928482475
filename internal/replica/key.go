package replica

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	keySecret = "plumb-digests"
	keyField  = "key"
	keyBytes  = 32
)

// Key gives the key that all replicas of a cluster, and all that come after
// them, make digests of confidential content with, making it if there is none.
// A lost key costs one write for each object that it was used for. It is asked
// for before Join. The error is ctx's.
func (m *Member) Key(ctx context.Context) ([]byte, error) {
	retry := wait.Backoff{Duration: 50 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 10, Cap: 5 * time.Second}
	for told := false; ; told = true {
		key, err := m.key(ctx)
		if err == nil {
			return key, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !told {
			m.opts.Log.Warn("the key of digests cannot be read or made; nothing is delivered before", "secret", m.opts.Namespace+"/"+keySecret, "error", err)
		}
		timer := time.NewTimer(retry.Step())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

func (m *Member) key(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, m.opts.Duration)
	defer cancel()
	secrets := m.core.CoreV1().Secrets(m.opts.Namespace)
	found, err := secrets.Get(ctx, keySecret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		made := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: keySecret}, Data: map[string][]byte{keyField: make([]byte, keyBytes)}}
		_, _ = rand.Read(made.Data[keyField]) // never fails
		found, err = secrets.Create(ctx, made, metav1.CreateOptions{})
		switch {
		case apierrors.IsAlreadyExists(err): // another replica's
			found, err = secrets.Get(ctx, keySecret, metav1.GetOptions{})
		case apierrors.IsNotFound(err):
			if err = m.createNamespace(ctx); err == nil {
				found, err = secrets.Create(ctx, made, metav1.CreateOptions{})
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if len(found.Data[keyField]) < keyBytes {
		return nil, fmt.Errorf("the Secret %s/%s holds no %s of %d bytes; delete it to have a new one made", m.opts.Namespace, keySecret, keyField, keyBytes)
	}
	return found.Data[keyField], nil
}
