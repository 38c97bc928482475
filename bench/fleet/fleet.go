package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/bench/internal/meter"
)

// calm is how long nothing must happen for it to be quiet, and pause how long
// the events of a commit are waited for: statuses that only name it come later.
const (
	calm  = 2 * time.Second
	pause = 900 * time.Millisecond
)

var (
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
)

// fleet is the apps, and what is needed to change and follow them.
type fleet struct {
	*target
	opts    options
	dialect dialect

	repos   []meter.Clone
	commits []string // the newest of each repository
	apps    *watching
	objects *watching // the ConfigMaps that commits and drift change
	random  *rand.Rand
	value   int // of the last commit
	planeOf meter.Requests
}

// measure runs the scenarios in order. What was measured before an error is
// told with it.
func (f *fleet) measure(ctx context.Context) (result, error) {
	rendering := "kustomize"
	if f.opts.plain {
		rendering = "plain"
	}
	r := result{Apps: f.opts.apps, Objects: f.opts.objects, Repositories: f.opts.repos, Beside: f.opts.beside, Dialect: f.opts.dialect,
		Rendering: rendering, CPUs: runtime.NumCPU(), LoadBefore: meter.Load()}
	f.random = rand.New(rand.NewPCG(1, 2)) // the same apps each time
	f.progress("prepare")
	if err := f.prepare(ctx); err != nil {
		return r, fmt.Errorf("preparing: %w", err)
	}
	r.ControlPlane = f.planeOf
	f.progress("converge")
	converged, err := f.converge(ctx)
	if err != nil {
		return r, fmt.Errorf("converge: %w", err)
	}
	for _, s := range f.opts.scenarios {
		if s != "converge" {
			f.progress(s)
		}
		switch s {
		case "converge":
			r.Converge = converged
		case "commit":
			r.Commit, err = f.commit(ctx)
		case "drift":
			r.Drift, err = f.drift(ctx)
		case "idle":
			r.Idle, err = f.idleness(ctx)
		case "restart":
			if f.up == nil && f.restartCmd == "" {
				continue
			}
			r.Restart, err = f.again(ctx)
		case "floor":
			r.Floor, err = f.floor(ctx)
		case "releases":
			if f.opts.releases > 0 {
				r.Releases, err = f.release(ctx)
			}
		}
		if err != nil {
			return r, fmt.Errorf("%s: %w", s, err)
		}
	}
	return r, nil
}

func (f *fleet) progress(scenario string) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), scenario)
}

// prepare makes the repositories and namespaces, and finds out what the
// control plane does by itself.
func (f *fleet) prepare(ctx context.Context) error {
	f.repos, f.commits = make([]meter.Clone, f.opts.repos), make([]string, f.opts.repos)
	for r := range f.repos {
		name := repoName(r)
		clone, err := meter.Init(filepath.Join(f.dir, "clones", name), f.repoURL(name))
		if err != nil {
			return err
		}
		for i := r; i < f.opts.apps; i += f.opts.repos {
			if err := clone.Write(f.opts.appFiles(i)); err != nil {
				return err
			}
		}
		if r == 0 && f.opts.releases > 0 {
			if err := clone.Write(chartFiles(f.opts.objects)); err != nil {
				return err
			}
		}
		if f.commits[r], err = clone.Commit(); err != nil {
			return err
		}
		if err := f.push(ctx, clone); err != nil {
			return err
		}
		f.repos[r] = clone
	}
	if err := f.create(ctx, namespaces, manifest(`{apiVersion: v1, kind: Namespace, metadata: {name: %s}}`, f.dialect.namespace)); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	if err := f.gaugePlane(ctx); err != nil {
		return fmt.Errorf("what the control plane does by itself: %w", err)
	}
	err := f.forEach(f.opts.apps, func(i int) error {
		ns := namespaceOf(i)
		return f.create(ctx, namespaces, manifest(`{apiVersion: v1, kind: Namespace, metadata: {name: %s}}`, ns))
	})
	if err != nil {
		return fmt.Errorf("%w (is there something left of an earlier run?)", err)
	}
	if f.apps, err = watch(ctx, f.client, f.dialect.apps, f.dialect.namespace, ""); err != nil {
		return err
	}
	if f.objects, err = watch(ctx, f.client, configMaps, "", "bench=fleet"); err != nil {
		return err
	}
	_, err = f.server.Quiet(ctx, calm, f.opts.timeout, f.pids...)
	return err
}

