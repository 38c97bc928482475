package world

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Get reads one of the resources that the apps are made of.
func (w *World) Get(ctx context.Context, gvr schema.GroupVersionResource, name string) (*unstructured.Unstructured, error) {
	return w.Dynamic.Resource(gvr).Namespace(w.Namespace).Get(ctx, name, metav1.GetOptions{})
}

// Converged waits until both apps say that they deliver a commit.
func (w *World) Converged(head string) {
	w.T.Helper()
	w.Eventually("delivered", func(ctx context.Context) error { return w.delivers(ctx, head) })
}

func (w *World) delivers(ctx context.Context, head string) error {
	ks, err := w.Get(ctx, Kustomizations, Flux)
	if err != nil {
		return err
	}
	app, err := w.Get(ctx, Applications, Argo)
	if err != nil {
		return err
	}
	applied, _, _ := unstructured.NestedString(ks.Object, "status", "lastAppliedRevision")
	ready := Condition(ks, "Ready")
	revision, _, _ := unstructured.NestedString(app.Object, "status", "sync", "revision")
	synced, _, _ := unstructured.NestedString(app.Object, "status", "sync", "status")
	if !strings.HasSuffix(applied, head) || ready.Status != metav1.ConditionTrue || revision != head || synced != "Synced" {
		return fmt.Errorf("want %s; the Kustomization has %q and is Ready=%s (%s), the Application %q and is %s\nengine log:\n%s",
			head, applied, ready.Status, ready.Message, revision, synced, w.Tail())
	}
	return nil
}

// Compare looks whether the cluster holds what Files says, no more, no less,
// and whether anything was deleted that never should have been. It returns how
// many objects there are.
func (w *World) Compare() int {
	w.T.Helper()
	list, err := w.Core.CoreV1().ConfigMaps(w.Namespace).List(w.T.Context(), metav1.ListOptions{})
	if err != nil {
		w.T.Fatal(err)
	}
	live := map[string]corev1.ConfigMap{}
	for _, cm := range list.Items {
		live[cm.Name] = cm
	}
	for _, files := range w.Files {
		for name, value := range files {
			if got := live[name].Data["value"]; got != value {
				w.T.Errorf("%s is %q, Git says %q", name, got, value)
			}
		}
	}
	for name, cm := range live {
		if cm.DeletionTimestamp != nil {
			continue // it is on its way, and nothing can keep it
		}
		app, _, _ := strings.Cut(name, "-")
		if files, ours := w.Files[app]; ours {
			if _, there := files[name]; !there {
				w.T.Errorf("%s is in the cluster and not in Git; what happened to it:\n%s", name, w.Story(name))
			}
		}
	}
	for name, uid := range w.uids {
		if live[name].UID != uid {
			w.T.Errorf("%s was deleted, or deleted and made anew (uid %q, then %q)", name, uid, live[name].UID)
		}
	}
	return len(live)
}
