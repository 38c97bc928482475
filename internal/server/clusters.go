package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"plumb.dev/plumb/internal/engine"
)

// clusterMetrics tells how the clusters stand that apps go to. It is looked up
// when it is asked for: clusters come and go.
type clusterMetrics struct {
	eng                              *engine.Engine
	up, contact, stale, apps, queued *prometheus.Desc
}

func newClusterMetrics(eng *engine.Engine) *clusterMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("plumb_cluster_"+name, help, []string{"cluster"}, nil)
	}
	return &clusterMetrics{
		eng:     eng,
		up:      desc("up", "1 if the cluster's API server answers and its credentials can be used, as far as is known."),
		contact: desc("last_contact_timestamp_seconds", "When the cluster's API server last answered a request; 0 if it never did."),
		stale:   desc("stale_seconds", "For how long what is known of the cluster may be out of date; 0 if it is not."),
		apps:    desc("apps", "Apps that go to the cluster."),
		queued:  desc("apps_due", "Apps that wait for a worker."),
	}
}

// Describe implements prometheus.Collector.
func (m *clusterMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.up, m.contact, m.stale, m.apps, m.queued} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *clusterMetrics) Collect(out chan<- prometheus.Metric) {
	for _, c := range m.eng.Clusters() {
		name := c.ID
		if name == "" {
			name = "in-cluster"
		}
		gauge := func(d *prometheus.Desc, value float64) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, name)
		}
		up, contact, stale := 0.0, 0.0, 0.0
		if c.Up {
			up = 1
		}
		if !c.LastContact.IsZero() {
			contact = float64(c.LastContact.UnixMilli()) / 1000
		}
		if !c.Stale.IsZero() {
			stale = time.Since(c.Stale).Seconds()
		}
		gauge(m.up, up)
		gauge(m.contact, contact)
		gauge(m.stale, stale)
		gauge(m.apps, float64(c.Apps))
		gauge(m.queued, float64(c.Due))
	}
}
