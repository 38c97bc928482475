package flux

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// fetching is what the specs of sources that are fetched have in common.
type fetching struct {
	Interval *metav1.Duration `json:"interval"`
	Timeout  *metav1.Duration `json:"timeout"`
	Suspend  bool             `json:"suspend"`

	AccessFrom any `json:"accessFrom"` // until v1beta2
}

// sourceOf is what the source of a resource begins with.
func sourceOf(u *unstructured.Unstructured, kind string) app.Source {
	return app.Source{
		ID:         app.SourceID{Kind: kind, Namespace: u.GetNamespace(), Name: u.GetName()},
		Generation: u.GetGeneration(),
		Interval:   defaultInterval,
		Timeout:    defaultFetchTimeout,
		Handled:    text(u.Object, "status", "lastHandledReconcileAt"),
		Request:    u.GetAnnotations()[RequestedAt],
		Recorded:   recordedArtifact(u),
	}
}

// recordedArtifact is the revision that a status tells of.
func recordedArtifact(u *unstructured.Unstructured) app.Revision {
	rev := ParseRevision(text(u.Object, "status", "artifact", "revision"))
	for key := range section(u.Object, "status", "artifact", "metadata") {
		if rev.Metadata == nil {
			rev.Metadata = map[string]string{}
		}
		rev.Metadata[key] = text(u.Object, "status", "artifact", "metadata", key)
	}
	return rev
}

// set takes over what the spec says.
func (f fetching) set(source *app.Source) (warnings []app.Warning) {
	if f.AccessFrom != nil {
		warnings = append(warnings, app.Warning{Field: "spec.accessFrom", Message: "has no effect, as in Flux"})
	}
	if source.Suspend = f.Suspend; f.Interval != nil {
		source.Interval = f.Interval.Duration
	}
	if f.Timeout != nil {
		source.Timeout = f.Timeout.Duration
	}
	return warnings
}

func (f fetching) failure() *app.Failure {
	if f.Interval != nil && f.Interval.Duration < 0 || f.Timeout != nil && f.Timeout.Duration < 0 {
		return app.Fail(app.StageSpec, app.ReasonInvalidSpec, "spec.interval and spec.timeout must not be negative").WithHint("give a length of time such as 5m")
	}
	return nil
}

// proxySecret is the Secret that spec.proxySecretRef names.
func proxySecret(u *unstructured.Unstructured) []SecretUse {
	name := text(u.Object, "spec", "proxySecretRef", "name")
	if name == "" {
		return nil
	}
	return []SecretUse{{Name: name, Into: func(src *app.Source, data map[string][]byte) {
		if src.Auth.Proxy, src.Auth.Err = ProxyOf(data); src.Auth.Err != nil {
			src.Auth.Err = fmt.Errorf("proxy: %w", src.Auth.Err)
		}
	}}}
}
