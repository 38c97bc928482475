package release

import (
	"fmt"

	"helm.sh/helm/v4/pkg/release/common"
	helm "helm.sh/helm/v4/pkg/release/v1"

	"plumb.dev/plumb/internal/app"
)

// unlock marks a revision as failed whose action did not end: the process that
// carried it out is dead, since nobody else is at work on this release.
func (s *session) unlock() error {
	var last *helm.Release
	err := s.run(func() (err error) {
		if last, err = typed(s.config.Releases.Last(s.r.Name)); err != nil {
			return err
		}
		was := last.Info.Status
		if !was.IsPending() {
			return nil
		}
		s.book.action = map[common.Status]app.ReleaseAction{
			common.StatusPendingInstall: app.ReleaseInstall, common.StatusPendingUpgrade: app.ReleaseUpgrade,
			common.StatusPendingRollback: app.ReleaseRollback,
		}[was]
		last.SetStatus(common.StatusFailed, fmt.Sprintf("Release unlocked from stale '%s' state", was))
		return s.config.Releases.Update(last)
	})
	s.recall()
	if last != nil {
		s.result.Release = snapshot(last, "")
	}
	return err
}
