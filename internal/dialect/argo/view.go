package argo

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// View reads what a person is shown of an Application.
func View(u *unstructured.Unstructured) app.View {
	v := app.View{
		ID:       app.ID{Kind: KindApplication, Namespace: u.GetNamespace(), Name: u.GetName()},
		UID:      string(u.GetUID()),
		Created:  u.GetCreationTimestamp().Time,
		Deleting: u.GetDeletionTimestamp() != nil,

		Suspended: u.GetAnnotations()[annotationSkip] == "true",
		Mode:      viewMode(u),
		Sync:      app.SyncStatus(text(u.Object, "status", "sync", "status")),
		Health: app.Health{
			Status:  app.HealthStatus(text(u.Object, "status", "health", "status")),
			Message: text(u.Object, "status", "health", "message"),
		},
		Drift:     app.DriftFrom(viewList(u, "drift")),
		Warnings:  viewWarnings(u),
		Requested: refreshToken(u),
	}
	if v.Sync == "" {
		v.Sync = app.Unknown
	}
	source := viewSource(u)
	v.SourceURL, v.Path = app.ViewURL(text(source, "repoURL")), text(source, "path")
	v.SourceRef = revisionOrHead(text(source, "targetRevision"))
	v.Target = viewTarget(u)
	v.Asked = v.Requested != "" || u.Object["operation"] != nil
	viewRevisions(u, &v)
	for _, item := range objects(u.Object, "status", "resources") {
		v.Objects = append(v.Objects, app.ObjectView{
			Ref: object.Ref{
				Group: text(item, "group"), Kind: text(item, "kind"),
				Namespace: text(item, "namespace"), Name: text(item, "name"),
			},
			Version: text(item, "version"),
			Sync:    app.SyncStatus(text(item, "status")),
			Health:  app.HealthStatus(text(item, "health", "status")),
		})
	}
	v.State, v.Reason, v.Message = viewState(u, v)
	return v
}

// viewMode tells what happens by itself.
func viewMode(u *unstructured.Unstructured) app.Mode {
	automated, found, _ := unstructured.NestedMap(u.Object, "spec", "syncPolicy", "automated")
	switch {
	case !found || automated["enabled"] == false:
		return app.ModeManual
	case automated["selfHeal"] == true:
		return app.ModeEnforce
	}
	return app.ModeOnChange
}

// viewSource is the source that counts, as the decoder has it.
func viewSource(u *unstructured.Unstructured) map[string]any {
	if many := objects(u.Object, "spec", "sources"); len(many) > 0 {
		return many[0]
	}
	source, _, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "source")
	one, _ := source.(map[string]any)
	return one
}

func viewTarget(u *unstructured.Unstructured) app.Target {
	t := app.Target{Namespace: text(u.Object, "spec", "destination", "namespace")}
	if server := text(u.Object, "spec", "destination", "server"); server != "" && server != localServer {
		t.Cluster = server
	}
	if name := text(u.Object, "spec", "destination", "name"); name != "" && name != localName {
		t.Cluster = name
	}
	return t
}

// viewRevisions reads what was compared, what was delivered last, and when.
func viewRevisions(u *unstructured.Unstructured, v *app.View) {
	ref := v.SourceRef
	revision := func(commit string) app.Revision {
		if commit == "" {
			return app.Revision{}
		}
		r := app.Revision{Commit: commit}
		if ref != "HEAD" && !strings.HasPrefix(commit, ref) {
			r.Ref = ref
		}
		return r
	}
	v.Revision = revision(viewCommit(u.Object, "status", "sync"))
	if history := objects(u.Object, "status", "history"); len(history) > 0 {
		last := history[len(history)-1]
		v.Applied, v.LastSync = revision(viewCommit(last)), moment(last, "deployedAt")
	}
	if v.Sync == app.Synced {
		v.Applied = v.Revision
	}
	if t := moment(u.Object, "status", "operationState", "finishedAt"); !t.IsZero() {
		v.LastSync = t
	}
}

