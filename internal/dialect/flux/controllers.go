package flux

import "plumb.dev/plumb/internal/app"

// PartOf is the value of app.kubernetes.io/part-of on everything that Flux
// installs.
const PartOf = "flux"

// The controllers of Flux whose work Plumb does, as their Deployments and the
// label app.kubernetes.io/component call them.
const (
	KustomizeController = "kustomize-controller"
	SourceController    = "source-controller"
	HelmController      = "helm-controller"
)

// Replaced are the controllers whose work Plumb does, in the order in which
// they are to be stopped: those that deliver before the one that they get their
// sources from.
func Replaced() []app.Workload {
	return []app.Workload{
		{PartOf: PartOf, Component: KustomizeController},
		{PartOf: PartOf, Component: HelmController},
		{PartOf: PartOf, Component: SourceController},
	}
}
