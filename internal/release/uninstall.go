package release

import (
	"errors"
	"strings"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/storage/driver"

	"plumb.dev/plumb/internal/app"
)

// uninstall deletes what the release holds, and its records unless they are to
// be kept. A release that is not there is uninstalled.
func (s *session) uninstall() error {
	policy := s.r.Uninstall
	if len(s.memory.History) > 0 {
		s.result.Release = s.memory.History[0]
	}
	err := s.run(func() error {
		uninstall := action.NewUninstall(s.config)
		uninstall.DisableHooks = policy.DisableHooks
		uninstall.KeepHistory = policy.KeepHistory
		uninstall.DeletionPropagation = strings.ToLower(string(policy.Propagation))
		uninstall.Timeout = s.result.Timeout
		uninstall.WaitStrategy, uninstall.WaitOptions = s.waitStrategy(policy.ActionPolicy), s.waitOptions()
		_, err := uninstall.Run(s.r.Name)
		switch {
		case errors.Is(err, driver.ErrReleaseNotFound):
			return nil
		case err != nil && policy.KeepHistory && strings.Contains(err.Error(), "is already deleted"):
			return nil
		}
		return err
	})
	s.recall()
	if err != nil {
		return err
	}
	s.gone = true
	if s.result.Action == app.ReleaseUninstall {
		s.memory.History, s.memory.StorageNamespace = nil, ""
		s.memory.Failures, s.memory.InstallFailures, s.memory.UpgradeFailures = 0, 0, 0
		return nil
	}
	if len(s.memory.History) > 0 {
		s.memory.History[0].Status = statusUninstalled // its record may be gone
		s.memory.History[0].Action = "uninstall-remediation"
	}
	return nil
}
