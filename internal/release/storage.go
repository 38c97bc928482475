package release

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"

	helmrelease "helm.sh/helm/v4/pkg/release"
	helm "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage"
	"helm.sh/helm/v4/pkg/storage/driver"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"plumb.dev/plumb/internal/app"
)

// Stored is one revision in Helm's storage.
type Stored struct {
	// Snapshot is what is remembered of it, without tests, OCI digest and
	// action, which Helm does not store.
	Snapshot app.ReleaseSnapshot

	release *helm.Release
}

// Storage is what Helm's storage holds of a release, as far as a decision
// needs it.
type Storage struct {
	Last *Stored // the newest revision; nil: there is none
	// Known: Last is as the newest snapshot of the memory tells.
	Known bool
	// Target is the revision to roll back to, if the newest is broken.
	Target Target
}

// Target is how a rollback's target fares.
type Target string

// The states of a target.
const (
	TargetNone    Target = ""        // none is remembered
	TargetReady   Target = "ready"   // it is in storage, as it was
	TargetChanged Target = "changed" // it is gone from storage, or another now
)

// Look reads what Helm's storage holds of the release, in its present storage
// namespace. It writes nothing. The error is an app.Failure.
func (c *Client) Look(ctx context.Context, r app.Release) (Storage, error) {
	version, err := c.newest(ctx, r)
	if err != nil {
		return Storage{}, c.lookFailure(r, err)
	}
	if version == 0 {
		return Storage{}, nil
	}
	records, err := c.records(ctx, r.StorageNamespace)
	if err != nil {
		return Storage{}, c.lookFailure(r, err)
	}
	last, err := get(records, r.Name, version)
	if err != nil {
		return Storage{}, c.lookFailure(r, err)
	}
	s := Storage{Last: &Stored{Snapshot: snapshot(last, ""), release: last}}
	history := r.Memory.History
	if len(history) == 0 {
		return s, nil
	}
	s.Known = verify(last, history[0])
	at := rollbackTarget(r)
	if at == 0 {
		return s, nil
	}
	s.Target = TargetChanged
	if s.Last.Snapshot.Status != statusFailed && !history[0].TestFailed() {
		return s, nil // nothing is broken: it does not matter
	}
	switch target, err := get(records, history[at].Name, history[at].Version); {
	case errors.Is(err, driver.ErrReleaseNotFound):
	case err != nil:
		return Storage{}, c.lookFailure(r, err)
	case verify(target, history[at]):
		s.Target = TargetReady
	}
	return s, nil
}

// newest finds the newest revision by the metadata of its records, which is a
// small part of them; 0 if there is none.
func (c *Client) newest(ctx context.Context, r app.Release) (version int, err error) {
	client, err := metadata.NewForConfig(c.until(ctx))
	if err != nil {
		return 0, err
	}
	list, err := client.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(r.StorageNamespace).
		List(ctx, metav1.ListOptions{LabelSelector: labels.Set{"owner": "helm", "name": r.Name}.String()})
	if err != nil {
		return 0, err
	}
	prefix := recordName(r.Name, "")
	for _, item := range list.Items {
		if number, ok := strings.CutPrefix(item.Name, prefix); ok {
			if n, err := strconv.Atoi(number); err == nil {
				version = max(version, n)
			}
		}
	}
	return version, nil
}

func recordName(release, version string) string {
	return storage.HelmStorageType + "." + release + ".v" + version
}

func (c *Client) lookFailure(r app.Release, err error) error {
	reason, hint := app.ReasonInternal, ""
	var failure *app.Failure
	switch {
	case errors.As(err, &failure):
		reason, hint = failure.Reason, failure.Hint
	case apierrors.IsForbidden(err):
		reason = app.ReasonForbidden
	case apierrors.IsUnauthorized(err):
		reason, hint = app.ReasonAuthentication, "check the credentials of the cluster"
	}
	return app.Fail(app.StageObserve, reason, "cannot read the records of release %s in namespace %s: %w", r.Name, r.StorageNamespace, err).WithHint("%s", hint)
}

// records is Helm's storage of a namespace, as long as ctx lives.
func (c *Client) records(ctx context.Context, namespace string) (driver.Driver, error) {
	clients, err := kubernetes.NewForConfig(c.until(ctx))
	if err != nil {
		return nil, err
	}
	secrets := driver.NewSecrets(clients.CoreV1().Secrets(namespace))
	secrets.SetLogger(slog.DiscardHandler)
	return secrets, nil
}

func get(records driver.Driver, name string, version int) (*helm.Release, error) {
	return typed(records.Get(recordName(name, strconv.Itoa(version))))
}

// typed asserts what Helm hands out, which it types for charts to come.
func typed(rel helmrelease.Releaser, err error) (*helm.Release, error) {
	if err != nil {
		return nil, err
	}
	r, ok := rel.(*helm.Release)
	if !ok {
		return nil, fmt.Errorf("release of an unknown sort, %T", rel)
	}
	return r, nil
}

// chronicle is a storage that keeps a history up to date with what is written to
// it: a revision that the history knows is replaced, a newer one is put first.
type chronicle struct {
	driver.Driver
	ociDigest string            // of what a newer revision releases
	action    app.ReleaseAction // that writes it
	before    func()            // the first revision is written
	onWrite   func()

	mu      sync.Mutex
	history []app.ReleaseSnapshot
	latest  *helm.Release // the newest that was written, nil if none was
}

func (c *chronicle) Create(key string, rel helmrelease.Releaser) error {
	c.before()
	return c.note(rel, c.Driver.Create(key, rel))
}

func (c *chronicle) Update(key string, rel helmrelease.Releaser) error {
	return c.note(rel, c.Driver.Update(key, rel))
}

func (c *chronicle) note(rel helmrelease.Releaser, err error) error {
	r, err := typed(rel, err)
	if err != nil {
		return err
	}
	c.onWrite()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.latest == nil || r.Version >= c.latest.Version {
		c.latest = r
	}
	for i, was := range c.history {
		if was.Name == r.Name && was.Namespace == r.Namespace && was.Version == r.Version {
			now := snapshot(r, was.OCIDigest)
			now.Action, now.Tested, now.Tests = was.Action, was.Tested, was.Tests
			c.history[i] = now
			return nil
		}
	}
	if len(c.history) == 0 || r.Version > c.history[0].Version {
		now := snapshot(r, c.ociDigest)
		now.Action = c.action
		c.history = slices.Insert(c.history, 0, now)
	}
	return nil
}

// told gives the history, and the newest revision that was written.
func (c *chronicle) told() ([]app.ReleaseSnapshot, *helm.Release) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.history), c.latest
}
