package flux

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"plumb.dev/plumb/internal/app"
)

// releaseStep is one report in the life of a HelmRelease.
type releaseStep struct {
	name    string
	report  app.Report
	kstatus status.Status
}

// revision is a revision of a release as the memory has it.
func revision(version int, state, chart string) app.ReleaseSnapshot {
	return app.ReleaseSnapshot{Digest: fmt.Sprintf("sha256:%d", version), Name: "web", Namespace: "apps", Version: version, Status: state,
		Action: app.ReleaseUpgrade, ChartName: "web", ChartVersion: chart, AppVersion: "7", ConfigDigest: "sha256:values",
		FirstDeployed: noon, LastDeployed: noon.Add(time.Minute)}
}

// helmLives are sequences of reports; each status is made from the one before.
func helmLives() map[string][]releaseStep {
	const (
		working = status.InProgressStatus
		current = status.CurrentStatus
		broken  = status.FailedStatus
	)
	release := func(after time.Duration, rel app.ReleaseReport) app.Report {
		r := done(after, rev1)
		rel.Memory.StorageNamespace = "apps"
		rel.Memory.Attempt.Revision, rel.Memory.Attempt.ConfigDigest, rel.Memory.Attempt.Generation = "1.0.0", "sha256:values", 1
		r.Release, r.Records = &rel, records(api)
		return r
	}
	running := func(after time.Duration, rel app.ReleaseReport) app.Report {
		r := release(after, rel)
		r.Phase = app.PhaseRunning
		return r
	}
	failing := func(r app.Report, f *app.Failure) app.Report {
		r.Failure = f
		return r
	}
	broke := app.Fail(app.StageHealth, app.ReasonUnhealthy, "%s", "resource Deployment/apps/web not ready. status: Failed")
	spent := app.Fail(app.StageApply, app.ReasonRetriesExceeded, "%s", "Failed to upgrade after 1 attempt(s)")
	spent.Retry.Never = true
	one, two := revision(1, "deployed", "1.0.0"), revision(2, "failed", "2.0.0")
	installed := app.ReleaseReport{State: app.ReleaseInSync, Memory: app.ReleaseMemory{History: []app.ReleaseSnapshot{one}}}
	failures := func(n int64) app.ReleaseMemory {
		return app.ReleaseMemory{History: []app.ReleaseSnapshot{two, one}, Failures: n, UpgradeFailures: n, Attempt: app.ReleaseAttempt{Action: app.ReleaseUpgrade, Duration: time.Second}}
	}
	back := revision(3, "deployed", "1.0.0")
	back.Action = app.ReleaseRollback
	tested := one
	tested.Tested, tested.Tests = true, map[string]app.ReleaseTested{"web-test": {Phase: "Succeeded", Started: noon, Completed: noon.Add(time.Second)}}
	drifts := func(r *app.Report) {
		r.Objects = []app.ObjectReport{{Ref: api, Sync: app.OutOfSync, Changes: []app.FieldChange{{Path: ".spec.replicas", From: "5", To: "2"}}}}
	}
	return map[string][]releaseStep{
		"helm-release": {
			{"installing", running(0, app.ReleaseReport{Running: app.ReleaseInstall, Timeout: 5 * time.Minute}), working},
			{"installed", with(release(0, app.ReleaseReport{State: app.ReleaseInSync, Memory: installed.Memory,
				Results: []app.ReleaseResult{{Action: app.ReleaseInstall, Release: one}}}), func(r *app.Report) { r.Handled = "t1" }), working},
			{"running tests", running(2*time.Hour, app.ReleaseReport{Running: app.ReleaseTest, Timeout: time.Minute, Memory: installed.Memory}), working},
			{"tested", release(2*time.Hour, app.ReleaseReport{State: app.ReleaseInSync, Memory: app.ReleaseMemory{History: []app.ReleaseSnapshot{tested}},
				Results: []app.ReleaseResult{{Action: app.ReleaseTest, Release: tested, Tests: 1}}}), current},
			{"looked again", release(150*time.Minute, app.ReleaseReport{State: app.ReleaseInSync, Memory: app.ReleaseMemory{History: []app.ReleaseSnapshot{tested}}}), current},
			{"gone", with(release(3*time.Hour, app.ReleaseReport{Results: []app.ReleaseResult{{Action: app.ReleaseUninstall, Release: tested}}}), func(r *app.Report) {
				r.Deleted, r.Records = true, nil
			}), current},
		},
		"helm-failures": {
			{"source not ready", failed(0, app.Revision{}, app.Fail(app.StageFetch, app.ReasonSourceNotReady, "source HelmChart/apps/apps-web is not ready, artifact not found")), working},
			{"values", failed(time.Minute, rev1, app.Fail(app.StageFetch, app.ReasonValues, "values of ConfigMap/apps/site, key values.yaml: there is no such object")), working},
			{"dependency", with(failed(2*time.Minute, rev1, app.Fail(app.StageDepends, app.ReasonDependency, "dependency 'apps/db' is not ready")),
				func(r *app.Report) { r.RetryAt = r.At.Add(30 * time.Second) }), working},
			{"bad expression", failed(3*time.Minute, rev1, app.Fail(app.StageSpec, app.ReasonInvalidExpr, "no CEL")), broken},
			{"installed", release(4*time.Minute, app.ReleaseReport{State: app.ReleaseInSync, Memory: installed.Memory, Results: []app.ReleaseResult{{Action: app.ReleaseInstall, Release: one}}}), current},
			{"upgrade failed, retries left", failing(release(5*time.Minute, app.ReleaseReport{State: app.ReleaseFailed, Memory: failures(1),
				Results: []app.ReleaseResult{{Action: app.ReleaseUpgrade, Release: two, Failure: broke, Log: []string{"waiting for resources", "giving up"}}}}), broke), working},
			{"rolled back", failing(release(6*time.Minute, app.ReleaseReport{State: app.ReleaseFailed, Memory: failures(1),
				Results: []app.ReleaseResult{{Action: app.ReleaseRollback, Release: one}}}), broke), working},
			{"no attempt left", failing(release(7*time.Minute, app.ReleaseReport{State: app.ReleaseFailed, Memory: failures(2), Stalled: true,
				Results: []app.ReleaseResult{{Action: app.ReleaseUpgrade, Release: two, Failure: broke}}}), spent), broken},
			{"still none", failing(release(8*time.Minute, app.ReleaseReport{State: app.ReleaseFailed, Memory: failures(2), Stalled: true}), spent), broken},
			{"rolled back to what is wanted", release(9*time.Minute, app.ReleaseReport{State: app.ReleaseInSync, Memory: app.ReleaseMemory{History: []app.ReleaseSnapshot{back}}}), current},
			{"overtaken", failing(release(10*time.Minute, app.ReleaseReport{State: app.ReleaseOutOfSync, Memory: installed.Memory,
				Results: []app.ReleaseResult{{Action: app.ReleaseUpgrade, Release: two, Failure: app.Fail(app.StageHealth, app.ReasonSuperseded, "a newer revision takes over")}}}),
				app.Fail(app.StageHealth, app.ReasonSuperseded, "a newer revision takes over")), working},
		},
		"helm-drift": {
			{"none", release(0, app.ReleaseReport{State: app.ReleaseInSync, Memory: installed.Memory, Results: []app.ReleaseResult{{Action: app.ReleaseInstall, Release: one}}}), current},
			{"found", with(release(time.Hour, app.ReleaseReport{State: app.ReleaseDrifted, Memory: installed.Memory}), drifts), current},
			{"still there", with(release(2*time.Hour, app.ReleaseReport{State: app.ReleaseDrifted, Memory: installed.Memory}), drifts), current},
			{"correcting", running(3*time.Hour, app.ReleaseReport{State: app.ReleaseDrifted, Running: app.ReleaseCorrect, Timeout: time.Minute, Memory: installed.Memory}), working},
			{"corrected", with(release(3*time.Hour, app.ReleaseReport{State: app.ReleaseInSync, Corrected: true, Memory: installed.Memory, Results: []app.ReleaseResult{{Action: app.ReleaseCorrect, Release: one}}}), func(r *app.Report) {
				r.Drift = []app.Drift{{Ref: api, At: noon, By: "kubectl", Subresource: "scale", Fields: []string{".spec.replicas"}, Restored: true, RestoredAt: r.At}}
			}), current},
			{"correction failed", failing(with(release(4*time.Hour, app.ReleaseReport{State: app.ReleaseDrifted, Memory: installed.Memory,
				Results: []app.ReleaseResult{{Action: app.ReleaseCorrect, Release: one, Failure: broke}}}), drifts), app.Fail(app.StageApply, app.ReasonForbidden, "Deployment/web/api: forbidden")), working},
		},
	}
}

