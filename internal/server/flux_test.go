package server

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/controller"
	"plumb.dev/plumb/internal/engine"
)

// deaf is an engine that does nothing.
type deaf struct{ controller.Engine }

func (deaf) SetApp(app.Spec)           {}
func (deaf) RemoveApp(app.ID)          {}
func (deaf) SetSource(app.Source)      {}
func (deaf) RemoveSource(app.SourceID) {}
func (deaf) SetElsewhere(app.Spec)     {}
func (deaf) Release(...app.ID)         {}

// series are the metrics in text, without comments and buckets.
func series(t *testing.T, m *fluxMetrics) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m)
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	var out []string
	for line := range strings.Lines(answer.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func TestFluxMetrics(t *testing.T) {
	shop := app.ID{Kind: "Kustomization", Namespace: "team", Name: "shop"}
	fleet := app.SourceID{Kind: "GitRepository", Namespace: "team", Name: "fleet"}
	resources := []controller.FluxResource{
		{Kind: "Kustomization", Namespace: "team", Name: "shop", Suspended: true, Conditions: map[string]string{"Ready": "False"}},
		{Kind: "GitRepository", Namespace: "team", Name: "fleet", Conditions: map[string]string{}},
	}
	m := newFluxMetrics(func() []controller.FluxResource { return resources })
	e := metered{deaf{}, m}
	e.SetApp(app.Spec{ID: shop})
	e.SetApp(app.Spec{ID: app.ID{Kind: "Application", Namespace: "argocd", Name: "shop"}})
	e.SetSource(app.Source{ID: fleet})
	e.SetSource(app.Source{ID: app.SourceID{Kind: "GitRepository", Name: "other"}, Followed: true})
	e.SetSource(app.Source{ID: app.SourceID{Name: "inline"}})
	for _, w := range []engine.Work{
		{Kind: "Kustomization", Namespace: "team", Name: "shop", Took: 5 * time.Millisecond},
		{Kind: "Kustomization", Namespace: "team", Name: "shop", Took: time.Second, Failed: true},
		{Kind: "Kustomization", Namespace: "team", Name: "shop", Took: 24 * time.Hour},
		{Kind: "GitRepository", Namespace: "team", Name: "fleet", Took: time.Second},
		// These are watched by nobody.
		{Kind: "Application", Namespace: "argocd", Name: "shop", Took: time.Second},
		{Kind: "GitRepository", Name: "other", Took: time.Second},
		{Name: "inline", Took: time.Second},
	} {
		m.worked(w)
	}
	got := series(t, m)
	for _, want := range []string{
		`gotk_reconcile_duration_seconds_bucket{kind="Kustomization",name="shop",namespace="team",le="0.01"} 1`,
		`gotk_reconcile_duration_seconds_bucket{kind="Kustomization",name="shop",namespace="team",le="469.19495946736544"} 2`,
		`gotk_reconcile_duration_seconds_count{kind="Kustomization",name="shop",namespace="team"} 3`,
		`gotk_reconcile_duration_seconds_sum{kind="GitRepository",name="fleet",namespace="team"} 1`,
		`gotk_reconcile_condition{kind="Kustomization",name="shop",namespace="team",status="False",type="Ready"} 1`,
		`gotk_reconcile_condition{kind="Kustomization",name="shop",namespace="team",status="True",type="Ready"} 0`,
		`gotk_reconcile_condition{kind="GitRepository",name="fleet",namespace="team",status="Unknown",type="Ready"} 1`,
		`gotk_suspend_status{kind="Kustomization",name="shop",namespace="team"} 1`,
		`controller_runtime_reconcile_total{controller="kustomization",result="success"} 2`,
		`controller_runtime_reconcile_total{controller="kustomization",result="error"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	for _, foreign := range []string{"argocd", "other", "inline"} {
		if strings.Contains(got, foreign) {
			t.Errorf("%s in\n%s", foreign, got)
		}
	}

	e.RemoveApp(shop)
	e.SetSource(app.Source{ID: fleet, Followed: true}) // another replica has it now
	m.worked(engine.Work{Kind: "Kustomization", Namespace: "team", Name: "shop", Took: time.Second})
	resources = nil
	if got := series(t, m); strings.Contains(got, "shop") || strings.Contains(got, "fleet") || !strings.Contains(got, "controller_runtime_reconcile_total") {
		t.Errorf("after the end of the resources:\n%s", got)
	}
}
