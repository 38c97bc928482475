package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/sandbox/faultproxy"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// A server that says of every watch that its history has expired is asked now
// and then: client-go itself would ask again at once.
func TestWatchesThatExpireAtOnce(t *testing.T) {
	direct, _, namespace := newController(t)
	proxy, err := faultproxy.ForCluster(sandboxtest.RESTConfig(t, sandboxtest.Cluster(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	c, e := quiet(t, proxy.Config())

	proxy.Set(faultproxy.Fault{Match: faultproxy.Watches, Do: faultproxy.Answer(410, 0)})
	began := time.NewTimer(3 * time.Second)
	w := watch{resource: kustomizationResource, set: c.setKustomization, removed: c.removedKustomization}
	informer := c.informer(w)
	if _, err := informer.AddEventHandler(c.handler(w)); err != nil {
		t.Fatal(err)
	}
	go informer.RunWithContext(t.Context())
	c.kubeconfigs.use(app.ID{Name: "one"}, flux.KubeConfigRef{Namespace: namespace, Name: "prod"})
	<-began.C
	if n := len(proxy.Requests()); n > 60 {
		t.Errorf("%d requests in 3 s for two watches", n)
	}
	proxy.Clear()
	create(t, direct, kustomizationResource, namespace, kustomization)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "prod"}, Data: map[string][]byte{"value": []byte("none")}}
	if _, err := direct.core.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, func(context.Context) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		// The watch is of all namespaces, which other tests use, too.
		of := func(id app.ID) bool { return id.Namespace == namespace }
		if !slices.ContainsFunc(slices.Collect(maps.Keys(e.apps)), of) || len(e.clusters) != 1 {
			return fmt.Errorf("told of the apps %v and %d clusters", slices.Collect(maps.Keys(e.apps)), len(e.clusters))
		}
		return nil
	})
}
