package release

import (
	"strconv"

	"helm.sh/helm/v4/pkg/action"

	"plumb.dev/plumb/internal/app"
)

// rollback goes back to the last good revision, as a new one.
func (s *session) rollback() error {
	at := rollbackTarget(s.r)
	if at == 0 {
		return app.Fail(app.StageApply, app.ReasonNoRollbackTarget, "missing target release for rollback")
	}
	policy, target := s.r.Rollback, s.memory.History[at]
	s.book.ociDigest, s.result.Release = target.OCIDigest, target
	err := s.run(func() error {
		to, err := get(s.book.Driver, target.Name, target.Version)
		if err != nil {
			return err
		}
		if !verify(to, target) {
			return errNotOurs
		}
		serverSide := serverSide(policy.ServerSide, to)
		rollback := action.NewRollback(s.config)
		rollback.Version = target.Version
		rollback.ServerSideApply = strconv.FormatBool(serverSide)
		rollback.ForceConflicts = serverSide
		rollback.ForceReplace = policy.Force && !serverSide
		rollback.CleanupOnFail = policy.CleanupOnFail
		rollback.DisableHooks = policy.DisableHooks
		rollback.MaxHistory = s.r.MaxHistory
		rollback.Timeout = s.result.Timeout
		rollback.WaitStrategy, rollback.WaitOptions = s.waitStrategy(policy.ActionPolicy), s.waitOptions()
		rollback.WaitForJobs = !policy.DisableWaitForJobs
		return rollback.Run(target.Name)
	})
	s.recall()
	return err
}
