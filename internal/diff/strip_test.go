package diff

import (
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// TestTarget: a rule with a target picks objects by anchored expressions and
// by selectors of labels and annotations.
func TestTarget(t *testing.T) {
	ref := object.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web-1"}
	for _, c := range []struct {
		target app.Selector
		want   bool
	}{
		{app.Selector{}, true},
		{app.Selector{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "shop", Name: "web-.*"}, true},
		{app.Selector{Name: "web"}, false}, // anchored
		{app.Selector{Name: "web-1|api"}, true},
		{app.Selector{Version: "v1beta1"}, false},
		{app.Selector{Kind: "("}, false},
		{app.Selector{LabelSelector: "tier in (front, back)"}, true},
		{app.Selector{LabelSelector: "tier!=front"}, false},
		{app.Selector{AnnotationSelector: "scaled"}, true},
		{app.Selector{AnnotationSelector: "scaled=no"}, false},
		{app.Selector{AnnotationSelector: "=="}, false},
	} {
		content := map[string]any{"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": map[string]any{"labels": map[string]any{"tier": "front"}, "annotations": map[string]any{"scaled": "yes"}},
			"spec":     map[string]any{"replicas": int64(2), "paused": false}}
		Strip(content, ref, []app.IgnoreRule{{Target: &c.target, Pointers: []string{"/spec/replicas"}}})
		if _, there := content["spec"].(map[string]any)["replicas"]; there == c.want {
			t.Errorf("%+v: stripped is %v", c.target, !there)
		}
	}
}
