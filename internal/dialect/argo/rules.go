package argo

import (
	"slices"
	"sync"

	"plumb.dev/plumb/internal/app"
)

// kindOrder is the order within a wave; kinds that are not listed come last. All
// apps share it: it must not be changed.
var kindOrder = sync.OnceValue(func() []string {
	return []string{
		"Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "PodSecurityPolicy", "PodDisruptionBudget",
		"ServiceAccount", "Secret", "SecretList", "ConfigMap", "StorageClass", "PersistentVolume",
		"PersistentVolumeClaim", "CustomResourceDefinition", "ClusterRole", "ClusterRoleList", "ClusterRoleBinding",
		"ClusterRoleBindingList", "Role", "RoleList", "RoleBinding", "RoleBindingList", "Service", "DaemonSet", "Pod",
		"ReplicationController", "ReplicaSet", "Deployment", "HorizontalPodAutoscaler", "StatefulSet", "Job",
		"CronJob", "IngressClass", "Ingress", "APIService",
	}
})

// Owner is how objects tell that an Application delivers them.
func Owner() app.Owner {
	return app.Owner{Manager: FieldManager, Keys: []string{annotationTracking}}
}

// Strip is the metadata that taking an object over removes: what kubectl and
// Flux left there, which they would go by if they saw it again.
func Strip() []string {
	return []string{
		"kubectl.kubernetes.io/last-applied-configuration",
		"kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/namespace",
	}
}

// switches are the annotations on delivered objects that change how they are
// treated. Where confirmation is asked for, which this version cannot take, the
// object is kept. Hooks are not run by this version and, above all, not applied
// as if they were ordinary objects. All apps share them: they must not be
// changed.
var switches = sync.OnceValue(func() []app.Switch {
	var out []app.Switch
	add := func(key string, effect app.Effect, values ...string) {
		for _, v := range values {
			s := app.Switch{Key: key, Value: v, List: true, Effect: effect}
			if effect == app.EffectIgnore && v != "Skip" {
				s.Note = "it is a " + v + " hook, which this version of Plumb does not run: it is not applied"
			}
			out = append(out, s)
		}
	}
	add(annotationOptions, app.EffectKeep, "Prune=false", "Prune=confirm")
	add(annotationOptions, app.EffectKeepOnDelete, "Delete=false", "Delete=confirm")
	add(annotationOptions, app.EffectReplace, "Replace=true")
	add(annotationOptions, app.EffectForce, "Force=true")
	add(annotationOptions, app.EffectPruneLast, "PruneLast=true")
	add(annotationHelmPolicy, app.EffectKeepOnDelete, "keep")
	add(annotationHook, app.EffectIgnore, "PreSync", "Sync", "PostSync", "SyncFail", "Skip", "PreDelete", "PostDelete")
	add(annotationHelmHook, app.EffectIgnore,
		"pre-install", "pre-upgrade", "post-install", "post-upgrade", "pre-delete", "post-delete",
		"pre-rollback", "post-rollback", "test", "test-success", "test-failure")
	return slices.Clip(out)
})
