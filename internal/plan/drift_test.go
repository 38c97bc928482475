package plan

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// What another tool delivered is recorded where it is as it should be, and
// written, or told of, where it is not. Nothing is ever pruned.
func TestBuildDrift(t *testing.T) {
	const skip = "example.com/drift"
	cm := func(name string, annotations map[string]any) object.Object {
		return object.New(map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{"name": name, "namespace": "a", "annotations": annotations}}, object.Origin{})
	}
	plain := cm("x", nil)
	ref := plain.Ref()
	changed := &Prediction{Changes: []app.FieldChange{{Path: ".data.a"}}, Regained: []Holding{{Path: ".data.a", By: "kubectl"}}, Owned: "now"}
	tests := []struct {
		name   string
		object object.Object
		record app.Record
		live   Live
		apply  bool
		verb   Verb
		sync   app.SyncStatus
		// drifted and the record that is kept if the step is not carried out
		drifted bool
		want    app.Record
	}{
		{"as recorded", plain, app.Record{Ref: ref, Version: "v1", Desired: plain.Digest(), Owned: "o"}, Live{Exists: true, Owned: "o"}, true,
			Keep, app.Synced, false, app.Record{Ref: ref, Version: "v1", Desired: plain.Digest(), Owned: "o"}},
		{"delivered just now", plain, app.Record{Ref: ref, Version: "v1"}, Live{Exists: true, Owned: "late", Prediction: &Prediction{Owned: "now"}}, true,
			Keep, app.Synced, false, app.Record{Ref: ref, Version: "v1", Desired: plain.Digest(), Owned: "now"}},
		{"ownership would not tell", plain, app.Record{}, Live{Exists: true, Owned: "o", Prediction: &Prediction{Owned: "now", Regained: []Holding{{Path: ".data.a"}}}}, true,
			Apply, app.Synced, false, app.Record{}},
		{"the same, and nothing may be written", plain, app.Record{}, Live{Exists: true, Owned: "o", Prediction: &Prediction{Owned: "now", Regained: []Holding{{Path: ".data.a"}}}}, false,
			Keep, app.Synced, false, app.Record{Ref: ref, Version: "v1", Desired: plain.Digest()}},
		{"not by server-side apply", plain, app.Record{}, Live{Exists: true, Prediction: &Prediction{Regained: []Holding{{Path: ".data.a"}}}}, true,
			Keep, app.Synced, false, app.Record{Ref: ref, Version: "v1", Desired: plain.Digest()}},
		{"changed", plain, app.Record{Ref: ref, Version: "v1", Desired: plain.Digest(), Owned: "o"}, Live{Exists: true, Owned: "now", Prediction: changed}, true,
			Apply, app.OutOfSync, true, app.Record{Ref: ref, Version: "v1", Owned: "now"}},
		{"changed, and only told of", plain, app.Record{}, Live{Exists: true, Owned: "now", Prediction: changed}, false,
			Report, app.OutOfSync, true, app.Record{Ref: ref, Version: "v1", Owned: "now"}},
		{"deleted", plain, app.Record{Ref: ref, Version: "v1", Desired: plain.Digest(), Owned: "o"}, Live{Prediction: &Prediction{}}, true,
			Create, app.OutOfSync, true, app.Record{Ref: ref, Version: "v1"}},
		{"left out by the manifest", cm("x", map[string]any{skip: "disabled"}), app.Record{}, Live{Exists: true, Prediction: changed}, true,
			Skip, "", false, app.Record{Ref: ref, Version: "v1"}},
		{"left out in the cluster", plain, app.Record{}, Live{Exists: true, Annotations: map[string]string{skip: "disabled"}, Prediction: changed}, true,
			Skip, "", false, app.Record{Ref: ref, Version: "v1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec := app.Spec{Policy: app.Policy{Prune: true, Switches: []app.Switch{{Key: skip, Value: "disabled", Effect: app.EffectIgnore}}},
				Recorded: []app.Record{{Ref: object.Ref{Kind: "ConfigMap", Namespace: "a", Name: "gone"}, Version: "v1", Owned: "o"}}}
			if test.record != (app.Record{}) {
				spec.Recorded = append(spec.Recorded, test.record)
			}
			p := BuildDrift(Input{Spec: spec, Objects: []object.Object{test.object}, Intent: Intent{Apply: test.apply, Prune: true},
				Facts: Facts{Live: map[object.Ref]Live{ref: test.live}, Kinds: map[schema.GroupKind]Kind{{Kind: "ConfigMap"}: {Served: true, Namespaced: true, Owned: true}}}})
			steps := p.Steps()
			if len(steps) != 1 || p.Refused != nil {
				t.Fatalf("steps %+v, refused: %v", steps, p.Refused)
			}
			s := steps[0]
			if s.Verb != test.verb || s.Sync != test.sync || s.Drifted != test.drifted || s.Recorded != test.want {
				t.Errorf("got  %s %q %t %+v\nwant %s %q %t %+v", s.Verb, s.Sync, s.Drifted, s.Recorded, test.verb, test.sync, test.drifted, test.want)
			}
			if got := p.Unowned(); got != (s.Verb == Keep && s.Recorded.Owned == "") {
				t.Errorf("unowned: %t", got)
			}
		})
	}
	refused := BuildDrift(Input{Objects: []object.Object{plain}, Intent: Intent{Apply: true},
		Facts: Facts{Live: map[object.Ref]Live{ref: {Exists: true, Prediction: &Prediction{Refused: app.Fail(app.StageApply, app.ReasonImmutable, "no")}}}}})
	if refused.Refused == nil || refused.Writes() > 0 {
		t.Errorf("what the API server would refuse is planned: %+v", refused)
	}
}
