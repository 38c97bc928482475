package plan_test

import (
	"os"
	"testing"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

// TestStandIn looks at what the golden of the same name delivers, and at what
// is said about it.
func TestStandIn(t *testing.T) {
	data, err := os.ReadFile("testdata/stand-in.txtar")
	if err != nil {
		t.Fatal(err)
	}
	s := read(t, txtar.Parse(data))
	replicas := map[string]any{}
	for _, o := range s.Objects {
		if o.Ref().Kind == "Deployment" {
			n, _, _ := unstructured.NestedFieldNoCopy(o.Unstructured().Object, "spec", "replicas")
			replicas[o.Ref().Name] = n
		}
	}
	for name, want := range map[string]any{
		"kustomize-controller": int64(0), "source-controller": int64(0),
		"notification-controller": int64(1), "source-controller-of-mine": int64(3),
	} {
		if replicas[name] != want {
			t.Errorf("%s has %v replicas, want %v", name, replicas[name], want)
		}
	}

	objects, err := object.Decode("flux.yaml", desired(t, data))
	if err != nil {
		t.Fatal(err)
	}
	_, warnings, failure := plan.Prepare(objects, s.Spec, map[schema.GroupKind]plan.Kind{{Group: "apps", Kind: "Deployment"}: {Served: true, Namespaced: true}})
	if failure != nil {
		t.Fatal(failure)
	}
	want := []string{
		"Deployment/demo/kustomize-controller (flux.yaml:13) and 1 more: delivered with 0 replicas, because Plumb does the work of it; remove it from Git",
		"gitrepositories.source (flux.yaml:1): not delivered, because Plumb brings its own definition; remove it from Git",
	}
	if len(warnings) != len(want) {
		t.Fatalf("warnings: %+v", warnings)
	}
	for i := range want {
		if warnings[i].Message != want[i] {
			t.Errorf("got  %s\nwant %s", warnings[i].Message, want[i])
		}
	}

	// Elsewhere everything is delivered as Git has it.
	s.Spec.StandIn = nil
	out, warnings, failure := plan.Prepare(objects, s.Spec, map[schema.GroupKind]plan.Kind{{Group: "apps", Kind: "Deployment"}: {Served: true, Namespaced: true}})
	if failure != nil || len(warnings) > 0 || len(out) != len(objects) {
		t.Errorf("without a stand-in: %d of %d objects, %v, %v", len(out), len(objects), warnings, failure)
	}
}

func desired(t *testing.T, archive []byte) []byte {
	t.Helper()
	for _, f := range txtar.Parse(archive).Files {
		if f.Name == "desired" {
			return f.Data
		}
	}
	t.Fatal("nothing is desired")
	return nil
}
