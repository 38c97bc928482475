package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/bench/internal/meter"
)

var helmReleases = schema.GroupVersionResource{Group: "helm.toolkit.fluxcd.io", Version: "v2", Resource: "helmreleases"}

// releases is what Helm releases cost, beside the apps that are there already.
type releases struct {
	Count     int     `json:"releases"`
	Wall      float64 `json:"wallSeconds"` // from the first one's creation until the last is ready
	HalfReady float64 `json:"halfReadySeconds"`
	ToQuiet   cost    `json:"toQuiet"`
	// Upgrade is from a change of values until the object has them, one release
	// at a time.
	UpgradeMS     float64 `json:"upgradeMedianMilliseconds"`
	UpgradeMostMS float64 `json:"upgradeMostMilliseconds"`
	UpgradeEach   cost    `json:"upgradeEach"`
}

// chartFiles are a chart of the objects that an app has; its value is that of
// the ConfigMap.
func chartFiles(objects int) map[string]string {
	files := map[string]string{
		"charts/app/Chart.yaml":  "apiVersion: v2\nname: app\nversion: 1.0.0\n",
		"charts/app/values.yaml": "value: \"0\"\n",
	}
	for name, text := range objectFiles(objects) {
		files["charts/app/templates/"+name] = text
	}
	files["charts/app/templates/"+changedFile] = changed("{{ .Values.value }}")
	return files
}

func releasePlace(i int) string { return fmt.Sprintf("fleet-release-%04d", i) }

func release(i int, value string) *unstructured.Unstructured {
	return manifest(`{apiVersion: helm.toolkit.fluxcd.io/v2, kind: HelmRelease, metadata: {name: %s, namespace: fleet},
spec: {interval: 10m, releaseName: app, targetNamespace: %s, storageNamespace: %s, values: {value: "%s"},
chart: {spec: {chart: ./charts/app, sourceRef: {kind: GitRepository, name: %s}}}}}`, releasePlace(i), releasePlace(i), releasePlace(i), value, repoName(0))
}

// release creates Helm releases of a chart in the first repository, and then
// changes the values of some.
func (f *fleet) release(ctx context.Context) (*releases, error) {
	n := f.opts.releases
	err := f.forEach(n, func(i int) error {
		return f.create(ctx, namespaces, manifest(`{apiVersion: v1, kind: Namespace, metadata: {name: %s}}`, releasePlace(i)))
	})
	if err != nil {
		return nil, err
	}
	all, err := watch(ctx, f.client, helmReleases, f.dialect.namespace, "")
	if err != nil {
		return nil, err
	}
	if _, err := f.server.Quiet(ctx, calm, f.opts.timeout, f.pids...); err != nil {
		return nil, err
	}
	expected := make([]<-chan time.Time, n)
	for i := range n {
		expected[i] = all.expect(f.dialect.namespace, releasePlace(i), func(u *unstructured.Unstructured) bool { return condition(u, "Ready") == "True" })
	}
	t, err := f.take(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.forEach(n, func(i int) error { return f.create(ctx, helmReleases, release(i, "0")) }); err != nil {
		return nil, err
	}
	ready := make([]time.Time, n)
	for i := range n {
		if ready[i], err = f.receive(ctx, "release "+releasePlace(i)+" ready", expected[i]); err != nil {
			return nil, err
		}
	}
	r := &releases{Count: n, Wall: slices.MaxFunc(ready, time.Time.Compare).Sub(t.began).Seconds(), HalfReady: half(ready).Sub(t.began).Seconds()}
	if r.ToQuiet, err = t.quiet(ctx); err != nil {
		return nil, err
	}
	return r, f.upgrade(ctx, r)
}

func (f *fleet) upgrade(ctx context.Context, r *releases) error {
	var live meter.Times
	t, err := f.take(ctx)
	if err != nil {
		return err
	}
	for range f.opts.tries {
		namespace := releasePlace(f.random.IntN(r.Count))
		f.value++
		want := fmt.Sprint(f.value)
		expected := f.objects.expect(namespace, changedName, func(u *unstructured.Unstructured) bool { return text(u, "data", "value") == want })
		began := time.Now()
		_, err := f.client.Resource(helmReleases).Namespace(f.dialect.namespace).Patch(ctx, namespace, types.MergePatchType,
			fmt.Appendf(nil, `{"spec":{"values":{"value":%q}}}`, want), metav1.PatchOptions{FieldManager: "somebody"})
		if err != nil {
			return err
		}
		at, err := f.receive(ctx, "upgrade of "+namespace, expected)
		if err != nil {
			return err
		}
		live = append(live, at.Sub(began))
		if _, err := f.server.Quiet(ctx, calm, f.opts.timeout, f.pids...); err != nil {
			return err
		}
	}
	done, err := t.quiet(ctx)
	r.UpgradeMS, r.UpgradeMostMS, r.UpgradeEach = milliseconds(live.Quantile(0.5)), milliseconds(live.Quantile(1)), done.each(f.opts.tries)
	return err
}