func helmSpec(life string) app.Spec {
	return app.Spec{Policy: app.Policy{Interval: 5 * time.Minute},
		Release: &app.Release{Test: app.TestPolicy{Enable: life == "helm-release"}, Drift: app.ReleaseDrift{Mode: app.DriftCorrect}}}
}

func TestEncodeHelmRelease(t *testing.T) {
	schema := validators(t, KindHelmRelease, 3)
	for _, name := range sortedKeys(helmLives()) {
		t.Run(name, func(t *testing.T) {
			file, archive := statusGolden(t, name)
			old := never()
			for i, s := range helmLives()[name] {
				before := runtime.DeepCopyJSON(old)
				events := HelmReleaseEvents(s.report, helmSpec(name), old)
				next := EncodeHelmRelease(s.report, helmSpec(name), "apps/apps-web", old)
				if !reflect.DeepEqual(old, before) {
					t.Errorf("%s: the status before was changed", s.name)
				}
				checkGolden(t, file, archive, fmt.Sprintf("%d %s: status", i+1, s.name), dump(t, next))
				checkGolden(t, file, archive, fmt.Sprintf("%d %s: events", i+1, s.name), dumpEvents(events))
				checkKstatus(t, s, next)
				for version, v := range schema {
					for _, err := range validation.ValidateCustomResource(nil, map[string]any{"spec": map[string]any{"interval": "1m"}, "status": next}, v) {
						t.Errorf("%s, %s: %v", s.name, version, err)
					}
				}
				old = next
			}
		})
	}
}

