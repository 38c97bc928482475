package flux

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// viewed is a Kustomization as it is after reports were encoded into it.
func viewed(spec map[string]any, reports ...app.Report) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": KustomizeGroup + "/v1", "kind": KindKustomization,
		"metadata": map[string]any{"namespace": "flux-system", "name": "shop", "generation": int64(1)},
		"spec":     spec,
		"status":   map[string]any{"observedGeneration": int64(-1)},
	}}
	for _, r := range reports {
		u.Object["status"] = EncodeKustomization(r, DecodeKustomization(u), section(u.Object, "status"))
	}
	return u
}

func TestViewOfAKustomization(t *testing.T) {
	plainSpec := map[string]any{
		"interval": "10m", "prune": true, "path": "./shop",
		"sourceRef": map[string]any{"kind": KindGitRepository, "name": "fleet"},
	}
	waitSpec := map[string]any{
		"interval": "10m", "prune": true, "wait": true,
		"sourceRef": map[string]any{"kind": KindGitRepository, "name": "fleet", "namespace": "infra"},
	}
	at := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	first := app.Revision{Ref: "main", Commit: "4508cd1f0a3c6a2d8ab07d3a53d2a0fb6d2f1c11"}
	second := app.Revision{Ref: "main", Commit: "9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d1e2a3f44"}
	api := app.Record{Ref: object.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "api"}, Version: "v1"}
	good := app.Report{
		Generation: 1, Phase: app.PhaseDone, At: at, Started: at, Revision: first, Applied: first,
		Records: []app.Record{api}, Attempt: &app.SyncAttempt{Attempt: app.Attempt{Finished: at, Succeeded: true}},
	}
	fails := func(stage app.Stage, reason app.Reason) app.Report {
		return app.Report{
			Generation: 1, Phase: app.PhaseDone, At: at, Started: at, Revision: second, Stage: stage,
			Failure: &app.Failure{Stage: stage, Reason: reason, Err: errors.New("no good")},
		}
	}
	for _, c := range []struct {
		name    string
		spec    map[string]any
		reports []app.Report
		state   app.State
		sync    app.SyncStatus
		health  app.HealthStatus
		applied app.Revision
	}{
		{"new", plainSpec, nil, app.StateRunning, app.Unknown, app.HealthNone, app.Revision{}},
		{"applied", plainSpec, []app.Report{good}, app.StateReady, app.Synced, app.HealthNone, first},
		{
			"running a newer commit", plainSpec,
			[]app.Report{good, {Generation: 1, Phase: app.PhaseRunning, Stage: app.StageApply, At: at, Revision: second}},
			app.StateRunning, app.OutOfSync, app.HealthNone, first,
		},
		{"cannot be built", plainSpec, []app.Report{good, fails(app.StageRender, app.ReasonBuild)}, app.StateFailed, app.Unknown, app.HealthNone, first},
		{"cannot be applied", plainSpec, []app.Report{good, fails(app.StageApply, app.ReasonForbidden)}, app.StateFailed, app.OutOfSync, app.HealthNone, first},
		{"dependency", plainSpec, []app.Report{fails(app.StageDepends, app.ReasonDependency)}, app.StateRunning, app.Unknown, app.HealthNone, app.Revision{}},
		{"unhealthy", waitSpec, []app.Report{fails(app.StageHealth, app.ReasonUnhealthy)}, app.StateFailed, app.Synced, app.Degraded, app.Revision{}},
		{"wrong spec", plainSpec, []app.Report{fails(app.StageSpec, app.ReasonInvalidSpec)}, app.StateFailed, app.Unknown, app.HealthNone, app.Revision{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := View(viewed(c.spec, c.reports...))
			if v.State != c.state || v.Sync != c.sync || v.Health.Status != c.health || !reflect.DeepEqual(v.Applied, c.applied) {
				t.Errorf("got %s, %s, %q, %v: %s", v.State, v.Sync, v.Health.Status, v.Applied, v.Message)
			}
			if v.State == app.StateFailed && !strings.HasSuffix(v.Message, "no good") {
				t.Errorf("message %q", v.Message)
			}
		})
	}

	u := viewed(plainSpec, good)
	v := View(u)
	if want := (app.SourceID{Kind: KindGitRepository, Namespace: "flux-system", Name: "fleet"}); v.Source != want {
		t.Errorf("source %v, want %v", v.Source, want)
	}
	if len(v.Objects) != 1 || v.Objects[0].Ref != api.Ref || v.Objects[0].Version != "v1" {
		t.Errorf("objects %v", v.Objects)
	}
	if !v.LastSync.Equal(at) || v.Path != "./shop" {
		t.Errorf("last sync %s, path %q", v.LastSync, v.Path)
	}
	u.SetGeneration(2)
	if v := View(u); v.State != app.StateRunning {
		t.Errorf("after a change of the spec: %s", v.State)
	}
	u.Object["spec"].(map[string]any)["suspend"] = true
	if v := View(u); v.State != app.StateReady || !v.Suspended {
		t.Errorf("once it is suspended: %s, suspended %t", v.State, v.Suspended)
	}
	now := metav1.Now()
	u.SetDeletionTimestamp(&now)
	if v := View(u); v.State != app.StateRunning || v.Reason != "Deleting" {
		t.Errorf("while it is deleted: %s %s", v.State, v.Reason)
	}
}

func TestRequestsOnAKustomization(t *testing.T) {
	u := viewed(map[string]any{})
	u.SetAnnotations(map[string]string{RequestedAt: "t1"})
	if v := View(u); !v.Asked {
		t.Error("a new request is not seen")
	}
	u.Object["status"] = map[string]any{"lastHandledReconcileAt": "t1"}
	if v := View(u); v.Asked {
		t.Error("an answered request counts still")
	}
}

func TestViewOfASource(t *testing.T) {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": SourceGroup + "/v1", "kind": KindGitRepository,
		"metadata": map[string]any{"namespace": "flux-system", "name": "fleet", "generation": int64(1)},
		"spec": map[string]any{
			"url": "https://bot:hunter2@git.example/fleet.git", "ref": map[string]any{"branch": "main", "tag": "v1"},
		},
	}}
	at := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	report := app.SourceReport{Generation: 1, Revision: app.Revision{Ref: "v1", Commit: "4508cd1f0a3c6a2d8ab07d3a53d2a0fb6d2f1c11"}, At: at}
	u.Object["status"] = EncodeGitRepository(report, nil, nil)
	v := ViewSource(u)
	if v.State != app.StateReady || !reflect.DeepEqual(v.Revision, report.Revision) || v.Ref != "v1" || !v.Fetched.Equal(at) {
		t.Errorf("got %+v", v)
	}
	if v.URL != "https://bot:xxxxx@git.example/fleet.git" {
		t.Errorf("URL %s", v.URL)
	}
	report.Failure = app.Fail(app.StageFetch, app.ReasonUnreachable, "no answer")
	u.Object["status"] = EncodeGitRepository(report, nil, section(u.Object, "status"))
	if v := ViewSource(u); v.State != app.StateFailed || v.Message != "no answer" || v.Revision.IsZero() {
		t.Errorf("got %+v", v)
	}
}
