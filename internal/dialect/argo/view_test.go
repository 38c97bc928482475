package argo

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// viewedApp is an Application as it is after reports were encoded into it.
func viewedApp(t *testing.T, automated map[string]any, reports ...app.Report) *unstructured.Unstructured {
	t.Helper()
	spec := map[string]any{
		"project":     "default",
		"source":      map[string]any{"repoURL": "https://git.example/fleet.git", "path": "shop", "targetRevision": "main"},
		"destination": map[string]any{"server": localServer, "namespace": "shop"},
	}
	if automated != nil {
		spec["syncPolicy"] = map[string]any{"automated": automated}
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": Group + "/" + Version, "kind": KindApplication,
		"metadata": map[string]any{"namespace": "argocd", "name": "shop"},
		"spec":     spec,
	}}
	for _, r := range reports {
		merge(u.Object, EncodeApplication(r, u, Options{}))
	}
	return u
}

// merge applies a JSON merge patch.
func merge(into, patch map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(patch)) {
		sub, isMap := patch[key].(map[string]any)
		was, wasMap := into[key].(map[string]any)
		switch {
		case patch[key] == nil:
			delete(into, key)
		case isMap && wasMap:
			merge(was, sub)
		case isMap:
			fresh := map[string]any{}
			merge(fresh, sub)
			into[key] = fresh
		default:
			into[key] = patch[key]
		}
	}
}

func TestViewOfAnApplication(t *testing.T) {
	at := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	rev := app.Revision{Ref: "main", Commit: "4508cd1f0a3c6a2d8ab07d3a53d2a0fb6d2f1c11"}
	objectsWith := func(sync app.SyncStatus, health app.HealthStatus) []app.ObjectReport {
		return []app.ObjectReport{{
			Ref:     object.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "api"},
			Version: "v1", Sync: sync, Health: app.Health{Status: health},
		}}
	}
	report := func(sync app.SyncStatus, health app.HealthStatus) app.Report {
		return app.Report{
			Phase: app.PhaseDone, At: at, Started: at, Revision: rev, Sync: sync,
			Health: app.Health{Status: health}, Objects: objectsWith(sync, health),
		}
	}
	synced := report(app.Synced, app.Healthy)
	synced.Attempt = &app.SyncAttempt{Attempt: app.Attempt{Revision: rev.Commit, Started: at, Finished: at, Succeeded: true}}
	running := report(app.OutOfSync, app.Progressing)
	running.Phase, running.Stage = app.PhaseRunning, app.StageApply
	running.Attempt = &app.SyncAttempt{Attempt: app.Attempt{Revision: rev.Commit, Started: at}, Running: true}
	broken := app.Report{
		Phase: app.PhaseDone, At: at, Started: at, Revision: rev,
		Failure: &app.Failure{Stage: app.StageRender, Reason: app.ReasonBuild, Err: errors.New("no good")},
	}
	pruneOnly := report(app.OutOfSync, app.Healthy)
	pruneOnly.Objects[0].RequiresPrune = true

	for _, c := range []struct {
		name      string
		automated map[string]any
		reports   []app.Report
		state     app.State
		sync      app.SyncStatus
		applied   bool
		message   string // a part of it
	}{
		{"new", nil, nil, app.StateRunning, app.Unknown, false, "waiting to be compared"},
		{"manual, differs", nil, []app.Report{report(app.OutOfSync, app.Missing)}, app.StateDiffers, app.OutOfSync, false, "Deployment/shop/api differs"},
		{"synced", nil, []app.Report{synced}, app.StateReady, app.Synced, true, "successfully synced"},
		{"running", map[string]any{}, []app.Report{running}, app.StateRunning, app.OutOfSync, false, ""},
		{"drift that stands", map[string]any{}, []app.Report{synced, report(app.OutOfSync, app.Healthy)}, app.StateDiffers, app.OutOfSync, true, "Deployment/shop/api differs"},
		{"drift to be healed", map[string]any{"selfHeal": true}, []app.Report{synced, report(app.OutOfSync, app.Healthy)}, app.StateRunning, app.OutOfSync, true, "waiting to be synced"},
		{"only pruning would help", map[string]any{"selfHeal": true}, []app.Report{synced, pruneOnly}, app.StateDiffers, app.OutOfSync, true, "differs"},
		{"switched off", map[string]any{"enabled": false, "selfHeal": true}, []app.Report{report(app.OutOfSync, app.Missing)}, app.StateDiffers, app.OutOfSync, false, ""},
		{"degraded", nil, []app.Report{synced, report(app.Synced, app.Degraded)}, app.StateFailed, app.Synced, true, ""},
		{"progressing", nil, []app.Report{synced, report(app.Synced, app.Progressing)}, app.StateRunning, app.Synced, true, ""},
		{"cannot be built", nil, []app.Report{synced, broken}, app.StateFailed, app.Unknown, true, "no good"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := View(viewedApp(t, c.automated, c.reports...))
			if v.State != c.state || v.Sync != c.sync || !strings.Contains(v.Message, c.message) {
				t.Errorf("got %s, %s: %s", v.State, v.Sync, v.Message)
			}
			want := app.Revision{}
			if c.applied {
				want = rev
			}
			if !reflect.DeepEqual(v.Applied, want) {
				t.Errorf("applied %v, want %v", v.Applied, want)
			}
		})
	}
}

