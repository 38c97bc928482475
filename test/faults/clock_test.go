package faults

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/test/internal/world"
)

// TestClock lets an engine find statuses that another one wrote while the
// clock of its machine was wrong, by years: of an attempt that failed, and of
// one that undid drift, both of which are followed by a wait. Someone has
// changed objects meanwhile, and Git has a new commit as well.
//
// The clock of the running process itself cannot be changed here without
// changing it for the whole machine. Its waits are timers, which go by the
// monotonic clock; the times that it compares with the wall clock are those
// that it reads from statuses.
func TestClock(t *testing.T) {
	s := begin(t)
	years := func(n int) time.Time { return time.Now().AddDate(n, 0, 0) }
	for name, at := range map[string]time.Time{"future": years(1), "far-future": years(200), "epoch": time.Unix(0, 0)} {
		for _, failed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/failed=%t", name, failed), func(t *testing.T) {
				s.T = t
				defer func() { s.T = s.root }()
				for _, commits := range []bool{false, true} {
					log := s.AuditEnd()
					s.StopEngine()
					s.dated(at, failed)
					for _, app := range world.Apps() {
						s.spoil(app + "-pin-0")
					}
					if commits {
						s.Change(s.random)
						s.Push()
					}
					s.StartEngine()
					s.Converged(s.Head())
					s.restored()
					s.sound(log)
				}
			})
		}
	}
}

// dated writes times into the statuses as an engine with a wrong clock would
// have.
func (s *suite) dated(at time.Time, failed bool) {
	s.T.Helper()
	stamp := at.UTC().Format(time.RFC3339)
	heals := 3
	if failed {
		heals = 0
	}
	flux := fmt.Sprintf(`{"status":{"plumb":{"lastSync":{"started":%q,"finished":%q,"succeeded":%t,"retries":1,"heals":%d}}}}`, stamp, stamp, !failed, heals)
	argo := fmt.Sprintf(`{"status":{"reconciledAt":%q,"operationState":{"startedAt":%q,"finishedAt":%q},"plumb":{"lastSync":{"startedAt":%q,"finishedAt":%q,"succeeded":%t,"retries":1,"heals":%d}}}}`,
		stamp, stamp, stamp, stamp, stamp, !failed, heals)
	_, err := s.Dynamic.Resource(world.Kustomizations).Namespace(s.Namespace).Patch(s.T.Context(), world.Flux, types.MergePatchType, []byte(flux), metav1.PatchOptions{}, "status")
	s.must(err)
	_, err = s.Dynamic.Resource(world.Applications).Namespace(s.Namespace).Patch(s.T.Context(), world.Argo, types.MergePatchType, []byte(argo), metav1.PatchOptions{})
	s.must(err)
}

// spoil changes a delivered object.
func (s *suite) spoil(name string) {
	s.T.Helper()
	_, err := s.Core.CoreV1().ConfigMaps(s.Namespace).Patch(s.T.Context(), name, types.MergePatchType, []byte(`{"data":{"value":"spoilt"}}`), metav1.PatchOptions{})
	s.must(err)
}

// restored waits until nothing is spoilt any more.
func (s *suite) restored() {
	s.T.Helper()
	s.Eventually("drift is undone", func(ctx context.Context) error {
		for _, app := range world.Apps() {
			cm, err := s.Core.CoreV1().ConfigMaps(s.Namespace).Get(ctx, app+"-pin-0", metav1.GetOptions{})
			if err != nil || cm.Data["value"] == "spoilt" {
				return fmt.Errorf("%s: %q, %w", app, cm.Data["value"], err)
			}
		}
		return nil
	})
}
