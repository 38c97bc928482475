package flux

import (
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

func TestDriftsOfOneSecondAreKeptApart(t *testing.T) {
	at := time.Unix(1000, 0)
	web := object.Ref{Group: "apps", Kind: "Deployment", Namespace: "ns", Name: "web"}
	reported := app.Drift{Ref: web, At: at, By: "kubectl", Fields: []string{".spec.replicas"}}
	restored := reported
	restored.Restored, restored.RestoredAt = true, at
	other := restored
	other.Fields = []string{".metadata.labels.tier"}
	list := mergeDrift(nil, []app.Drift{reported})
	list = mergeDrift(list, []app.Drift{restored})
	if len(list) != 1 {
		t.Errorf("a restoration is no second drift: %v", list)
	}
	if list = mergeDrift(list, []app.Drift{other}); len(list) != 2 {
		t.Errorf("another field is another drift: %v", list)
	}
	if list = mergeDrift(list, []app.Drift{other}); len(list) != 2 {
		t.Errorf("told again is not twice: %v", list)
	}
}
