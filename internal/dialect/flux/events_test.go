package flux

import (
	"maps"
	"testing"

	"plumb.dev/plumb/internal/app"
)

func TestEventsCarryAnnotations(t *testing.T) {
	events := Annotated([]app.Event{{Annotations: map[string]string{"a": "b"}}, {}},
		map[string]string{"event.toolkit.fluxcd.io/team": "shop", "other": "x"})
	if !maps.Equal(events[0].Annotations, map[string]string{"a": "b", "event.toolkit.fluxcd.io/team": "shop"}) ||
		!maps.Equal(events[1].Annotations, map[string]string{"event.toolkit.fluxcd.io/team": "shop"}) {
		t.Error(events[0].Annotations, events[1].Annotations)
	}
}