// viewCommit reads revision, or the first of revisions.
func viewCommit(m map[string]any, path ...string) string {
	if one := text(m, append(slices.Clone(path), "revision")...); one != "" {
		return one
	}
	many, _, _ := unstructured.NestedStringSlice(m, append(slices.Clone(path), "revisions")...)
	if len(many) > 0 {
		return many[0]
	}
	return ""
}

// viewState judges by the operation first, then by the error conditions, then
// by sync and health.
func viewState(u *unstructured.Unstructured, v app.View) (app.State, string, string) {
	phase := text(u.Object, "status", "operationState", "phase")
	said := text(u.Object, "status", "operationState", "message")
	if v.Deleting {
		return app.StateRunning, "Deleting", "being deleted"
	}
	if phase == "Running" || phase == "Terminating" {
		return app.StateRunning, phase, said
	}
	if u.Object["operation"] != nil {
		return app.StateRunning, "Requested", "a sync was asked for and has not begun"
	}
	for _, c := range objects(u.Object, "status", "conditions") {
		// The suffix is what makes a condition an error.
		if kind := text(c, "type"); strings.HasSuffix(kind, "Error") {
			return app.StateFailed, kind, text(c, "message")
		}
	}
	switch v.Sync {
	case app.Unknown:
		return app.StateRunning, "", "waiting to be compared"
	case app.OutOfSync:
		if phase == "Failed" || phase == "Error" {
			return app.StateFailed, "Sync" + phase, said
		}
		if viewWillSync(u, v) {
			return app.StateRunning, "OutOfSync", "waiting to be synced"
		}
		return app.StateDiffers, "OutOfSync", viewDifferences(v)
	}
	switch v.Health.Status {
	case app.HealthNone, app.Healthy, app.Suspended:
		return app.StateReady, "", said
	case app.Progressing:
		return app.StateRunning, "Progressing", v.Health.Message
	}
	return app.StateFailed, string(v.Health.Status), v.Health.Message
}

// viewWillSync reports whether an app that is out of sync will be synced
// without anyone asking.
func viewWillSync(u *unstructured.Unstructured, v app.View) bool {
	if v.Suspended || v.Mode == app.ModeManual {
		return false
	}
	prune, _, _ := unstructured.NestedBool(u.Object, "spec", "syncPolicy", "automated", "prune")
	if !prune && !slices.ContainsFunc(objects(u.Object, "status", "resources"), func(r map[string]any) bool {
		return text(r, "status") != string(app.Synced) && r["requiresPruning"] != true
	}) {
		return false // only pruning would help
	}
	// Without self-heal a revision is synced once.
	return v.Mode == app.ModeEnforce || viewCommit(u.Object, "status", "operationState", "syncResult") != v.Revision.Commit
}

// viewDifferences names the objects that differ, the first three of them.
func viewDifferences(v app.View) string {
	var names []string
	for _, o := range v.Objects {
		if o.Sync == app.OutOfSync {
			names = append(names, o.Ref.String())
		}
	}
	switch n := len(names); {
	case n == 0:
		return "the cluster differs from Git"
	case n == 1:
		return names[0] + " differs"
	case n <= 3:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1] + " differ"
	default:
		return fmt.Sprintf("%s and %d more differ", strings.Join(names[:3], ", "), n-3)
	}
}

// viewWarnings takes the conditions that are warnings, and what Plumb adds.
func viewWarnings(u *unstructured.Unstructured) []app.Warning {
	var out []app.Warning
	for _, c := range objects(u.Object, "status", "conditions") {
		if kind := text(c, "type"); strings.HasSuffix(kind, "Warning") {
			out = append(out, app.Warning{Field: kind, Message: text(c, "message")})
		}
	}
	for _, item := range viewList(u, "warnings") {
		if line, ok := item.(string); ok {
			out = append(out, app.Warning{Message: line})
		}
	}
	return out
}

// viewList is a list in status.plumb.
func viewList(u *unstructured.Unstructured, name string) []any {
	v, _, _ := unstructured.NestedFieldNoCopy(u.Object, "status", "plumb", name)
	list, _ := v.([]any)
	return list
}
