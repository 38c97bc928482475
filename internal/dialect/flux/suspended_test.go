package flux

import (
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestEncodeSuspended holds what Flux's controllers write of a resource that is
// suspended: seen beside them, on the same resources.
func TestEncodeSuspended(t *testing.T) {
	condition := func(kind, status string, generation int64) any {
		return map[string]any{"type": kind, "status": status, "observedGeneration": generation}
	}
	for name, c := range map[string]struct {
		kind       string
		unless     string // "resumed" or "deleted"
		seen       int64
		conditions []any
		wantSeen   int64
		wantReady  int64 // generation of the first condition
		handled    bool
	}{
		"Kustomization, ready":         {kind: KindKustomization, seen: 1, conditions: []any{condition("Ready", "True", 1)}, wantSeen: 2, wantReady: 1, handled: true},
		"Kustomization, failing":       {kind: KindKustomization, seen: -1, conditions: []any{condition("Ready", "False", 1)}, wantSeen: -1, wantReady: 1, handled: true},
		"Kustomization, new":           {kind: KindKustomization, seen: -1, wantSeen: -1},
		"HelmRelease, ready":           {kind: KindHelmRelease, seen: 1, conditions: []any{condition("Ready", "True", 1)}, wantSeen: 2, wantReady: 1, handled: true},
		"HelmRelease, failing":         {kind: KindHelmRelease, seen: -1, conditions: []any{condition("Ready", "False", 1)}, wantSeen: 2, wantReady: 1, handled: true},
		"HelmRelease, new":             {kind: KindHelmRelease, seen: -1, wantSeen: 2, handled: true},
		"GitRepository, ready":         {kind: KindGitRepository, seen: 1, conditions: []any{condition("Ready", "True", 1)}, wantSeen: 2, wantReady: 2, handled: true},
		"HelmRepository, failing":      {kind: KindHelmRepository, seen: -1, conditions: []any{condition("Ready", "False", 1)}, wantSeen: 2, wantReady: 2, handled: true},
		"Bucket, new":                  {kind: KindBucket, seen: -1, wantSeen: -1},
		"Kustomization, not suspended": {kind: KindKustomization, unless: "resumed", seen: 1, conditions: []any{condition("Ready", "True", 1)}, wantSeen: 1, wantReady: 1},
		"HelmRelease, going":           {kind: KindHelmRelease, unless: "deleted", seen: 1, conditions: []any{condition("Ready", "True", 1)}, wantSeen: 1, wantReady: 1},
	} {
		t.Run(name, func(t *testing.T) {
			u := &unstructured.Unstructured{Object: map[string]any{
				"kind":     c.kind,
				"metadata": map[string]any{"generation": int64(2), "annotations": map[string]any{RequestedAt: "now"}},
				"spec":     map[string]any{"suspend": c.unless != "resumed"},
				"status":   map[string]any{"observedGeneration": c.seen},
			}}
			if c.unless == "deleted" {
				u.Object["metadata"].(map[string]any)["deletionTimestamp"] = "2024-05-01T12:00:00Z"
			}
			if c.conditions != nil {
				u.Object["status"].(map[string]any)["conditions"] = c.conditions
			}
			before := u.DeepCopy()
			got := EncodeSuspended(u)
			if !reflect.DeepEqual(u, before) {
				t.Error("the resource was changed")
			}
			if seen := integer(got, "observedGeneration"); seen != c.wantSeen {
				t.Errorf("observedGeneration is %d, want %d", seen, c.wantSeen)
			}
			if handled := text(got, "lastHandledReconcileAt"); (handled == "now") != c.handled {
				t.Errorf("lastHandledReconcileAt is %q", handled)
			}
			if items := list(got, "conditions"); len(items) > 0 {
				if seen := integer(items[0].(map[string]any), "observedGeneration"); seen != c.wantReady {
					t.Errorf("observedGeneration of Ready is %d, want %d", seen, c.wantReady)
				}
			}
		})
	}
}
