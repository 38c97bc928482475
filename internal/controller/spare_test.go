package controller

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// Resources that are deleted with their definition take nothing along; those
// that someone deleted before still do.
func TestDefinitionIsDeleted(t *testing.T) {
	c, engine, namespace := newControllerOf(t, sandboxtest.Start(t, sandbox.Options{}))
	for _, k := range []struct {
		kind      string
		resource  schema.GroupVersionResource
		set       func(*unstructured.Unstructured)
		manifest  string
		finalizer string
	}{
		{"Kustomization", kustomizationResource, c.setKustomization, kustomization, "finalizers.fluxcd.io"},
		{"Application", applicationResource, c.setApplication, application, "resources-finalizer.argocd.argoproj.io"},
	} {
		resources := c.dynamic.Resource(k.resource).Namespace(namespace)
		for _, name := range []string{"before", "with"} {
			u := decode(t, k.manifest)[0]
			u.SetName(name)
			u.SetFinalizers([]string{k.finalizer})
			if _, err := resources.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		tell := func(name string) *app.Deletion {
			t.Helper()
			sandboxtest.Eventually(t, func(ctx context.Context) error {
				u, err := resources.Get(ctx, name, metav1.GetOptions{})
				if err == nil && u.GetDeletionTimestamp() == nil {
					err = fmt.Errorf("%s is not being deleted", name)
				}
				if err == nil {
					k.set(u)
				}
				return err
			})
			engine.mu.Lock()
			defer engine.mu.Unlock()
			return engine.apps[app.ID{Kind: k.kind, Namespace: namespace, Name: name}].Deletion
		}
		if err := resources.Delete(t.Context(), "before", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if d := tell("before"); d == nil || !d.Prune {
			t.Errorf("%s: deleted by itself: %+v", k.kind, d)
		}
		if err := c.dynamic.Resource(definitionResource).Delete(t.Context(), k.resource.GroupResource().String(), metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if d := tell("with"); d == nil || d.Prune {
			t.Errorf("%s: deleted with its definition: %+v", k.kind, d)
		}
		if d := tell("before"); d == nil || !d.Prune {
			t.Errorf("%s: deleted before its definition: %+v", k.kind, d)
		}
	}
}