// gaugePlane applies the objects of a few apps and counts what others ask
// because of that.
func (f *fleet) gaugePlane(ctx context.Context) error {
	const samples = 3
	name := func(i int) string { return fmt.Sprintf("fleet-gauge-%d", i) }
	for i := range samples {
		if err := f.create(ctx, namespaces, manifest(`{apiVersion: v1, kind: Namespace, metadata: {name: %s}}`, name(i))); err != nil {
			return err
		}
	}
	if _, err := f.server.Quiet(ctx, calm, f.opts.timeout, f.pids...); err != nil {
		return err
	}
	before, err := f.server.Read(ctx)
	if err != nil {
		return err
	}
	objects, err := bareObjects(f.opts.objects)
	if err != nil {
		return err
	}
	for i := range samples {
		if err := f.applyTo(ctx, name(i), objects); err != nil {
			return err
		}
	}
	if _, err := f.server.Quiet(ctx, calm, f.opts.timeout, f.pids...); err != nil {
		return err
	}
	after, err := f.server.Read(ctx)
	if err != nil {
		return err
	}
	f.planeOf = after.Since(before).Times(1 / float64(samples))
	return nil // they stay: deleting a namespace goes on for long, and would be counted
}

// bareObjects are the objects of an app, ready to be sent.
type bareObject struct {
	path    string // with %s for the namespace
	payload []byte
}

func bareObjects(objects int) ([]bareObject, error) {
	var out []bareObject
	for _, text := range objectFiles(objects) {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			return nil, err
		}
		payload, err := u.MarshalJSON()
		if err != nil {
			return nil, err
		}
		gvr := resourceOf(u)
		root := "/apis/" + gvr.Group
		if gvr.Group == "" {
			root = "/api"
		}
		out = append(out, bareObject{root + "/" + gvr.Version + "/namespaces/%s/" + gvr.Resource + "/" + u.GetName(), payload})
	}
	return out, nil
}

