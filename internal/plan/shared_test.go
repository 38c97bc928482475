package plan

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// An object that another app has delivered since this one did is told of, with
// the name of the other; one that is taken over for the first time, or that
// someone changed by hand, is not.
func TestSharedObjects(t *testing.T) {
	cm := object.New(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "x", "namespace": "ns"}}, object.Origin{Path: "x.yaml", Line: 1})
	ref := cm.Ref()
	ours := app.Record{Ref: ref, Version: "v1", Desired: cm.Digest(), Owned: "1"}
	theirs := map[string]string{"argo/id": "other"}
	for _, c := range []struct {
		name string
		rec  app.Record
		live Live
		want string
	}{
		{"as it was", ours, Live{Exists: true, Owned: "1", Marked: true, Others: []string{"argo"}, Annotations: theirs}, ""},
		{"taken over for the first time", app.Record{}, Live{Exists: true, Others: []string{"argo"}, Annotations: theirs}, ""},
		{"changed by hand", ours, Live{Exists: true, Owned: "2", Marked: true, Labels: map[string]string{"flux/name": "this"}}, ""},
		{"its mark was removed", ours, Live{Exists: true, Owned: "2"}, ""},
		{"another app of this dialect", ours, Live{Exists: true, Owned: "2", Labels: map[string]string{"flux/name": "that"}}, "(flux/name=that)"},
		{"an app of another dialect", ours, Live{Exists: true, Others: []string{"argo"}, Annotations: theirs}, "(argo/id=other)"},
		{"which had it once", ours, Live{Exists: true, Annotations: theirs}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := Input{Objects: []object.Object{cm}, Intent: Intent{Apply: true},
				Facts:  Facts{Live: map[object.Ref]Live{ref: c.live}, Kinds: map[schema.GroupKind]Kind{{Kind: "ConfigMap"}: {Served: true, Namespaced: true, Version: "v1", Owned: true}}},
				Spec:   app.Spec{FieldManager: "flux", Mark: app.Mark{Labels: map[string]string{"flux/name": "this"}}},
				Owners: []app.Owner{{Manager: "flux", Keys: []string{"flux/name"}}, {Manager: "argo", Keys: []string{"argo/id"}}}}
			if c.rec.Owned != "" {
				in.Spec.Recorded = []app.Record{c.rec}
			}
			var said []string
			for _, w := range Build(in).Warnings {
				said = append(said, w.Message)
			}
			text := strings.Join(said, "; ")
			if (c.want == "") != (text == "") || !strings.Contains(text, c.want) {
				t.Errorf("it warns %q, want %q", text, c.want)
			}
		})
	}
}
