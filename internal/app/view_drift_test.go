package app

import (
	"reflect"
	"testing"
	"time"

	"plumb.dev/plumb/internal/object"
)

func TestDriftFrom(t *testing.T) {
	got := DriftFrom([]any{
		map[string]any{"object": "Namespace/shop", "deleted": true, "at": "yesterday"},
		map[string]any{
			"object": "Deployment/shop/api", "group": "apps", "at": "2026-05-01T10:00:00Z", "by": "kubectl-edit", "subresource": "scale",
			"fields": []any{".spec.replicas", 3}, "restored": true, "restoredAt": "2026-05-01T10:00:01Z",
		},
		map[string]any{"object": "shop"},
		map[string]any{"object": "Deployment//api"},
		"Deployment/shop/api",
		nil,
	})
	want := []Drift{
		{
			Ref: object.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "api"},
			At:  time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC), By: "kubectl-edit", Subresource: "scale",
			Fields: []string{".spec.replicas"}, Restored: true, RestoredAt: time.Date(2026, 5, 1, 10, 0, 1, 0, time.UTC),
		},
		{Ref: object.Ref{Kind: "Namespace", Name: "shop"}, Deleted: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