// applyTo applies objects to a namespace, with as little effort as possible.
func (f *fleet) applyTo(ctx context.Context, namespace string, objects []bareObject) error {
	for _, o := range objects {
		url := f.host + fmt.Sprintf(o.path, namespace) + "?fieldManager=bench&force=true"
		request, err := http.NewRequestWithContext(ctx, http.MethodPatch, url, bytes.NewReader(o.payload))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/apply-patch+yaml")
		request.Header.Set("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
		response, err := f.api.Do(request)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode >= 300 {
			return fmt.Errorf("applying %s: %s, %w", url, response.Status, err)
		}
	}
	return nil
}

func resourceOf(u *unstructured.Unstructured) schema.GroupVersionResource {
	plural := map[string]string{"ConfigMap": "configmaps", "ServiceAccount": "serviceaccounts", "Service": "services", "Role": "roles", "Deployment": "deployments"}
	return u.GroupVersionKind().GroupVersion().WithResource(plural[u.GetKind()])
}

func repoName(r int) string { return fmt.Sprintf("fleet-%d", r) }
func appName(i int) string  { return fmt.Sprintf("fleet-%04d", i) }

func (f *fleet) create(ctx context.Context, gvr schema.GroupVersionResource, u *unstructured.Unstructured) error {
	_, err := f.client.Resource(gvr).Namespace(u.GetNamespace()).Create(ctx, u, metav1.CreateOptions{})
	return err
}

// forEach does something n times, sixteen at a time.
func (f *fleet) forEach(n int, do func(i int) error) error {
	var eg errgroup.Group
	eg.SetLimit(16)
	for i := range n {
		eg.Go(func() error { return do(i) })
	}
	return eg.Wait()
}

// taking is a cost that is being measured.
type taking struct {
	f                  *fleet
	began              time.Time
	controller, server meter.Usage
	requests           meter.Requests
	git                int64
	peak               *meter.Peak
}

func (f *fleet) take(ctx context.Context) (t taking, err error) {
	t = taking{f: f}
	if t.requests, err = f.server.Read(ctx); err != nil {
		return t, err
	}
	if err := meter.ResetPeak(f.pids...); err != nil && len(f.pids) > 0 {
		return t, fmt.Errorf("the peak of memory cannot be reset: %w", err)
	}
	if t.controller, err = meter.Read(f.pids...); err != nil {
		return t, err
	}
	if t.server, err = meter.Read(f.serverPIDs...); err != nil {
		return t, err
	}
	t.git, _ = f.gitRequests()
	t.peak = meter.WatchPeak(f.pids...)
	t.began = time.Now()
	return t, nil
}

// cpu is what the controller and the API server have used by now, in seconds.
func (t taking) cpu() (controller, server float64, err error) {
	c, err := meter.Read(t.f.pids...)
	if err != nil {
		return 0, 0, err
	}
	s, err := meter.Read(t.f.serverPIDs...)
	return (c.CPU - t.controller.CPU).Seconds(), (s.CPU - t.server.CPU).Seconds(), err
}

// quiet waits until all is quiet again, and gives the cost up to then.
func (t taking) quiet(ctx context.Context) (cost, error) {
	since, err := t.f.server.Quiet(ctx, calm, t.f.opts.timeout, t.f.pids...)
	if err != nil {
		t.peak.Stop()
		return cost{}, err
	}
	return t.done(ctx, since)
}

// told waits until events have been written too, which come after statuses, or
// for a pause, and gives the cost up to then.
func (t taking) told(ctx context.Context) (cost, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(pause); time.Now().Before(end); {
		now, err := t.f.server.Read(ctx)
		if err != nil {
			return cost{}, err
		}
		if counts := now.Since(t.requests); counts["POST events"]+counts["PATCH events"] >= 2 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return cost{}, context.Cause(ctx)
		}
	}
	return t.done(ctx, time.Now())
}

func (t taking) done(ctx context.Context, at time.Time) (cost, error) {
	defer t.peak.Stop()
	c := cost{Seconds: at.Sub(t.began).Seconds()}
	now, err := t.f.server.Read(ctx)
	if err != nil {
		return c, err
	}
	if c.CPU, c.ServerCPU, err = t.cpu(); err != nil {
		return c, err
	}
	u, err := meter.Read(t.f.pids...)
	if err != nil {
		return c, err
	}
	c.PeakRSS, c.RSS = max(t.peak.Most(), u.Peak), u.RSS
	c.Requests = now.Since(t.requests)
	c.ByVerb, c.Total, c.Writes = c.Requests.ByVerb(), c.Requests.Total(), c.Requests.Writes()
	if n, ok := t.f.gitRequests(); ok {
		n -= t.git
		c.GitRequests = &n
	}
	return c, nil
}

// plus adds up tries.
func (c cost) plus(d cost) cost {
	c.Seconds, c.CPU, c.ServerCPU, c.Total, c.Writes = c.Seconds+d.Seconds, c.CPU+d.CPU, c.ServerCPU+d.ServerCPU, c.Total+d.Total, c.Writes+d.Writes
	c.PeakRSS, c.RSS = max(c.PeakRSS, d.PeakRSS), d.RSS
	c.Requests, c.ByVerb = d.Requests.Plus(c.Requests), d.ByVerb.Plus(c.ByVerb)
	if d.GitRequests != nil {
		n := *d.GitRequests
		if c.GitRequests != nil {
			n += *c.GitRequests
		}
		c.GitRequests = &n
	}
	return c
}

// receive waits for a time that was expected.
func (f *fleet) receive(ctx context.Context, what string, from <-chan time.Time) (time.Time, error) {
	timer := time.NewTimer(f.opts.timeout)
	defer timer.Stop()
	select {
	case at := <-from:
		return at, nil
	case <-timer.C:
		return time.Time{}, fmt.Errorf("%s: not in %s", what, f.opts.timeout)
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
}

// half is the middle one.
func half(times []time.Time) time.Time {
	slices.SortFunc(times, time.Time.Compare)
	return times[len(times)/2]
}