func checkKstatus(t *testing.T, s releaseStep, got map[string]any) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
		"metadata": map[string]any{"name": "a", "generation": s.report.Generation}, "status": runtime.DeepCopyJSON(got)}}
	if result, err := status.Compute(u); err != nil || result.Status != s.kstatus {
		t.Errorf("%s: to kstatus it is %v (%v), want %s", s.name, result, err, s.kstatus)
	}
}

// A second look that finds the same gives the same status, and no event.
func TestEncodeHelmReleaseIsQuiet(t *testing.T) {
	for name, steps := range helmLives() {
		old := never()
		for _, s := range steps {
			old = EncodeHelmRelease(s.report, helmSpec(name), "apps/apps-web", old)
			again := s.report
			again.Attempt, again.Drift = nil, nil
			again.At = again.At.Add(time.Hour)
			if again.Release != nil {
				quiet := *again.Release
				quiet.Results = nil
				again.Release = &quiet
			}
			next := EncodeHelmRelease(again, helmSpec(name), "apps/apps-web", old)
			if s.report.Failure == nil && !s.report.Deleted && !reflect.DeepEqual(next, old) {
				t.Errorf("%s, %s: the same report gives another status:\n%s\n---\n%s", name, s.name, dump(t, old), dump(t, next))
			}
			if events := HelmReleaseEvents(again, helmSpec(name), old); s.report.Failure == nil && len(events) > 0 {
				t.Errorf("%s, %s: the same report gives events:\n%s", name, s.name, dumpEvents(events))
			}
		}
	}
}

// What a status remembers of a release is what a later decode finds.
func TestReleaseMemorySurvives(t *testing.T) {
	for name, steps := range helmLives() {
		for _, s := range steps {
			if s.report.Release == nil {
				continue
			}
			got := EncodeHelmRelease(s.report, helmSpec(name), "", never())
			spec := DecodeHelmRelease(&unstructured.Unstructured{Object: map[string]any{"status": got}})
			want := s.report.Release.Memory
			want.Generation = integer(got, "observedGeneration")
			if !reflect.DeepEqual(spec.Release.Memory, want) {
				t.Errorf("%s, %s: memory %+v, want %+v", name, s.name, spec.Release.Memory, want)
			}
		}
	}
}
