package adopt

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/replica"
)

// plumbName is the value of app.kubernetes.io/name on what Plumb installs.
const plumbName = "plumb"

// Installed is a Plumb that is installed in the cluster.
type Installed struct {
	Namespace string
	Name      string // of its Deployment
	Replicas  int32
	Before    *int32 // replicas before it was stopped, nil if it was not
	Args      []string
}

// Meant reports whether it is meant to run, or was before it was stopped.
func (i Installed) Meant() bool { return i.Replicas > 0 || i.Before != nil && *i.Before > 0 }

// Installed finds the Plumbs that are installed.
func (c *Cluster) Installed(ctx context.Context) ([]Installed, error) {
	list, err := c.core.AppsV1().Deployments("").List(ctx, metav1.ListOptions{LabelSelector: app.LabelName + "=" + plumbName})
	if err != nil {
		return nil, err
	}
	var out []Installed
	for i := range list.Items {
		d := &list.Items[i]
		out = append(out, Installed{Namespace: d.Namespace, Name: d.Name, Replicas: replicasOf(d), Before: replicasBefore(d), Args: argsOf(d)})
	}
	return out, nil
}

// argsOf is the command line of a Deployment's first container: Plumb's and
// Flux's have one.
func argsOf(d *appsv1.Deployment) []string {
	for _, c := range d.Spec.Template.Spec.Containers {
		return slices.Concat(c.Command, c.Args)
	}
	return nil
}

// Alive lists the replicas of Plumb that hold a Lease, as namespace/name. One
// that was killed is among them until its Lease has expired.
func (c *Cluster) Alive(ctx context.Context) ([]string, error) {
	leases, err := c.leases(ctx)
	var out []string
	for _, l := range leases {
		out = append(out, l.Namespace+"/"+l.Name)
	}
	return out, err
}

func (c *Cluster) leases(ctx context.Context) ([]coordinationv1.Lease, error) {
	list, err := c.core.CoordinationV1().Leases("").List(ctx, metav1.ListOptions{LabelSelector: replica.Label})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// OutsideError says that a Plumb goes on which is no Deployment of the cluster.
type OutsideError struct{ Lease string }

func (e *OutsideError) Error() string {
	return fmt.Sprintf("a Plumb goes on that does not run in this cluster: it renews the Lease %s", e.Lease)
}

// Halt stops Plumb: its Deployments, which nobody starts again before Resume,
// and returns when no replica is alive. One that runs elsewhere cannot be
// stopped from here, and is an OutsideError. It tells of each before and after.
func (c *Cluster) Halt(ctx context.Context, all []Installed, told func(i Installed, ended bool)) error {
	for _, p := range all {
		told(p, false)
		if err := c.halt(ctx, p.Namespace, p.Name); err != nil {
			return fmt.Errorf("stopping Plumb: %w", err)
		}
		told(p, true)
	}
	return c.noneAlive(ctx)
}

// noneAlive returns when all Leases are given back or have expired. Expired is
// a Lease that did not change for as long as it is granted for, by the clock
// here: what other machines' clocks say means nothing.
func (c *Cluster) noneAlive(ctx context.Context) error {
	type sighting struct {
		version string
		since   time.Time
	}
	seen := map[string]sighting{}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		leases, err := c.leases(ctx)
		if err != nil {
			return err
		}
		alive := ""
		for _, l := range leases {
			name := l.Namespace + "/" + l.Name
			before, known := seen[name]
			switch {
			case !known:
				seen[name] = sighting{l.ResourceVersion, time.Now()}
			case before.version != l.ResourceVersion:
				return &OutsideError{Lease: name}
			}
			if l.Spec.LeaseDurationSeconds != nil && time.Since(seen[name].since) < time.Duration(*l.Spec.LeaseDurationSeconds)*time.Second {
				alive = name
			}
		}
		if alive == "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the Lease %s to expire: %w", alive, context.Cause(ctx))
		}
	}
}

// Resume starts Plumb again where Halt has stopped it. It tells of each before
// it is started, and when it is ready.
func (c *Cluster) Resume(ctx context.Context, all []Installed, told func(i Installed, ready bool)) error {
	for _, p := range all {
		if p.Before == nil {
			continue
		}
		told(p, false)
		if err := c.resume(ctx, p.Namespace, p.Name, 0); err != nil {
			return fmt.Errorf("starting Plumb: %w", err)
		}
		told(p, true)
	}
	return nil
}

// Start starts Flux's controllers again as they ran before TakeOver, sources
// first, and tells of each before it is started, and when it is ready.
func (c *Cluster) Start(ctx context.Context, controllers []Controller, told func(ctl Controller, ready bool)) error {
	for _, ctl := range slices.Backward(controllers) {
		replicas, ok := ctl.Back()
		if !ok {
			continue
		}
		told(ctl, false)
		if err := c.resume(ctx, ctl.Namespace, ctl.Name, replicas); err != nil {
			return fmt.Errorf("starting %s: %w", ctl.Component, err)
		}
		told(ctl, true)
	}
	return nil
}
