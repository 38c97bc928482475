package server

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/controller"
	"plumb.dev/plumb/internal/dialect/argo"
	"plumb.dev/plumb/internal/engine"
)

// fluxMetrics are the series by which dashboards and alerts made for Flux know
// its controllers. A resource has series only while this replica works on it:
// nothing is told of one that was deleted.
type fluxMetrics struct {
	duration, condition, suspend, total *prometheus.Desc
	resources                           func() []controller.FluxResource
	ends                                []float64 // of the buckets, in seconds

	mu    sync.Mutex
	runs  map[fluxResource]*runs
	ended map[outcome]uint64
}

type fluxResource struct{ kind, namespace, name string }

// outcome counts runs of a kind.
type outcome struct {
	kind   string
	failed bool
}

// runs are what a histogram holds, small: there is one for each resource.
type runs struct {
	count   uint64
	seconds float64
	buckets [fluxBuckets]uint32 // not cumulative
}

const fluxBuckets = 10

func newFluxMetrics(resources func() []controller.FluxResource) *fluxMetrics {
	labels := []string{"kind", "name", "namespace"}
	return &fluxMetrics{
		ends:      prometheus.ExponentialBucketsRange(0.01, 1800, fluxBuckets), // as Flux has them
		resources: resources, runs: map[fluxResource]*runs{}, ended: map[outcome]uint64{},
		duration: prometheus.NewDesc("gotk_reconcile_duration_seconds",
			"How long runs of a Flux resource took.", labels, nil),
		condition: prometheus.NewDesc("gotk_reconcile_condition",
			"1 for the status that a condition of a Flux resource has, 0 for the others.", append([]string{"type", "status"}, labels...), nil),
		suspend: prometheus.NewDesc("gotk_suspend_status",
			"1 if a Flux resource is suspended.", labels, nil),
		total: prometheus.NewDesc("controller_runtime_reconcile_total",
			"Runs of Flux resources of a kind.", []string{"controller", "result"}, nil),
	}
}

// watch keeps a resource's series from now on, and unwatch drops them.
func (m *fluxMetrics) watch(kind, namespace, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := fluxResource{kind, namespace, name}
	if m.runs[key] == nil {
		m.runs[key] = &runs{}
	}
}

func (m *fluxMetrics) unwatch(kind, namespace, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.runs, fluxResource{kind, namespace, name})
}

// worked counts a run of a resource that is watched.
func (m *fluxMetrics) worked(w engine.Work) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.runs[fluxResource{w.Kind, w.Namespace, w.Name}]
	if r == nil {
		return
	}
	m.ended[outcome{w.Kind, w.Failed}]++
	r.count++
	r.seconds += w.Took.Seconds()
	for i, end := range m.ends {
		if w.Took <= time.Duration(end*float64(time.Second)) {
			r.buckets[i]++
			return
		}
	}
}

// Describe implements prometheus.Collector.
func (m *fluxMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.duration, m.condition, m.suspend, m.total} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *fluxMetrics) Collect(out chan<- prometheus.Metric) {
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	for _, r := range m.resources() {
		conditions := r.Conditions
		if conditions["Ready"] == "" {
			conditions["Ready"] = "Unknown" // nobody has looked yet
		}
		for kind, is := range conditions {
			for _, status := range []string{"True", "False", "Unknown"} {
				out <- prometheus.MustNewConstMetric(m.condition, prometheus.GaugeValue, truth(is == status), kind, status, r.Kind, r.Name, r.Namespace)
			}
		}
		out <- prometheus.MustNewConstMetric(m.suspend, prometheus.GaugeValue, truth(r.Suspended), r.Kind, r.Name, r.Namespace)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, r := range m.runs {
		if r.count == 0 {
			continue
		}
		buckets, sum := make(map[float64]uint64, len(m.ends)), uint64(0)
		for i, end := range m.ends {
			sum += uint64(r.buckets[i])
			buckets[end] = sum
		}
		out <- prometheus.MustNewConstHistogram(m.duration, r.count, r.seconds, buckets, key.kind, key.name, key.namespace)
	}
	for o, n := range m.ended {
		result := map[bool]string{false: "success", true: "error"}[o.failed]
		out <- prometheus.MustNewConstMetric(m.total, prometheus.CounterValue, float64(n), strings.ToLower(o.kind), result)
	}
}

// metered is an engine whose resources have series.
type metered struct {
	controller.Engine
	metrics *fluxMetrics
}

func (e metered) SetApp(spec app.Spec) {
	if spec.ID.Kind != argo.KindApplication { // it has metrics of its own
		e.metrics.watch(spec.ID.Kind, spec.ID.Namespace, spec.ID.Name)
	}
	e.Engine.SetApp(spec)
}

func (e metered) RemoveApp(id app.ID) {
	e.Engine.RemoveApp(id)
	e.metrics.unwatch(id.Kind, id.Namespace, id.Name)
}

func (e metered) SetElsewhere(spec app.Spec) {
	e.Engine.SetElsewhere(spec)
	e.metrics.unwatch(spec.ID.Kind, spec.ID.Namespace, spec.ID.Name)
}

func (e metered) Release(ids ...app.ID) {
	e.Engine.Release(ids...)
	for _, id := range ids {
		e.metrics.unwatch(id.Kind, id.Namespace, id.Name)
	}
}

func (e metered) SetSource(src app.Source) {
	switch {
	case src.ID.Kind == "": // part of an app
	case src.Followed: // another replica tells of it
		e.metrics.unwatch(src.ID.Kind, src.ID.Namespace, src.ID.Name)
	default:
		e.metrics.watch(src.ID.Kind, src.ID.Namespace, src.ID.Name)
	}
	e.Engine.SetSource(src)
}

func (e metered) RemoveSource(id app.SourceID) {
	e.Engine.RemoveSource(id)
	e.metrics.unwatch(id.Kind, id.Namespace, id.Name)
}
