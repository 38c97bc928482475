package controlplane

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"k8s.io/apimachinery/pkg/runtime"
)

// waitForReadyz returns when the API server has finished all that it does
// after it started to listen. There is nothing to watch before that, so this
// asks again and again.
func waitForReadyz(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		if _, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-again.C:
		}
	}
}

// waitForWorkloads returns when a pod can be created and run: the system's
// namespaces exist, the controllers have made the default service account
// without which no pod is admitted, and the node is ready.
func waitForWorkloads(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	core := client.CoreV1().RESTClient()
	exists := func(runtime.Object) bool { return true }
	for _, namespace := range []string{metav1.NamespaceSystem, metav1.NamespaceDefault} {
		if err := waitFor(ctx, core, "namespaces", "", namespace, &corev1.Namespace{}, exists); err != nil {
			return err
		}
		if err := waitFor(ctx, core, "serviceaccounts", namespace, "default", &corev1.ServiceAccount{}, exists); err != nil {
			return err
		}
	}
	return waitFor(ctx, core, "nodes", "", nodeName, &corev1.Node{}, func(object runtime.Object) bool {
		node := object.(*corev1.Node)
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				return condition.Status == corev1.ConditionTrue && len(node.Spec.Taints) == 0
			}
		}
		return false
	})
}

// waitFor watches one object until the condition holds for it.
func waitFor(ctx context.Context, client cache.Getter, resource, namespace, name string, kind runtime.Object, condition func(runtime.Object) bool) error {
	objects := cache.NewListWatchFromClient(client, resource, namespace, fields.OneTermEqualSelector("metadata.name", name))
	_, err := watchtools.UntilWithSync(ctx, objects, kind, nil, func(event watch.Event) (bool, error) {
		return event.Type != watch.Deleted && condition(event.Object), nil
	})
	if err != nil {
		return fmt.Errorf("waiting for %s %s: %w", resource, name, err)
	}
	return nil
}
