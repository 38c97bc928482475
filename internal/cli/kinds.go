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
	refresh func(token string, hard bool) map[string]any
	// suspend is the patch that suspends, or resumes, and what it changes.
	suspend     func(on bool) map[string]any
	suspendedBy string
}

// kinds is the list of all that there are.
func kinds() []kind {
	return []kind{
		{
			name:        flux.KindKustomization,
			resource:    schema.GroupVersionResource{Group: flux.KustomizeGroup, Version: "v1", Resource: "kustomizations"},
			words:       []string{"kustomization", "kustomizations", "ks"},
			app:         flux.View,
			rules:       app.HealthKstatus,
			refresh:     flux.RefreshPatch,
			suspend:     flux.SuspendPatch,
			suspendedBy: "spec.suspend",
		},
		{
			name:        flux.KindHelmRelease,
			resource:    schema.GroupVersionResource{Group: flux.HelmGroup, Version: "v2", Resource: "helmreleases"},
			words:       []string{"helmrelease", "helmreleases", "hr"},
			app:         flux.ViewHelmRelease,
			rules:       app.HealthKstatus,
			refresh:     flux.RefreshPatch,
			suspend:     flux.SuspendPatch,
			suspendedBy: "spec.suspend",
		},
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
		{
			name:        flux.KindGitRepository,
			resource:    schema.GroupVersionResource{Group: flux.SourceGroup, Version: "v1", Resource: "gitrepositories"},
			words:       []string{"gitrepository", "gitrepositories", "gitrepo"},
			source:      flux.ViewSource,
			refresh:     flux.RefreshPatch,
			suspend:     flux.SuspendPatch,
			suspendedBy: "spec.suspend",
		},
		{
			name:        flux.KindOCIRepository,
			resource:    schema.GroupVersionResource{Group: flux.SourceGroup, Version: "v1", Resource: "ocirepositories"},
			words:       []string{"ocirepository", "ocirepositories", "ocirepo"},
			source:      flux.ViewSource,
			refresh:     flux.RefreshPatch,
			suspend:     flux.SuspendPatch,
			suspendedBy: "spec.suspend",
		},
		{
			name:        flux.KindBucket,
			resource:    schema.GroupVersionResource{Group: flux.SourceGroup, Version: "v1", Resource: "buckets"},
			words:       []string{"bucket", "buckets"},
			source:      flux.ViewSource,
			refresh:     flux.RefreshPatch,
			suspend:     flux.SuspendPatch,
			suspendedBy: "spec.suspend",
		},
		{
			name:        flux.KindHelmRepository,
			resource:    schema.GroupVersionResource{Group: flux.SourceGroup, Version: "v1", Resource: "helmrepositories"},
			words:       []string{"helmrepository", "helmrepositories", "helmrepo"},
			source:      flux.ViewHelmRepository,
			refresh:     flux.RefreshPatch,
			suspend:     flux.SuspendPatch,
			suspendedBy: "spec.suspend",
		},
		{
			name:        flux.KindHelmChart,
			resource:    schema.GroupVersionResource{Group: flux.SourceGroup, Version: "v1", Resource: "helmcharts"},
			words:       []string{"helmchart", "helmcharts", "hc"},
			source:      flux.ViewHelmChart,
			refresh:     flux.RefreshPatch,
			suspend:     flux.SuspendPatch,
			suspendedBy: "spec.suspend",
		},
	}
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
