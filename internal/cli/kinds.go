package cli

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/argo"
	"plumb.dev/plumb/internal/dialect/flux"
)

// kind is one kind of custom resource that commands work on. Either app or
// source is set.
type kind struct {
	name     string // as the resource has it
	resource schema.GroupVersionResource
	words    []string // what people write for it, lower case, the preferred first
	app      func(*unstructured.Unstructured) app.View
	source   func(*unstructured.Unstructured) app.SourceView
	rules    app.HealthRules // of an app's objects

	// refresh is the patch that asks for a new look; token tells it from others.
	// It and suspend are nil where another controller makes what Plumb reads.
	refresh func(token string, hard bool) map[string]any
	// suspend is the patch that suspends, or resumes, and what it changes.
	suspend     func(on bool) map[string]any
	suspendedBy string
}

// kinds is the list of all that there are.
func kinds() []kind {
	return []kind{
		fluxApp(flux.KindKustomization, flux.KustomizeGroup, "v1", "kustomizations", flux.View, "ks"),
		fluxApp(flux.KindHelmRelease, flux.HelmGroup, "v2", "helmreleases", flux.ViewHelmRelease, "hr"),
		{
			name:        argo.KindApplication,
			resource:    schema.GroupVersionResource{Group: argo.Group, Version: argo.Version, Resource: "applications"},
			words:       []string{"application", "applications", "app"},
			app:         argo.View,
			rules:       app.HealthByKind,
			refresh:     argo.RefreshPatch,
			suspend:     argo.SuspendPatch,
			suspendedBy: "the annotation " + argo.SkipAnnotation,
		},
		fluxSource(flux.KindGitRepository, "gitrepositories", flux.ViewSource, "gitrepo"),
		fluxSource(flux.KindOCIRepository, "ocirepositories", flux.ViewSource, "ocirepo"),
		fluxSource(flux.KindBucket, "buckets", flux.ViewSource),
		fluxSource(flux.KindHelmRepository, "helmrepositories", flux.ViewHelmRepository, "helmrepo"),
		fluxSource(flux.KindHelmChart, "helmcharts", flux.ViewHelmChart, "hc"),
		foreign(fluxSource(flux.KindExternalArtifact, "externalartifacts", flux.ViewExternalArtifact, "ea")),
	}
}

// fluxKind is what all kinds of Flux have in common.
func fluxKind(name, group, version, plural string, short []string) kind {
	return kind{
		name:        name,
		resource:    schema.GroupVersionResource{Group: group, Version: version, Resource: plural},
		words:       append([]string{strings.ToLower(name), plural}, short...),
		refresh:     flux.RefreshPatch,
		suspend:     flux.SuspendPatch,
		suspendedBy: "spec.suspend",
	}
}

func fluxApp(name, group, version, plural string, view func(*unstructured.Unstructured) app.View, short ...string) kind {
	k := fluxKind(name, group, version, plural, short)
	k.app, k.rules = view, app.HealthKstatus
	return k
}

func fluxSource(name, plural string, view func(*unstructured.Unstructured) app.SourceView, short ...string) kind {
	k := fluxKind(name, flux.SourceGroup, "v1", plural, short)
	k.source = view
	return k
}

// foreign is a kind whose resources are another controller's.
func foreign(k kind) kind {
	k.refresh, k.suspend, k.suspendedBy = nil, nil, ""
	return k
}

func appKinds() []kind {
	return slices.DeleteFunc(kinds(), func(k kind) bool { return k.app == nil })
}

func sourceKinds() []kind {
	return slices.DeleteFunc(kinds(), func(k kind) bool { return k.source == nil })
}

// kindCalled finds a kind by what people write for it.
func kindCalled(word string) (kind, bool) {
	for _, k := range kinds() {
		if slices.Contains(k.words, strings.ToLower(word)) {
			return k, true
		}
	}
	return kind{}, false
}

// kindNamed finds a kind by its name in resources.
func kindNamed(name string) (kind, bool) {
	for _, k := range kinds() {
		if k.name == name {
			return k, true
		}
	}
	return kind{}, false
}

// kindWords lists what people may write, for messages.
func kindWords() string {
	var words []string
	for _, k := range kinds() {
		words = append(words, k.words[0])
	}
	return commaList(words)
}

// commaList is a, b or c.
func commaList(items []string) string {
	if len(items) < 2 {
		return strings.Join(items, "")
	}
	return strings.Join(items[:len(items)-1], ", ") + " or " + items[len(items)-1]
}
