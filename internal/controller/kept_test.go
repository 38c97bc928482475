package controller

import (
	"reflect"
	"runtime"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// What is kept of a resource is all of it but its managedFields, also when
// nobody has held on to it.
func TestKept(t *testing.T) {
	manifest := `{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization,
metadata: {namespace: team, name: app, uid: u1, resourceVersion: "17", generation: 3, managedFields: [{manager: kubectl}]},
spec: {suspend: true, prune: false, interval: 1m, patches: [{patch: "a: \"<&>\""}], wait: true},
status: {observedGeneration: 3, ratio: 1.5, conditions: [{type: Ready, status: "False", message: "é\n"}, {type: Healthy, status: Unknown}]}}`
	want := decode(t, manifest)[0]
	unstructured.RemoveNestedField(want.Object, "metadata", "managedFields")
	k, err := keptOf(decode(t, manifest)[0])
	if err != nil {
		t.Fatal(err)
	}
	for k.whole.Value() != nil {
		runtime.GC()
	}
	if got := k.open(); !reflect.DeepEqual(got, want) {
		t.Errorf("opened\n%v\nwant\n%v", got, want)
	}
	if !k.suspended() || !reflect.DeepEqual(k.conditions(), map[string]string{"Ready": "False", "Healthy": "Unknown"}) {
		t.Errorf("brief is %q", k.brief.Value())
	}

	newer := decode(t, manifest)[0]
	newer.SetResourceVersion("105")
	n, err := keptOf(newer)
	if err != nil {
		t.Fatal(err)
	}
	other := decode(t, manifest)[0]
	other.SetUID("u2")
	o, err := keptOf(other)
	if err != nil {
		t.Fatal(err)
	}
	if !n.newerThan(k) || k.newerThan(n) || k.newerThan(k) || n.newerThan(o) || (*kept)(nil).newerThan(k) {
		t.Error("17 < 105 of one resource, and no two resources are compared")
	}
	if (*kept)(nil).open() != nil {
		t.Error("nothing was kept, yet something is there")
	}
}
