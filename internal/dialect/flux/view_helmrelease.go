package flux

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// ViewHelmRelease reads what a person is shown of a HelmRelease, of any
// version. Its revision is that of the chart.
func ViewHelmRelease(u *unstructured.Unstructured) app.View {
	spec, status := section(u.Object, "spec"), section(u.Object, "status")
	namespace, name := u.GetNamespace(), u.GetName()
	v := app.View{
		ID:       app.ID{Kind: KindHelmRelease, Namespace: namespace, Name: name},
		UID:      string(u.GetUID()),
		Created:  u.GetCreationTimestamp().Time,
		Deleting: u.GetDeletionTimestamp() != nil,

		Suspended: spec["suspend"] == true,
		Mode:      app.ModeEnforce,
		Revision:  app.Revision{Commit: text(status, "lastAttemptedRevision")},
		Target:    app.Target{Namespace: orElse(text(spec, "targetNamespace"), namespace)},
		LastSync:  viewLastSync(status),
		Drift:     app.DriftFrom(list(status, "plumb", "drift")),
		Warnings:  viewWarnings(status),

		Requested: u.GetAnnotations()[RequestedAt],
		Handled:   text(status, "lastHandledReconcileAt"),
	}
	v.Asked = v.Requested != "" && v.Requested != v.Handled
	if section(spec, "kubeConfig") != nil {
		v.Target.Cluster = "kubeConfig"
	}
	var decoded helmReleaseSpec
	if convert(spec, &decoded) == nil {
		v.Source = chartSource(decoded, namespace, name)
		if decoded.Chart != nil {
			v.Path = decoded.Chart.Spec.Chart
		}
	}
	if memory := decodeMemory(status); len(memory.History) > 0 {
		now := memory.History[0]
		if now.Status == "deployed" {
			v.Applied = app.Revision{Commit: now.ChartVersion}
		}
		v.Revision.Commit = orElse(v.Revision.Commit, now.ChartVersion)
	}
	records, _ := recorded(status)
	for _, r := range records {
		v.Objects = append(v.Objects, app.ObjectView{Ref: r.Ref, Version: r.Version})
	}
	v.State, v.Reason, v.Message = viewState(u, status, viewCondition(status, condReady))
	switch {
	case viewCondition(status, condDrifted).status == "True":
		v.Sync = app.OutOfSync
	default:
		v.Sync = viewSync(v)
	}
	return v
}
