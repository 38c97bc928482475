package cluster

import (
	"context"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

var widgetKinds = []schema.GroupVersionKind{{Group: "plumb.test", Version: "v1", Kind: "Widget"}}

// widgets defines a kind with an open schema and a status.
const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.plumb.test}
spec:
  group: plumb.test
  scope: Namespaced
  names: {kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        x-kubernetes-preserve-unknown-fields: true
`

func TestKindComesAndGoes(t *testing.T) {
	p := newPlace(t)
	definition := strings.NewReplacer("widget", "gadget", "Widget", "Gadget", "plumb.test", "gadgets.test").Replace(widgets)
	kinds := []schema.GroupVersionKind{{Group: "gadgets.test", Version: "v1", Kind: "Gadget"}}
	gadget := `{apiVersion: gadgets.test/v1, kind: Gadget, metadata: {name: one, namespace: NS}, spec: {size: 1}}`
	ref := object.Ref{Group: "gadgets.test", Kind: "Gadget", Namespace: p.namespace, Name: "one"}
	crd := object.Ref{Group: crdKind.Group, Kind: crdKind.Kind, Name: "gadgets.gadgets.test"}

	served := func() bool {
		kinds, err := p.Kinds(t.Context(), kinds)
		if err != nil {
			t.Fatal(err)
		}
		return kinds[ref.GroupKind()].Served
	}
	if served() {
		t.Fatal("served before it is defined")
	}
	_, err := p.Self().Apply(t.Context(), p.object(gadget), plan.WriteOptions{Manager: manager})
	if f := app.AsFailure(err, ""); f == nil || f.Reason != app.ReasonKindUnknown || !strings.Contains(f.Error(), "deploy.yaml:1") {
		t.Fatalf("applied without a definition: %v", err)
	}

	for round := range 2 {
		p.apply(definition)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if round == 0 {
			if err := p.AwaitKinds(ctx, kinds); err != nil {
				t.Fatal(err)
			}
			p.follow(ref)
		}
		written := p.apply(gadget) // in the second round, while the kind is only coming
		p.follow(ref)
		if live := p.current(ref); live.Owned != written.Owned {
			t.Fatalf("digest %s, want %s", live.Owned, written.Owned)
		}
		p.kubectl("", "patch", "gadget", "one", "--type=merge", "-p", `{"spec":{"size":2}}`)
		if live := p.current(ref); live.Owned == written.Owned {
			t.Fatal("drift was not seen")
		}

		facts, err := p.Self().Observe(t.Context(), plan.Query{Manager: manager, Recorded: []app.Record{{Ref: crd, Version: "v1"}}})
		if err != nil {
			t.Fatal(err)
		}
		if !facts.Live[crd].InUse {
			t.Error("a definition with an object is not in use")
		}

		p.kubectl("", "delete", "crd", "gadgets.gadgets.test")
		p.eventually("the kind is not served", func() bool { return !served() })
		err = p.Await(ctx, []object.Ref{ref}, func() bool {
			live, known := p.Live(ref, manager)
			return !known || !live.Exists
		})
		if err != nil {
			t.Fatal("the object of a kind that is gone is still remembered:", err)
		}
		facts, err = p.Self().Observe(t.Context(), plan.Query{Manager: manager, Recorded: []app.Record{{Ref: ref, Version: "v1"}}})
		if err != nil || len(facts.Live) > 0 || facts.Kinds[ref.GroupKind()].Served {
			t.Fatalf("observed of a kind that is gone: %+v, %v", facts, err)
		}
		// To delete what is gone with its kind is done already.
		if _, err := p.Self().Delete(t.Context(), ref, "v1", written.UID, ""); err != nil {
			t.Fatal(err)
		}
	}
	deleted := 0
	for _, ev := range p.events.of(ref) {
		if ev.Deleted {
			deleted++
		}
	}
	if deleted < 2 {
		t.Errorf("%d deletions told, want 2", deleted)
	}
}
