package release

import (
	"context"
	"errors"
	"strconv"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	helm "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage/driver"

	"plumb.dev/plumb/internal/app"
)

// upgrade makes another revision.
func (s *session) upgrade() error {
	policy := s.r.Upgrade
	s.book.ociDigest = s.q.Chart.Digest
	err := s.run(func() error {
		chart, err := s.q.Chart.fresh()
		if err != nil {
			return err
		}
		values := clone(s.q.Values)
		last, err := typed(s.config.Releases.Last(s.r.Name))
		if err != nil {
			return err
		}
		if policy.PreserveValues {
			if values, err = s.preserve(chart, values, last); err != nil {
				return err
			}
		}
		if !policy.DisableSchemaValidation {
			if err := validate(chart, values); err != nil {
				return err
			}
		}
		serverSide := serverSide(policy.ServerSide, last)
		upgrade := action.NewUpgrade(s.config)
		upgrade.ServerSideApply = strconv.FormatBool(serverSide)
		upgrade.ForceConflicts = serverSide
		upgrade.ForceReplace = policy.Force && !serverSide
		upgrade.Namespace = s.r.Namespace
		upgrade.ResetValues = true // preserve did what else there is to it
		upgrade.MaxHistory = s.r.MaxHistory
		upgrade.TakeOwnership = !policy.DisableTakeOwnership
		upgrade.CleanupOnFail = policy.CleanupOnFail
		upgrade.DisableHooks = policy.DisableHooks
		upgrade.DisableOpenAPIValidation = policy.DisableOpenAPIValidation
		upgrade.SkipSchemaValidation = true // validate did it
		upgrade.Timeout = s.result.Timeout
		upgrade.WaitStrategy, upgrade.WaitOptions = s.waitStrategy(policy.ActionPolicy), s.waitOptions()
		upgrade.WaitForJobs = !policy.DisableWaitForJobs
		upgrade.PostRenderer, upgrade.PostRenderStrategy = s.postRenderer()
		if err := s.applyCRDs(chart, policy.CRDs, serverSide, upgrade.WaitStrategy); err != nil {
			return err
		}
		if err := s.prerender(chart, values, last.Version+1, true); err != nil {
			return err
		}
		_, err = upgrade.RunWithContext(context.WithoutCancel(s.ctx), s.r.Name, chart, values)
		return err
	})
	s.delivered(err, policy.RetryInterval, &s.memory.UpgradeFailures)
	return err
}

// serverSide resolves how Helm writes: as it wrote the revision before, if it is
// left to it.
func serverSide(asked app.ServerSide, before *helm.Release) bool {
	if asked == app.ServerSideAuto {
		return before.ApplyMethod == string(helm.ApplyMethodServerSideApply)
	}
	return asked == app.ServerSideOn
}

// preserve lays values over those of the revision that is deployed, and makes
// the defaults of its chart those of the new one, as helm upgrade --reuse-values
// does.
func (s *session) preserve(c *chart.Chart, values map[string]any, last *helm.Release) (map[string]any, error) {
	current, err := typed(s.config.Releases.Deployed(s.r.Name))
	if errors.Is(err, driver.ErrNoDeployedReleases) {
		current, err = last, nil
	}
	if err != nil {
		return nil, err
	}
	defaults, err := util.CoalesceValues(current.Chart, current.Config)
	if err != nil {
		return nil, err
	}
	c.Values, s.defaults = defaults, clone(defaults)
	return util.CoalesceTables(values, clone(current.Config)), nil
}

// clone copies what Helm may change.
func clone(values map[string]any) map[string]any {
	out := make(map[string]any, len(values))
	for k, v := range values {
		out[k] = cloneValue(v)
	}
	return out
}

func cloneValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return clone(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = cloneValue(v[i])
		}
		return out
	}
	return v
}