func TestRequestsOnAnApplication(t *testing.T) {
	u := viewedApp(t, nil)
	u.SetResourceVersion("7")
	if View(u).Asked || View(u).Suspended {
		t.Error("nothing was asked for")
	}
	merge(u.Object, RefreshPatch("t1", true))
	if v := View(u); !v.Asked {
		t.Error("a refresh is not seen")
	}
	if spec, _ := DecodeApplication(u, Options{}); spec.Request == nil || !spec.Request.Hard {
		t.Error("the decoder does not see a hard refresh")
	}
	merge(u.Object, SuspendPatch(true))
	if !View(u).Suspended {
		t.Error("suspending does not suspend")
	}
	merge(u.Object, SuspendPatch(false))
	if View(u).Suspended {
		t.Error("resuming does not resume")
	}

	u = viewedApp(t, nil)
	u.SetResourceVersion("7")
	ref := object.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "api"}
	asked := app.Request{Revision: "v2", Prune: true, DryRun: true, Force: true, Resources: []object.Ref{ref}, By: "plumb"}
	patch := SyncPatch(u, asked)
	if got := text(patch, "metadata", "resourceVersion"); got != "7" {
		t.Errorf("the patch is for version %q", got)
	}
	merge(u.Object, patch)
	spec, _ := DecodeApplication(u, Options{})
	got := spec.Request
	if got == nil || !got.Sync || got.Revision != "v2" || !got.Prune || !got.DryRun || !got.Force || got.By != "plumb" ||
		len(got.Resources) != 1 || got.Resources[0] != ref {
		t.Errorf("the decoder reads %+v", got)
	}
	if op := Operation(u); !op.Asked || op.Over {
		t.Errorf("operation %+v", op)
	}
}

func TestOperationIsOverOnceItIsCompared(t *testing.T) {
	u := viewedApp(t, nil)
	u.Object["status"] = map[string]any{
		"operationState": map[string]any{"phase": phaseSucceeded, "finishedAt": "2026-05-01T10:00:00Z", "message": "done"},
		"reconciledAt":   "2026-05-01T09:59:59Z",
	}
	if Operation(u).Over {
		t.Error("the comparison is older than the end of the operation")
	}
	u.Object["status"].(map[string]any)["reconciledAt"] = "2026-05-01T10:00:00Z"
	if op := Operation(u); !op.Over || !op.Succeeded {
		t.Errorf("got %+v", op)
	}
}
