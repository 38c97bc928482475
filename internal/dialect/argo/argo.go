// Package argo is the Argo CD dialect: it turns an Application into the neutral
// vocabulary (DecodeApplication), and a report back into the status, the
// history and the events that clients of Argo CD read (EncodeApplication,
// Events). Projects, application sets and repository Secrets of that dialect
// are read here too. All of it is pure: it must not know clients, clocks,
// repositories, or how a plan is made and carried out.
//
// An Application has no status subresource, so its generation counts status
// writes as well and says nothing; everything here goes by content.
package argo

import (
	"slices"
	"time"
)

// Group and version of the dialect's resources, and their kinds.
const (
	Group   = "argoproj.io"
	Version = "v1alpha1"

	KindApplication    = "Application"
	KindProject        = "AppProject"
	KindApplicationSet = "ApplicationSet"
)

// FieldManager is the name under which objects are written, the one that
// Argo CD's own server-side apply uses, so that moving either way keeps
// ownership.
const FieldManager = "argocd-controller"

// Annotations on an Application and on the objects it delivers.
const (
	annotationRefresh          = "argocd.argoproj.io/refresh"
	annotationRefreshTimestamp = "argocd.argoproj.io/refresh-timestamp"
	annotationSkip             = "argocd.argoproj.io/skip-reconcile"
	annotationTracking         = "argocd.argoproj.io/tracking-id"
	annotationWave             = "argocd.argoproj.io/sync-wave"
	annotationHelmWeight       = "helm.sh/hook-weight"
	annotationOptions          = "argocd.argoproj.io/sync-options"
	annotationHook             = "argocd.argoproj.io/hook"
	annotationHelmHook         = "helm.sh/hook"
	annotationHelmPolicy       = "helm.sh/resource-policy"
)

// skipMarker leaves a file out of a directory of plain manifests.
const skipMarker = "# +argocd:skip-file-rendering"

// finalizer asks for the deletion of what the Application delivered; with the
// suffix /background or /foreground it says how, and alone it means foreground.
const finalizer = "resources-finalizer.argocd.argoproj.io"

// isFinalizer reports whether name is one that Plumb acts on and removes.
func isFinalizer(name string) bool {
	return slices.Contains([]string{finalizer, finalizer + "/foreground", finalizer + "/background"}, name)
}

// The names that the cluster Plumb serves has in every installation.
const (
	localServer = "https://kubernetes.default.svc"
	localName   = "in-cluster"
)

// DefaultProject is the project of an Application that names none.
const DefaultProject = "default"

// Options are what the dialect must be told about the installation.
type Options struct {
	// ControlNamespace is where projects and repository Secrets are, and whose
	// Applications are known by their bare names; "" is argocd.
	ControlNamespace string
	// PollInterval is the time between looks at a repository that sends no
	// webhooks; 0 is two minutes, as Argo CD has it.
	PollInterval time.Duration
}

func (o Options) controlNamespace() string {
	if o.ControlNamespace == "" {
		return "argocd"
	}
	return o.ControlNamespace
}

func (o Options) pollInterval() time.Duration {
	if o.PollInterval == 0 {
		return 2 * time.Minute
	}
	return o.PollInterval
}

// instance is the name of an Application in tracking ids: the bare name in the
// control namespace, <namespace>_<name> elsewhere.
func (o Options) instance(namespace, name string) string {
	if namespace == "" || namespace == o.controlNamespace() {
		return name
	}
	return namespace + "_" + name
}

// Keys are the labels and annotations on delivered objects that marks,
// switches and waves look at.
func Keys() []string {
	keys := []string{annotationTracking, annotationWave, annotationHelmWeight}
	for _, s := range switches() {
		keys = append(keys, s.Key)
	}
	return keys
}
