package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/bench/internal/meter"
)

// converge creates all apps and waits until each says that it is delivered.
func (f *fleet) converge(ctx context.Context) (*converge, error) {
	n := f.opts.apps
	expected := make([]<-chan time.Time, n)
	for i := range n {
		commit := f.commits[i%f.opts.repos]
		expected[i] = f.apps.expect(f.dialect.namespace, appName(i), func(u *unstructured.Unstructured) bool { return f.dialect.ready(u, commit) })
	}
	t, err := f.take(ctx)
	if err != nil {
		return nil, err
	}
	if f.dialect.source != nil {
		for r := range f.repos {
			if err := f.create(ctx, f.dialect.sources, f.dialect.source(repoName(r), f.repoURL(repoName(r)))); err != nil {
				return nil, err
			}
		}
	}
	err = f.forEach(n, func(i int) error {
		namespace, path := namespaceOf(i), f.opts.pathOf(i)
		source := repoName(i % f.opts.repos)
		return f.create(ctx, f.dialect.apps, f.dialect.app(appName(i), source, f.repoURL(source), path, namespace))
	})
	if err != nil {
		return nil, err
	}
	c := &converge{Created: time.Since(t.began).Seconds()}
	ready := make([]time.Time, n)
	for i := range n {
		if ready[i], err = f.receive(ctx, "app "+appName(i)+" ready", expected[i]); err != nil {
			return nil, err
		}
	}
	if c.CPUToReady, c.ServerToLive, err = t.cpu(); err != nil {
		return nil, err
	}
	c.Wall = slices.MaxFunc(ready, time.Time.Compare).Sub(t.began).Seconds()
	c.HalfReady = half(ready).Sub(t.began).Seconds()
	if c.ToQuiet, err = t.quiet(ctx); err != nil {
		return nil, err
	}
	c.PerApp = c.ToQuiet.Total / float64(n)
	c.Net = c.PerApp - f.planeOf.Total()
	return c, nil
}

// change commits another value for the ConfigMap of a random app and waits
// until it is live. pushed is how long git push took of that, and done gives
// when the app says that it delivered the commit.
func (f *fleet) change(ctx context.Context, begin func() error) (live, pushed time.Duration, done <-chan time.Time, err error) {
	i := f.random.IntN(f.opts.apps)
	namespace, path := namespaceOf(i), f.opts.pathOf(i)
	r := i % f.opts.repos
	f.value++
	want := fmt.Sprint(f.value)
	if err := f.repos[r].Write(map[string]string{path + "/" + changedFile: changed(want)}); err != nil {
		return 0, 0, nil, err
	}
	if f.commits[r], err = f.repos[r].Commit(); err != nil {
		return 0, 0, nil, err
	}
	commit := f.commits[r]
	done = f.apps.expect(f.dialect.namespace, appName(i), func(u *unstructured.Unstructured) bool { return f.dialect.ready(u, commit) })
	expected := f.objects.expect(namespace, changedName, func(u *unstructured.Unstructured) bool { return text(u, "data", "value") == want })
	if err := begin(); err != nil {
		return 0, 0, nil, err
	}
	began := time.Now()
	if err := f.push(ctx, f.repos[r]); err != nil {
		return 0, 0, nil, err
	}
	pushed = time.Since(began)
	at, err := f.receive(ctx, "commit to "+path+" live", expected)
	return at.Sub(began), pushed, done, err
}

func (f *fleet) commit(ctx context.Context) (*commit, error) {
	var live, pushes, rest, quiet meter.Times
	var sum, books cost
	c := &commit{Tries: f.opts.tries}
	for range f.opts.tries {
		var t taking
		took, pushed, done, err := f.change(ctx, func() (err error) { t, err = f.take(ctx); return err })
		if err != nil {
			return nil, err
		}
		cpu, _, err := t.cpu()
		if err != nil {
			return nil, err
		}
		if _, err := f.receive(ctx, "status of what a commit changed", done); err != nil {
			return nil, err
		}
		each, err := t.told(ctx)
		if err != nil {
			return nil, err
		}
		if t, err = f.take(ctx); err != nil {
			return nil, err
		}
		after, err := t.quiet(ctx)
		if err != nil {
			return nil, err
		}
		c.CPUToLive += cpu / float64(f.opts.tries)
		live, pushes, rest = append(live, took), append(pushes, pushed), append(rest, took-pushed)
		quiet = append(quiet, time.Duration((each.Seconds+after.Seconds)*float64(time.Second)))
		sum, books = sum.plus(each), books.plus(after)
	}
	c.MedianMS, c.MostMS, c.PushMS = milliseconds(live.Quantile(0.5)), milliseconds(live.Quantile(1)), milliseconds(pushes.Quantile(0.5))
	c.RestMS = milliseconds(rest.Quantile(0.5))
	c.MedianQuiet, c.Each, c.Bookkeeping = quiet.Quantile(0.5).Seconds(), sum.each(f.opts.tries), books.each(f.opts.tries)
	return c, nil
}

