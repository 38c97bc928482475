package server

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"plumb.dev/plumb/internal/cluster"
	"plumb.dev/plumb/internal/controller"
	"plumb.dev/plumb/internal/engine"
	"plumb.dev/plumb/internal/replica"
	"plumb.dev/plumb/internal/source/webhook"
)

// handler serves health, metrics, webhooks and what sources hold.
func handler(eng *engine.Engine, ctl *controller.Controller, cl *cluster.Cluster, member *replica.Member, flux *fluxMetrics, opts Options) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(counter("plumb_renders_total", "Renderings of apps, by where they came from.", "from", "render", func() uint64 {
		rendered, _ := eng.Renders()
		return rendered
	}), counter("plumb_renders_total", "Renderings of apps, by where they came from.", "from", "disk", func() uint64 {
		_, stored := eng.Renders()
		return stored
	}))
	registry.MustRegister(newClusterMetrics(eng), flux)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := ctl.Waiting(); why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		if !eng.Ready() {
			http.Error(w, "the custom resources have not been read yet", http.StatusServiceUnavailable)
			return
		}
		if at, err := cl.Contact(); err != nil {
			http.Error(w, fmt.Sprintf("the API server does not answer since %s", at.UTC().Format("15:04:05")), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("POST /hooks/push", webhook.Handler(func() webhook.Secrets { return opts.Secrets }, func(p webhook.Push) {
		eng.Pushed(p.URLs...)
		member.Pushed(p.URLs...)
	}))
	if !opts.NoArtifacts {
		mux.Handle("GET /{kind}/{namespace}/{name}/{file}", artifacts(eng, ctl, opts.Log))
	}
	return mux
}

// counter is one series of a metric that someone else counts.
func counter(name, help, label, value string, count func() uint64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{label: value}},
		func() float64 { return float64(count()) })
}
