package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	helm "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/expr"
)

// session is one action in progress.
type session struct {
	client *Client
	q      Request
	r      app.Release       // of q
	memory app.ReleaseMemory // as it will be afterwards
	result app.ReleaseResult

	ctx    context.Context // ends requests and waits
	cancel context.CancelCauseFunc
	// Helm's own context never ends: it would go on in the background. end also
	// ends what may still write to Helm's storage.
	end func()

	conn     *connection
	config   *action.Configuration
	book     *chronicle
	log      *tail
	secrets  scrubber
	health   *expr.Health
	defaults map[string]any // values of the chart that are not its own; nil: they are
	rendered atomic.Bool    // there are manifests, or a record of them
	written  *helm.Release  // the newest revision that was stored; see recall
	// stored: the action left traces, so that a failure is a matter for Decide.
	// gone: nothing is left of the release.
	stored, gone bool
}

// begin connects Helm for one action.
func (c *Client) begin(ctx context.Context, do app.ReleaseAction, q Request) (*session, error) {
	s := &session{client: c, q: q, r: q.Release, memory: q.Release.Memory, secrets: newScrubber(q.From)}
	s.result = app.ReleaseResult{Action: do, Because: q.Because, Started: c.now(), Timeout: Timeout(q.Release, do)}
	var err error
	if s.health, err = expr.ParseHealth(q.HealthExprs); err != nil {
		return nil, app.Fail(app.StageSpec, app.ReasonInvalidExpr, "%w", err)
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	late, ended := lingering(s.ctx)
	s.end = func() { s.cancel(context.Canceled); ended() }

	records, err := c.records(late, s.r.StorageNamespace)
	if err != nil {
		s.end()
		return nil, app.Fail(app.StageApply, app.ReasonInternal, "%w", err)
	}
	s.book = &chronicle{Driver: records, action: do, history: s.memory.History, before: func() {}, onWrite: func() { s.rendered.Store(true) }}
	s.conn = &connection{config: c.until(s.ctx), catalog: c.catalog, namespace: s.r.Namespace}
	if s.r.Volatile {
		if s.conn.catalog, err = newCatalog(s.conn.config); err != nil {
			s.end()
			return nil, app.Fail(app.StageApply, app.ReasonInternal, "%w", err)
		}
	}
	s.log = newTail(c.log.With("release", s.r.Name, "namespace", s.r.Namespace, "action", string(do)), s.secrets, c.now)
	s.config = action.NewConfiguration(action.ConfigurationSetLogger(s.log))
	s.config.RESTClientGetter = s.conn
	s.config.HookOutputFunc = func(_, _, _ string) io.Writer { return io.Discard }
	client := kube.New(s.conn)
	client.Factory = factory{client.Factory}
	client.Namespace = s.r.Namespace
	client.SetLogger(s.log)
	//lint:ignore SA1019 the legacy way to wait knows no other
	client.WaitContext = s.ctx
	s.config.KubeClient = client
	s.config.Releases = storage.Init(s.book)
	s.config.Releases.SetLogger(slog.DiscardHandler)
	return s, nil
}

// Timeout is what an action of the release is given: as its policy has it, or
// the release.
func Timeout(r app.Release, do app.ReleaseAction) time.Duration {
	own := map[app.ReleaseAction]time.Duration{
		app.ReleaseInstall: r.Install.Timeout, app.ReleaseUpgrade: r.Upgrade.Timeout, app.ReleaseTest: r.Test.Timeout,
		app.ReleaseRollback: r.Rollback.Timeout, app.ReleaseUninstall: r.Uninstall.Timeout, app.ReleaseRemove: r.Uninstall.Timeout,
	}[do]
	switch {
	case own > 0:
		return own
	case r.Timeout > 0:
		return r.Timeout
	}
	return 5 * time.Minute
}

// run has Helm do something, within bounds that Helm does not keep: it ends
// soon after the session's context, a chart must be rendered within the timeout
// of the action, and a panic is an error. What does not end is abandoned, and
// can reach neither the cluster nor the storage any more.
func (s *session) run(do func() error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				s.client.log.Error("Helm panicked", "release", s.r.Name, "namespace", s.r.Namespace, "stack", string(debug.Stack()))
				done <- errPanic
			}
		}()
		done <- do()
	}()
	unrendered := time.NewTimer(s.result.Timeout)
	defer unrendered.Stop()
	ended := s.ctx.Done()
	var abandon <-chan time.Time
	for {
		select {
		case err := <-done:
			cause := context.Cause(s.ctx)
			if errors.Is(cause, errUnrendered) {
				return cause
			}
			if err != nil && cause != nil {
				return fmt.Errorf("%w: %w", cause, err)
			}
			return err
		case <-unrendered.C:
			if !s.rendered.Load() {
				s.cancel(errUnrendered)
			}
		case <-ended:
			ended = nil
			timer := time.NewTimer(grace)
			defer timer.Stop()
			abandon = timer.C
		case <-abandon:
			cause := context.Cause(s.ctx)
			s.end()
			return cause
		}
	}
}

var (
	errPanic      = errors.New("the Helm library stopped with a fault of its own")
	errUnrendered = errors.New("the chart was not rendered within the timeout")
)

// recall takes over into the memory what was written to the storage.
func (s *session) recall() {
	s.memory.History, s.written = s.book.told()
	s.stored = s.written != nil
}

// delivered settles an install or an upgrade.
func (s *session) delivered(err error, retry time.Duration, failures *int64) {
	s.memory.Attempt.Action, s.memory.Attempt.Duration = s.result.Action, s.client.now().Sub(s.result.Started)
	s.recall()
	if s.stored {
		// Of values merged with those before, what was asked for counts.
		s.memory.History[0].ConfigDigest = ConfigDigest(s.q.Values)
		s.result.Release = s.memory.History[0]
	} else {
		s.result.Release = app.ReleaseSnapshot{
			Name: s.r.Name, Namespace: s.r.Namespace, ConfigDigest: ConfigDigest(s.q.Values),
			ChartName: s.q.Chart.Name, ChartVersion: s.q.Chart.Version, AppVersion: s.q.Chart.AppVersion, OCIDigest: s.q.Chart.Digest,
		}
	}
	switch {
	case err == nil:
		s.memory.ObservedPostRenderers, s.memory.ObservedMetadata = s.r.PostRenderersDigest, s.r.MetadataDigest
		if retry > 0 { // failures matter as long as it is retried
			s.memory.Failures, s.memory.InstallFailures, s.memory.UpgradeFailures = 0, 0, 0
		}
	case s.stored:
		*failures++
	}
}

// outcome sums up.
func (s *session) outcome(err error) (Outcome, error) {
	s.result.Duration = s.client.now().Sub(s.result.Started)
	out := Outcome{}
	if err != nil {
		s.memory.Failures++
		s.result.Failure = s.failure(err)
		s.result.Log = s.log.lines()
	}
	out.Result, out.Memory = s.result, s.memory
	switch {
	case s.gone:
		out.Inventory = []app.Record{}
	case s.written != nil:
		out.Inventory, out.Unscoped = s.inventory()
	}
	if err != nil && !s.stored {
		return out, s.result.Failure
	}
	return out, nil
}
