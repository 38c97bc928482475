package flux

import (
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// externalInterval is the longest wait between tries to fetch an artifact;
// what is told of it is acted on at once.
const externalInterval = time.Hour

// Foreign reports whether the resources of a kind are someone else's: Plumb
// reads them, and writes nothing to them.
func Foreign(kind string) bool { return kind == KindExternalArtifact }

// DecodeExternalArtifact is SourceKind.Decode. What is delivered stands in the
// status, which the controller that makes the artifact writes.
func DecodeExternalArtifact(u *unstructured.Unstructured) (app.Source, []app.Warning, *app.Failure) {
	id := app.SourceID{Kind: KindExternalArtifact, Namespace: u.GetNamespace(), Name: u.GetName()}
	artifact := section(u.Object, "status", "artifact")
	return app.Source{
		ID:         id,
		Generation: u.GetGeneration(),
		External:   &app.External{ID: id, URL: text(artifact, "url"), Digest: text(artifact, "digest"), Revision: text(artifact, "revision")},
		Interval:   externalInterval,
		Timeout:    defaultFetchTimeout,
		Request:    u.GetAnnotations()[RequestedAt],
	}, nil, nil
}

func externalArtifactSecrets(*unstructured.Unstructured) []SecretUse { return nil }

// EncodeExternalArtifact is SourceKind.Encode: the status stays what it is.
func EncodeExternalArtifact(_ app.SourceReport, _ []app.Warning, old map[string]any) map[string]any {
	return maps.Clone(orEmpty(old))
}

// ViewExternalArtifact reads what a person is shown of one. Whether it is ready
// says the controller that makes it; where that says nothing, what counts is
// that there is an artifact. A request is answered by nobody.
func ViewExternalArtifact(u *unstructured.Unstructured) app.SourceView {
	v := ViewSource(u)
	v.URL, v.Ref = app.ViewURL(text(u.Object, "status", "artifact", "url")), text(u.Object, "spec", "sourceRef", "name")
	if kind := text(u.Object, "spec", "sourceRef", "kind"); kind != "" {
		v.Ref = kind + "/" + v.Ref
	}
	v.Asked = false
	if v.State == app.StateRunning && !v.Deleting && !v.Revision.IsZero() && viewCondition(section(u.Object, "status"), condReady) == (condition{}) {
		v.State, v.Message = app.StateReady, "an artifact is there"
	}
	return v
}

// ExternalArtifactEvents is SourceKind.Events.
func ExternalArtifactEvents(r app.SourceReport, _ []app.Warning, _ map[string]any) []app.Event {
	if r.Failure == nil {
		return nil
	}
	return []app.Event{{Warning: true, Reason: "ArtifactFailed", Message: clip(failureMessage(r.Failure), maxNote)}}
}
