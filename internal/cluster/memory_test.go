package cluster

import (
	"fmt"
	"runtime"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// delivered is the metadata of a Deployment of an app, as a watch brings it.
func delivered(i int) *metav1.PartialObjectMetadata {
	fields := `{"f:metadata":{"f:labels":{"f:app":{},"f:kustomize.toolkit.fluxcd.io/name":{},"f:kustomize.toolkit.fluxcd.io/namespace":{}}},"f:spec":{"f:replicas":{},"f:selector":{}}}`
	ns := fmt.Sprintf("team-%03d", i%1000)
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: ns, Name: fmt.Sprintf("deployment-%06d", i), UID: types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)), ResourceVersion: fmt.Sprint(i + 1),
		Labels:      map[string]string{"app": "x", "kustomize.toolkit.fluxcd.io/name": "app-" + ns, "kustomize.toolkit.fluxcd.io/namespace": "flux-system"},
		Annotations: map[string]string{"argocd.argoproj.io/tracking-id": fmt.Sprintf("app-%s:apps/Deployment:%s/deployment-%06d", ns, ns, i)},
		ManagedFields: []metav1.ManagedFieldsEntry{
			{Manager: manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: "apps/v1", FieldsV1: metav1.NewFieldsV1(fields)},
			{Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate, Subresource: "status", FieldsV1: metav1.NewFieldsV1(fields)},
		}}}
}

// BenchmarkRemember reports what is remembered of an object of an app, and of
// one that is none of ours, in bytes.
func BenchmarkRemember(b *testing.B) {
	const objects = 100_000
	for _, foreign := range []bool{false, true} {
		b.Run(map[bool]string{false: "ours", true: "foreign"}[foreign], func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s := newStore(schema.GroupKind{Group: "apps", Kind: "Deployment"}, keeper{managers: managers})
				s.wake = func(object.Ref) {}
				before := heap()
				b.StartTimer()
				for i := range objects {
					m := delivered(i)
					if foreign {
						m.ManagedFields = m.ManagedFields[1:]
					}
					s.Update(m)
				}
				b.StopTimer()
				b.ReportMetric(float64(heap()-before)/objects, "B/object")
				runtime.KeepAlive(s)
				b.StartTimer()
			}
		})
	}
}

// BenchmarkRecords reports what the record of a delivered object costs whoever
// keeps it, as the engine does: in a list, and in two maps by reference.
func BenchmarkRecords(b *testing.B) {
	const objects = 100_000
	for b.Loop() {
		before := heap()
		var list []app.Record
		records, owners := map[object.Ref]app.Record{}, map[object.Ref]app.ID{}
		for i := range objects {
			m := delivered(i)
			r := app.Record{Ref: object.Ref{Group: "apps", Kind: "Deployment", Namespace: m.Namespace, Name: m.Name},
				Version: "v1", Desired: fmt.Sprintf("%016x", i), Owned: fmt.Sprintf("%016x", 7*i)}
			list = append(list, r)
			records[r.Ref] = r
			owners[r.Ref] = app.ID{Kind: "Kustomization", Namespace: "flux-system", Name: "app"}
		}
		b.ReportMetric(float64(heap()-before)/objects, "B/object")
		runtime.KeepAlive(list)
		runtime.KeepAlive(records)
		runtime.KeepAlive(owners)
	}
}

// BenchmarkWatched reports what a connection keeps of each object that it
// watches in a real cluster, decoder and reflector included, and what passes
// through memory while it lists them.
func BenchmarkWatched(b *testing.B) {
	const objects = 4000
	p := newPlace(b)
	for i := range objects {
		p.apply(configMap(fmt.Sprintf("object-%05d", i), `a: "1"`, `b: "2"`))
	}
	ref := p.ref("ConfigMap", "object-00000")
	for b.Loop() {
		var before, after runtime.MemStats
		heap()
		runtime.ReadMemStats(&before)
		c, err := Connect(sandboxtest.RESTConfig(b, sandboxtest.Cluster(b)), Options{Managers: managers})
		if err != nil {
			b.Fatal(err)
		}
		if err := c.remember(b.Context(), []object.Ref{ref}); err != nil {
			b.Fatal(err)
		}
		heap()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/objects, "B/object")
		b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/objects, "B-allocated/object")
		c.Close()
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
