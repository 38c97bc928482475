// Package flux translates between the custom resources of Flux and the
// neutral vocabulary of package app: GitRepository (source.toolkit.fluxcd.io)
// and Kustomization (kustomize.toolkit.fluxcd.io), each in v1, v1beta2 and
// v1beta1, and HelmRelease (helm.toolkit.fluxcd.io) in v2, v2beta2 and v2beta1,
// with the behaviour of source-controller 1.9, kustomize-controller 1.9 and
// helm-controller 1.6. The versions are read alike: what one of them knows is
// accepted in all.
//
// Everything here is pure. The package must not know clients, the engine or
// the other dialects; times come in with the reports.
package flux

import (
	"sync"

	"plumb.dev/plumb/internal/app"
)

// API groups and kinds.
const (
	SourceGroup    = "source.toolkit.fluxcd.io"
	KustomizeGroup = "kustomize.toolkit.fluxcd.io"
	HelmGroup      = "helm.toolkit.fluxcd.io"

	KindGitRepository    = "GitRepository"
	KindHelmRepository   = "HelmRepository"
	KindHelmChart        = "HelmChart"
	KindOCIRepository    = "OCIRepository"
	KindBucket           = "Bucket"
	KindExternalArtifact = "ExternalArtifact"
	KindKustomization    = "Kustomization"
	KindHelmRelease      = "HelmRelease"
)

// Names that Flux gives to things on objects.
const (
	// Finalizer guards both kinds.
	Finalizer = "finalizers.fluxcd.io"
	// RequestedAt is the annotation by which a user asks for a run. Its value
	// is a token, echoed in status.lastHandledReconcileAt.
	RequestedAt = "reconcile.fluxcd.io/requestedAt"
	// FieldManager writes all delivered objects.
	FieldManager = "kustomize-controller"

	ownerName      = KustomizeGroup + "/name"
	ownerNamespace = KustomizeGroup + "/namespace"
)

// adoptFrom are the managers whose fields become the app's own: those that
// Flux takes over (kubectl in all its guises, and fields from before managers
// were recorded), and Argo CD's, for apps that move here.
func adoptFrom() []string {
	return []string{"kubectl", "kubectl-*", "before-first-apply", "argocd-controller"}
}

// strip is metadata that other tools left and that taking over removes.
func strip() []string {
	return []string{
		"kubectl.kubernetes.io/last-applied-configuration",
		KustomizeGroup + "/checksum",
		"fluxcd.io/sync-checksum",
		"fluxcd.io/sync-gc-mark",
		"argocd.argoproj.io/tracking-id",
		"argocd.argoproj.io/installation-id",
	}
}

// switches are the annotations, or labels, on delivered objects. All apps share
// them: they must not be changed.
var switches = sync.OnceValue(func() []app.Switch {
	on := func(key, value string, effect app.Effect) app.Switch {
		return app.Switch{Key: KustomizeGroup + "/" + key, Value: value, Label: true, Effect: effect}
	}
	return []app.Switch{
		on("reconcile", "disabled", app.EffectIgnore),
		on("prune", "disabled", app.EffectKeep),
		on("ssa", "Merge", app.EffectMerge),
		on("ssa", "IfNotPresent", app.EffectCreateOnly),
		on("ssa", "Ignore", app.EffectIgnore),
		on("force", "enabled", app.EffectForce),
	}
})

// order is the order in which kinds are applied; deletion goes the other way
// round. All apps share it: it must not be changed.
var order = sync.OnceValue(func() app.Order {
	return app.Order{
		First: []string{
			"CustomResourceDefinition", "Namespace", "ClusterRole",
			"ClusterClass", "RuntimeClass", "PriorityClass", "StorageClass",
			"VolumeSnapshotClass", "IngressClass", "GatewayClass",
			"ClusterRoleBinding", "ResourceQuota", "ServiceAccount", "Role", "RoleBinding",
			"ConfigMap", "Secret", "Service", "LimitRange",
			"Deployment", "StatefulSet", "CronJob", "PodDisruptionBudget",
		},
		Last: []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"},
		Stages: [][]string{
			{"CustomResourceDefinition", "Namespace", "ClusterRole"},
			{"ClusterClass", "RuntimeClass", "PriorityClass", "StorageClass", "VolumeSnapshotClass", "IngressClass", "GatewayClass"},
		},
	}
})

// Keys are the labels and annotations on delivered objects that marks and
// switches look at.
func Keys() []string {
	keys := []string{ownerName, ownerNamespace, helmOwnerName, helmOwnerNamespace}
	for _, s := range append(switches(), helmSwitches()...) {
		keys = append(keys, s.Key)
	}
	return keys
}

// IsDelivered reports whether labels are of an object that a Kustomization or a
// HelmRelease delivers.
func IsDelivered(labels map[string]string) bool {
	return labels[ownerName] != "" || labels[helmOwnerName] != ""
}

// Owner is how objects tell that a Kustomization delivers them.
func Owner() app.Owner {
	return app.Owner{Manager: FieldManager, Keys: []string{ownerNamespace, ownerName}}
}

// Strip is the metadata that taking an object over removes.
func Strip() []string { return strip() }
