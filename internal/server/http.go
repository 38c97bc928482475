package server

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"plumb.dev/plumb/internal/cluster"
	"plumb.dev/plumb/internal/engine"
	"plumb.dev/plumb/internal/source/webhook"
)

// handler serves health, metrics and webhooks.
func handler(eng *engine.Engine, cl *cluster.Cluster, opts Options) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
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
	mux.Handle("POST /hooks/push", webhook.Handler(func() webhook.Secrets { return opts.Secrets }, func(p webhook.Push) { eng.Pushed(p.URLs...) }))
	return mux
}
