package controller

import (
	"context"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsinformers "k8s.io/client-go/informers/apps/v1"
	"k8s.io/client-go/tools/cache"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
)

// Two that write the same objects under one name would not even see each other.
// So nothing is written while one of the controllers runs whose work Plumb does:
// not at the start, and not when someone starts one later.

// undoneWithin is how long a controller may run that an app delivers: Plumb
// delivers it with no replicas, and undoes by itself what someone does to that.
const undoneWithin = 10 * time.Second

// predecessor is a Deployment of Flux that is to run, or has pods that still do.
type predecessor struct {
	ref       corev1.ObjectReference
	delivered bool // by an app
}

func (p predecessor) String() string { return p.ref.Namespace + "/" + p.ref.Name }

// Waiting tells what nothing is delivered for, "" if nothing is in the way.
func (c *Controller) Waiting() string {
	if text := c.waiting.Load(); text != nil {
		return *text
	}
	return ""
}

// awaitPredecessors returns when no predecessor runs. Whoever may not look is
// not kept waiting. It says what it waits for: in the log, at /readyz, and in an
// event of each predecessor.
func (c *Controller) awaitPredecessors(ctx context.Context) {
	defer c.waiting.Store(nil)
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for told := ""; ; {
		running, err := c.predecessors(ctx)
		text := ""
		switch {
		case ctx.Err() != nil:
			return
		case apierrors.IsForbidden(err):
			c.log.Warn("whether Flux runs must not be found out", "error", err)
			return
		case err != nil: // it may well run
			text = "whether Flux runs cannot be found out: " + err.Error()
		case len(running) == 0:
			return
		default:
			text = "waiting for Flux to be stopped, which delivers the same: " + names(running)
		}
		c.waiting.Store(&text)
		if text != told {
			told = text
			c.log.Error(text, "hint", "plumb adopt flux")
			for _, p := range running {
				c.recorder.Eventf(&p.ref, corev1.EventTypeWarning, "RunsBesidePlumb",
					"Plumb does the work of this controller, and delivers nothing while it runs. plumb adopt flux stops it; plumb release flux stops Plumb.")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// heedPredecessors keeps looking, from a watch of Flux's Deployments, and has
// nothing delivered from when one of them runs until none does. It returns when
// the watch has begun.
func (c *Controller) heedPredecessors(ctx context.Context) {
	changed := make(chan struct{}, 1)
	look := func() {
		select {
		case changed <- struct{}{}:
		default: // it is looked at anyhow
		}
	}
	informer := appsinformers.NewFilteredDeploymentInformer(c.core, metav1.NamespaceAll, 0, cache.Indexers{},
		func(o *metav1.ListOptions) { o.LabelSelector = predecessorSelector })
	_ = informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil {
			c.log.Warn("watch interrupted", "resource", "deployments", "error", err)
		}
	})
	// The only error is that the informer has ended.
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { look() },
		UpdateFunc: func(any, any) { look() },
	})
	go informer.RunWithContext(ctx)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			if !c.predecessorsStay(ctx) {
				continue
			}
			c.hold()
			c.awaitPredecessors(ctx)
			c.goOnAgain(ctx)
		}
	}()
}

// goOnAgain tries until it works: other resources, and what others wrote to
// them, must be read first.
func (c *Controller) goOnAgain(ctx context.Context) {
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for {
		err := c.goOn(ctx)
		if err == nil {
			c.log.Info("Flux was stopped: delivering again")
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		c.log.Error("delivering cannot go on, and is tried again", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// predecessorsStay reports whether a predecessor runs, and Plumb itself does
// not undo that.
func (c *Controller) predecessorsStay(ctx context.Context) bool {
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for began := time.Now(); ; {
		running, err := c.predecessors(ctx)
		if apierrors.IsForbidden(err) || err == nil && len(running) == 0 {
			return false
		}
		byOthers := slices.ContainsFunc(running, func(p predecessor) bool { return !p.delivered })
		if err == nil && (byOthers || time.Since(began) >= undoneWithin) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

const predecessorSelector = app.LabelPartOf + "=" + flux.PartOf

// predecessors lists those that run, by name.
func (c *Controller) predecessors(ctx context.Context) ([]predecessor, error) {
	ctx, cancel := c.request(ctx)
	defer cancel()
	deployments, err := c.core.AppsV1().Deployments("").List(ctx, metav1.ListOptions{LabelSelector: predecessorSelector})
	if err != nil {
		return nil, err
	}
	var out []predecessor
	for i := range deployments.Items {
		d := &deployments.Items[i]
		if !c.inPlaceOf.IsIdle(d.Name, d.Labels) {
			continue
		}
		runs := d.Spec.Replicas == nil || *d.Spec.Replicas > 0
		if !runs {
			if runs, err = c.hasPods(ctx, d); err != nil {
				return nil, err
			}
		}
		if runs {
			out = append(out, predecessor{corev1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment",
				Namespace: d.Namespace, Name: d.Name, UID: d.UID}, flux.IsDelivered(d.Labels)})
		}
	}
	slices.SortFunc(out, func(a, b predecessor) int { return strings.Compare(a.String(), b.String()) })
	return out, nil
}

func (c *Controller) hasPods(ctx context.Context, d *appsv1.Deployment) (bool, error) {
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return false, err
	}
	pods, err := c.core.CoreV1().Pods(d.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String(), Limit: 1})
	if err != nil {
		return false, err
	}
	return len(pods.Items) > 0, nil
}

func names(all []predecessor) string {
	var out []string
	for _, p := range all {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}
