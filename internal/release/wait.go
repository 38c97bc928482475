package release

import (
	"context"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling/engine"
	"github.com/fluxcd/cli-utils/pkg/kstatus/polling/statusreaders"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"helm.sh/helm/v4/pkg/kube"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/expr"
)

// waitStrategy is how an action waits. Hooks are waited for in any case.
func (s *session) waitStrategy(policy app.ActionPolicy) kube.WaitStrategy {
	switch {
	case policy.DisableWait:
		return kube.HookOnlyStrategy
	case s.r.Wait == app.WaitLegacy:
		return kube.LegacyStrategy
	}
	return kube.StatusWatcherStrategy
}

func (s *session) waitOptions() []kube.WaitOption {
	options := []kube.WaitOption{kube.WithWaitContext(s.ctx)}
	if s.health != nil {
		options = append(options, kube.WithKStatusReaders(expressions{
			StatusReader: statusreaders.NewGenericStatusReader(s.conn.catalog.mapper, s.assess),
			health:       s.health,
		}))
	}
	return options
}

// expressions reads the status of the kinds that expressions are written for.
type expressions struct {
	engine.StatusReader
	health *expr.Health
}

func (e expressions) Supports(gk schema.GroupKind) bool { return e.health.Has(gk) }

// assess judges an object by the expressions.
func (s *session) assess(u *unstructured.Unstructured) (*status.Result, error) {
	verdict := s.health.Assess(context.WithoutCancel(s.ctx), u)
	result := &status.Result{Status: status.InProgressStatus, Message: verdict.Message}
	switch verdict.Status {
	case app.Healthy:
		result.Status = status.CurrentStatus
	case app.Degraded:
		result.Status = status.FailedStatus
	}
	return result, nil
}
