package engine

import (
	"context"
	"strings"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/release"
	"plumb.dev/plumb/internal/report"
)

// uninstall ends an app that is a Helm release and whose resource is being
// deleted. What can no longer be reached as the resource says stays.
func (r *run) uninstall(ctx context.Context, in report.Input) (app.Report, bool) {
	w := &releasing{run: r, in: in, now: release.Old(*r.spec.Release), records: r.spec.Recorded}
	end := func(f *app.Failure) (app.Report, bool) {
		rep := w.report(f)
		rep.Deleted = f == nil
		if ctx.Err() != nil {
			w.leave(ctx, rep)
			return app.Report{}, false
		}
		return rep, true
	}
	if memory := w.now.Memory; !r.spec.Deletion.Prune || memory.StorageNamespace == "" || len(memory.History) == 0 {
		return end(nil)
	}
	waiting, failure := w.open()
	switch {
	case waiting:
		return app.Report{}, false
	case failure != nil && failure.Reason == app.ReasonClusterUnknown:
		w.e.log.Warn("release is left: the way to its cluster is gone", "app", r.spec.ID, "error", failure.Error())
		return end(nil)
	case failure == nil:
		var gone bool
		if gone, failure = w.identityGone(ctx); gone {
			w.e.log.Warn("release is left: its service account is gone", "app", r.spec.ID, "account", r.spec.Target.ServiceAccount)
			return end(nil)
		}
	}
	if failure == nil {
		failure = w.act(ctx, app.ReleaseUninstall, w.now, "the resource is being deleted")
	}
	if failure == nil {
		failure = w.failed
	}
	if failure != nil {
		at := *failure
		at.Stage = app.StageDelete
		return end(&at)
	}
	w.records = nil
	return end(nil)
}

// identityGone reports whether the account does not exist that the release is
// delivered as: with it went the right to uninstall.
func (w *releasing) identityGone(ctx context.Context) (bool, *app.Failure) {
	namespace, name, ok := strings.Cut(w.spec.Target.ServiceAccount, "/")
	if !ok {
		return false, nil
	}
	account, err := w.cl.Get(ctx, object.Ref{Kind: "ServiceAccount", Namespace: namespace, Name: name})
	if err != nil {
		return false, app.AsFailure(err, app.StageDelete)
	}
	return account == nil, nil
}