// drift changes objects of random apps behind the controller's back, one after
// the other.
func (f *fleet) drift(ctx context.Context) (*drift, error) {
	tries := 10 * f.opts.tries
	var restored meter.Times
	t, err := f.take(ctx)
	if err != nil {
		return nil, err
	}
	for range tries {
		namespace := namespaceOf(f.random.IntN(f.opts.apps))
		began := time.Now()
		spoilt, err := f.client.Resource(configMaps).Namespace(namespace).Patch(ctx, changedName, types.MergePatchType,
			[]byte(`{"data":{"colour":"red"}}`), metav1.PatchOptions{FieldManager: "somebody"})
		if err != nil {
			return nil, err
		}
		expected := f.objects.expect(namespace, changedName, func(u *unstructured.Unstructured) bool {
			return version(u) > version(spoilt) && text(u, "data", "colour") == "blue"
		})
		at, err := f.receive(ctx, "drift in "+namespace+" undone", expected)
		if err != nil {
			return nil, err
		}
		restored = append(restored, at.Sub(began))
	}
	all, err := t.quiet(ctx)
	if err != nil {
		return nil, err
	}
	return &drift{Tries: tries, MedianMS: milliseconds(restored.Quantile(0.5)), P99MS: milliseconds(restored.Quantile(0.99)),
		MostMS: milliseconds(restored.Quantile(1)), ToQuiet: all.each(tries)}, nil
}

// floor applies the objects of as many apps again, by bare clients in the
// controller's place: what is left then is Kubernetes' own.
func (f *fleet) floor(ctx context.Context) (*floor, error) {
	n := f.opts.apps
	err := f.forEach(n, func(i int) error {
		return f.create(ctx, namespaces, manifest(`{apiVersion: v1, kind: Namespace, metadata: {name: %s}}`, bare(i)))
	})
	if err != nil {
		return nil, err
	}
	if _, err := f.server.Quiet(ctx, calm, f.opts.timeout, f.pids...); err != nil {
		return nil, err
	}
	objects, err := bareObjects(f.opts.objects)
	if err != nil {
		return nil, err
	}
	t, err := f.take(ctx)
	if err != nil {
		return nil, err
	}
	self, err := meter.Own()
	if err != nil {
		return nil, err
	}
	if err := f.forEach(n, func(i int) error { return f.applyTo(ctx, bare(i), objects) }); err != nil {
		return nil, err
	}
	out := &floor{Wall: time.Since(t.began).Seconds()}
	if _, out.ServerCPU, err = t.cpu(); err != nil {
		return nil, err
	}
	now, err := meter.Own()
	if err != nil {
		return nil, err
	}
	out.ClientCPU = (now.CPU - self.CPU).Seconds()
	rest, err := t.quiet(ctx)
	out.ServerCPUToQuiet, out.ToQuiet = rest.ServerCPU, rest.Seconds
	return out, err
}

func bare(i int) string { return fmt.Sprintf("fleet-bare-%04d", i) }

// idleness watches a controller that has nothing to do.
func (f *fleet) idleness(ctx context.Context) (*cost, error) {
	if _, err := f.server.Quiet(ctx, calm, f.opts.timeout, f.pids...); err != nil {
		return nil, err
	}
	t, err := f.take(ctx)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(f.opts.idle)
	defer timer.Stop()
	select {
	case at := <-timer.C:
		c, err := t.done(ctx, at)
		return &c, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// again kills the controller and waits until it is as before.
func (f *fleet) again(ctx context.Context) (*restart, error) {
	t, err := f.take(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.restart(ctx); err != nil {
		return nil, err
	}
	t.controller = meter.Usage{} // of the new process all counts
	t.peak.Stop()
	t.peak = meter.WatchPeak(f.pids...)
	r := &restart{Back: time.Since(t.began).Seconds()}
	if r.ToQuiet, err = t.quiet(ctx); err != nil {
		return nil, err
	}
	r.Steady = r.ToQuiet.Seconds
	live, _, _, err := f.change(ctx, func() error { return nil })
	r.NextCommitMS = milliseconds(live)
	return r, err
}
