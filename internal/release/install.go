package release

import (
	"context"
	"errors"
	"strings"

	"helm.sh/helm/v4/pkg/action"

	"plumb.dev/plumb/internal/app"
)

// install makes the first revision. What was remembered of revisions before it
// is forgotten: none of them is rolled back to.
func (s *session) install() error {
	policy := s.r.Install
	s.book.history, s.book.ociDigest = nil, s.q.Chart.Digest
	err := s.run(func() error {
		chart, err := s.q.Chart.fresh()
		if err != nil {
			return err
		}
		values := clone(s.q.Values)
		if !policy.DisableSchemaValidation {
			if err := validate(chart, values); err != nil {
				return err
			}
		}
		install := action.NewInstall(s.config)
		install.ServerSideApply = policy.ServerSide != app.ServerSideOff
		install.ForceConflicts = install.ServerSideApply
		install.ReleaseName, install.Namespace = s.r.Name, s.r.Namespace
		install.CreateNamespace = policy.CreateNamespace
		install.Replace = policy.Replace
		install.TakeOwnership = !policy.DisableTakeOwnership
		install.DisableHooks = policy.DisableHooks
		install.DisableOpenAPIValidation = policy.DisableOpenAPIValidation
		install.SkipSchemaValidation = true // validate did it
		install.SkipCRDs = true             // applyCRDs does it
		install.Timeout = s.result.Timeout
		install.WaitStrategy, install.WaitOptions = s.waitStrategy(policy.ActionPolicy), s.waitOptions()
		install.WaitForJobs = !policy.DisableWaitForJobs
		install.PostRenderer, install.PostRenderStrategy = s.postRenderer()
		if err := s.applyCRDs(chart, policy.CRDs, install.ServerSideApply, install.WaitStrategy); err != nil {
			return err
		}
		if err := s.prerender(chart, values, 1, false); err != nil {
			return err
		}
		_, err = install.RunWithContext(context.WithoutCancel(s.ctx), chart, values)
		if err != nil && strings.Contains(err.Error(), "cannot reuse a name that is still in use") {
			return app.Fail(app.StageApply, app.ReasonConflict, "%w", errors.New("an uninstalled release of that name is still in storage")).
				WithHint("Set install.replace, or delete its records with helm uninstall.")
		}
		return err
	})
	s.delivered(err, policy.RetryInterval, &s.memory.InstallFailures)
	return err
}
