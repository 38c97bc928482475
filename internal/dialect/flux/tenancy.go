package flux

import "plumb.dev/plumb/internal/app"

// Tenancy is what whoever runs a cluster demands of the tenants on it. The zero
// value demands nothing, as Flux does by default.
type Tenancy struct {
	// NoCrossNamespaceRefs refuses apps whose source is in another namespace.
	NoCrossNamespaceRefs bool
	// DefaultServiceAccount is impersonated, in the namespace of the app, for
	// apps that name no account; "" is none.
	DefaultServiceAccount string
	// DefaultKubeConfigServiceAccount opens other clusters, in the namespace of
	// the app, where a ConfigMap of spec.kubeConfig.configMapRef names no
	// account. "" is the account that Plumb runs as, unless DefaultServiceAccount
	// is set: then there is none.
	DefaultKubeConfigServiceAccount string
}

// Restrict applies it to an app of this dialect. An app that is being deleted
// is not refused: what it delivered has to go.
func (t Tenancy) Restrict(spec app.Spec) app.Spec {
	if t.NoCrossNamespaceRefs && spec.Invalid == nil && spec.Deletion == nil && spec.Source.Namespace != spec.ID.Namespace {
		spec.Invalid = app.Fail(app.StageSpec, app.ReasonForbidden, "can't access '%s', cross-namespace references have been blocked", spec.Source).
			WithHint("refer to a source in namespace %s", spec.ID.Namespace)
	}
	// In another cluster the account is one of that cluster's.
	if t.DefaultServiceAccount != "" && spec.Target.ServiceAccount == "" {
		spec.Target.ServiceAccount = spec.ID.Namespace + "/" + t.DefaultServiceAccount
	}
	return spec
}
