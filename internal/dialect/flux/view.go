package flux

import (
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// View reads what a person is shown of a Kustomization, of any version.
func View(u *unstructured.Unstructured) app.View {
	spec, status := section(u.Object, "spec"), section(u.Object, "status")
	v := app.View{
		ID:       app.ID{Kind: KindKustomization, Namespace: u.GetNamespace(), Name: u.GetName()},
		UID:      string(u.GetUID()),
		Created:  u.GetCreationTimestamp().Time,
		Deleting: u.GetDeletionTimestamp() != nil,

		Suspended: spec["suspend"] == true,
		Mode:      app.ModeEnforce,
		Revision:  ParseRevision(text(status, "lastAttemptedRevision")),
		Applied:   ParseRevision(text(status, "lastAppliedRevision")),

		Source: app.SourceID{
			Kind:      text(spec, "sourceRef", "kind"),
			Namespace: text(spec, "sourceRef", "namespace"),
			Name:      text(spec, "sourceRef", "name"),
		},
		Path:     text(spec, "path"),
		Target:   app.Target{Namespace: text(spec, "targetNamespace")},
		LastSync: viewLastSync(status),
		Drift:    app.DriftFrom(list(status, "plumb", "drift")),
		Warnings: viewWarnings(status),

		Requested: u.GetAnnotations()[RequestedAt],
		Handled:   text(status, "lastHandledReconcileAt"),
	}
	v.Asked = v.Requested != "" && v.Requested != v.Handled
	if v.Source.Namespace == "" {
		v.Source.Namespace = v.ID.Namespace
	}
	if section(spec, "kubeConfig") != nil {
		v.Target.Cluster = "kubeConfig"
	}
	records, _ := recorded(status)
	for _, r := range records {
		v.Objects = append(v.Objects, app.ObjectView{Ref: r.Ref, Version: r.Version})
	}
	ready := viewCondition(status, condReady)
	v.State, v.Reason, v.Message = viewState(u, status, ready)
	v.Sync = viewSync(v)
	v.Health = viewHealth(viewCondition(status, condHealthy))
	return v
}

// ViewSource reads what a person is shown of a source, of any kind that keeps
// its revision in status.artifact.
func ViewSource(u *unstructured.Unstructured) app.SourceView {
	spec, status := section(u.Object, "spec"), section(u.Object, "status")
	v := app.SourceView{
		ID:        app.SourceID{Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName()},
		UID:       string(u.GetUID()),
		Created:   u.GetCreationTimestamp().Time,
		Deleting:  u.GetDeletionTimestamp() != nil,
		Suspended: spec["suspend"] == true,
		URL:       app.ViewURL(text(spec, "url")),
		Ref:       viewRef(section(spec, "ref")),
		Revision:  ParseRevision(text(status, "artifact", "revision")),
		Fetched:   viewTime(text(status, "artifact", "lastUpdateTime")),
		Requested: u.GetAnnotations()[RequestedAt],
		Handled:   text(status, "lastHandledReconcileAt"),
	}
	v.Asked = v.Requested != "" && v.Requested != v.Handled
	v.State, v.Reason, v.Message = viewState(u, status, viewCondition(status, condReady))
	return v
}

// condition is one of status.conditions; the zero value is an absent one.
type condition struct {
	status, reason, message string
	generation              int64
}

func viewCondition(status map[string]any, kind string) condition {
	for _, item := range list(status, "conditions") {
		c, _ := item.(map[string]any)
		if text(c, "type") == kind {
			return condition{text(c, "status"), text(c, "reason"), text(c, "message"), integer(c, "observedGeneration")}
		}
	}
	return condition{}
}

// viewState judges by the Ready condition, which counts only for the
// generation that it was made of.
func viewState(u *unstructured.Unstructured, status map[string]any, ready condition) (app.State, string, string) {
	seen := ready.generation
	if seen == 0 {
		seen = integer(status, "observedGeneration")
	}
	switch {
	case u.GetDeletionTimestamp() != nil:
		return app.StateRunning, "Deleting", "being deleted"
	case ready == condition{}:
		return app.StateRunning, "", "waiting to be reconciled"
	case seen > 0 && seen < u.GetGeneration() && section(u.Object, "spec")["suspend"] != true: // suspending is a change, too
		return app.StateRunning, ready.reason, "the spec changed and is waiting to be reconciled"
	case ready.status == "True":
		return app.StateReady, ready.reason, ready.message
	case ready.status == "False" && !viewWaiting(ready.reason):
		return app.StateFailed, ready.reason, ready.message
	}
	return app.StateRunning, ready.reason, ready.message
}

// viewWaiting tells the reasons that come with Ready=False though nothing is
// wrong with the resource itself.
func viewWaiting(reason string) bool {
	switch reason {
	case "DependencyNotReady", "HealthCheckCanceled", "Progressing", "ProgressingWithRetry":
		return true
	}
	return false
}

// viewSync says how the cluster stands to Git. Flux has no such field; but a
// revision is called applied only when all of it was.
func viewSync(v app.View) app.SyncStatus {
	switch v.Reason {
	case "HealthCheckFailed", "HealthCheckCanceled":
		return app.Synced // health is looked at after everything is applied
	case "ArtifactFailed", "BuildFailed", "InvalidSpec", "Unsupported", "AccessDenied":
		return app.Unknown // what Git has cannot be told
	}
	switch {
	case v.State == app.StateReady:
		return app.Synced
	case v.State == app.StateFailed:
		return app.OutOfSync
	case v.Revision.IsZero():
		return app.Unknown
	case v.Revision.Commit == v.Applied.Commit:
		return app.Synced
	}
	return app.OutOfSync
}

// viewHealth reads the Healthy condition, which is there only where health is
// asked for.
func viewHealth(c condition) app.Health {
	switch c.status {
	case "True":
		return app.Health{Status: app.Healthy, Message: c.message}
	case "False":
		return app.Health{Status: app.Degraded, Message: c.message}
	case "Unknown":
		return app.Health{Status: app.Progressing, Message: c.message}
	}
	return app.Health{}
}

// viewLastSync prefers what Plumb writes to the history that Flux keeps.
func viewLastSync(status map[string]any) time.Time {
	if last := decodeAttempt(section(status, "plumb", "lastSync")); last != nil {
		return last.Finished
	}
	for _, item := range list(status, "history") {
		entry, _ := item.(map[string]any)
		return viewTime(text(entry, "lastReconciled")) // the first is the newest
	}
	return time.Time{}
}

func viewWarnings(status map[string]any) []app.Warning {
	var out []app.Warning
	for _, item := range list(status, "plumb", "warnings") {
		if line, ok := item.(string); ok {
			out = append(out, app.Warning{Message: line})
		}
	}
	return out
}

// viewRef names what a source follows, the most specific field first.
func viewRef(ref map[string]any) string {
	for _, field := range []string{"commit", "name", "digest", "semver", "tag", "branch"} {
		if value := text(ref, field); value != "" {
			return value
		}
	}
	return ""
}

func viewTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t
}
