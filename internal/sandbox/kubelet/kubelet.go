// Package kubelet simulates a node: it reports the pods that are bound to it
// as running, or as their annotations ask, and runs nothing. It is an
// ordinary client of the API server and knows nothing of how that is started.
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// workers is how many pods are reported at a time.
const workers = 8

// Options of Run. All are required.
type Options struct {
	// Config reaches the API server with the rights of a node.
	Config *rest.Config
	// Node is the name of the node; pods bound to it are simulated.
	Node string
	// Version of Kubernetes that the node reports, v1.2.3.
	Version string
	// Now is the clock of the timestamps.
	Now func() time.Time
}

// Run registers the node and simulates its pods until ctx ends. Everything it
// knows is in the API server: it can be stopped and started at any time.
func Run(ctx context.Context, opts Options) error {
	config := rest.CopyConfig(opts.Config)
	// Its field manager is called like that of a real kubelet.
	config.UserAgent = "kubelet/" + opts.Version
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := registerNode(ctx, client, opts); err != nil {
		return fmt.Errorf("register node %s: %w", opts.Node, err)
	}

	factory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithTweakListOptions(func(list *metav1.ListOptions) {
			list.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", opts.Node).String()
		}))
	pods := factory.Core().V1().Pods()
	s := &simulation{
		client: client,
		lister: pods.Lister(),
		now:    opts.Now,
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[cache.ObjectName](5*time.Millisecond, 5*time.Second)),
	}
	if _, err := pods.Informer().AddEventHandler(s.handler()); err != nil {
		return err
	}
	factory.StartWithContext(ctx)

	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for s.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	s.queue.ShutDown()
	running.Wait()
	return nil
}

// simulation brings pods to the state they should report.
type simulation struct {
	client kubernetes.Interface
	lister corelisters.PodLister
	now    func() time.Time
	queue  workqueue.TypedRateLimitingInterface[cache.ObjectName]
}

func (s *simulation) handler() cache.ResourceEventHandler {
	add := func(object any) {
		pod := object.(*corev1.Pod)
		s.queue.Add(cache.ObjectName{Namespace: pod.Namespace, Name: pod.Name})
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    add,
		UpdateFunc: func(_, object any) { add(object) },
	}
}

// next takes one pod from the queue; false when there will be no more.
func (s *simulation) next(ctx context.Context) bool {
	name, shutdown := s.queue.Get()
	if shutdown {
		return false
	}
	defer s.queue.Done(name)
	if err := s.sync(ctx, name); err != nil {
		s.queue.AddRateLimited(name)
	} else {
		s.queue.Forget(name)
	}
	return true
}

func (s *simulation) sync(ctx context.Context, name cache.ObjectName) error {
	pod, err := s.lister.Pods(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	client := s.client.CoreV1().Pods(pod.Namespace)
	status := simulate(pod, metav1.NewTime(s.now()))
	if !equality.Semantic.DeepEqual(status, &pod.Status) {
		pod = pod.DeepCopy()
		pod.Status = *status
		if pod, err = client.UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
			return ignoreGone(err)
		}
	}
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds != nil && *pod.DeletionGracePeriodSeconds == 0 {
		return nil // with no grace left it is finalizers that keep it
	}
	// The containers have ended: nothing keeps the pod any longer.
	return ignoreGone(client.Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64),
		Preconditions:      metav1.NewUIDPreconditions(string(pod.UID)),
	}))
}

// ignoreGone drops what the next event about the pod will answer, or what
// needs no answer: it is gone, or another one by now.
func ignoreGone(err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) && (status.Status().Code == http.StatusNotFound || status.Status().Code == http.StatusConflict) {
		return nil
	}
	return err
}
