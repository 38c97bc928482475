package cluster

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// recorder notes the requests that a connection makes, watches aside.
type recorder struct {
	http.RoundTripper
	mu   sync.Mutex
	seen []string
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	if req.URL.Query().Get("watch") == "" {
		r.seen = append(r.seen, req.Method+" "+req.URL.Path)
	}
	r.mu.Unlock()
	return r.RoundTripper.RoundTrip(req)
}

func (r *recorder) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := strings.Join(r.seen, "\n")
	r.seen = nil
	return out
}

// TestRequests: what is remembered is not asked for, and a write is one
// request.
func TestRequests(t *testing.T) {
	p := newPlace(t)
	rec := &recorder{}
	config := sandboxtest.RESTConfig(t, sandboxtest.Cluster(t))
	config.WrapTransport = func(rt http.RoundTripper) http.RoundTripper {
		rec.RoundTripper = rt
		return rec
	}
	c, err := Connect(config, Options{Managers: managers})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p.Cluster = c
	manifests := []string{configMap("a", "a: x"), configMap("b", "a: x"), deployment("c", "img:1")}
	q := p.query(0, manifests...)
	p.observe(q)
	rec.take()

	path := "/api/v1/namespaces/" + p.namespace + "/configmaps/a"
	opts := plan.WriteOptions{Manager: manager, AdoptFrom: []string{"kubectl*", "before-first-apply"}, Strip: []string{"x"}}
	for _, step := range []struct {
		name, want string
		do         func()
	}{
		{"objects that do not exist", "", func() { p.observe(q) }},
		{"a creation that would take over", "PATCH " + path, func() { p.apply(manifests[0], opts) }},
		{"the same again", "PATCH " + path, func() { p.apply(manifests[0], opts) }},
		{"an object that exists", "", func() { p.observe(q) }},
		{"an object in sync, with prediction", "", func() {
			o := q.Desired[0]
			q := plan.Query{Manager: manager, Desired: []object.Object{o}, PredictFrom: 1}
			live, _ := c.Live(o.Ref(), manager)
			q.Recorded = []app.Record{{Ref: o.Ref(), Version: "v1", Desired: o.Digest(), Owned: live.Owned}}
			p.observe(q)
		}},
		{"an explained write", "GET " + path + "\nPATCH " + path, func() { p.apply(manifests[0], plan.WriteOptions{Explain: true}) }},
		{"a deletion", "DELETE " + path, func() {
			if _, err := c.Self().Delete(t.Context(), p.ref("ConfigMap", "a"), "v1", "", ""); err != nil {
				t.Error(err)
			}
			if err := c.WaitGone(t.Context(), []object.Ref{p.ref("ConfigMap", "a")}); err != nil {
				t.Error(err)
			}
		}},
	} {
		step.do()
		if got := rec.take(); got != step.want {
			t.Errorf("%s: requests\n%s\nwant\n%s", step.name, got, step.want)
		}
	}
}

// TestFirstDelivery: what is asked before objects are made that do not exist
// yet, once their kinds are watched: nothing but what predicts them.
func TestFirstDelivery(t *testing.T) {
	p, proxy, _ := through(t)
	namespace := strings.ReplaceAll("{apiVersion: v1, kind: Namespace, metadata: {name: NS-new}}", "NS", p.namespace)
	inNew := func(m string) string { return strings.ReplaceAll(m, "namespace: NS", "namespace: NS-new") }
	p.observe(p.query(0, configMap("x"), deployment("z", "img:1"), namespace))
	proxy.Requests()

	for _, row := range []struct {
		name      string
		predict   int
		manifests []string
		want      string
	}{
		{"without predictions", 0, []string{configMap("a"), configMap("b"), deployment("c", "img:1")}, ""},
		{"with predictions", 2, []string{configMap("a"), deployment("c", "img:1")}, "PATCH PATCH"},
		{"into a namespace that comes with them", 2, []string{namespace, inNew(configMap("a")), inNew(deployment("c", "img:1"))}, "PATCH"},
	} {
		q := p.query(row.predict, row.manifests...)
		for range 2 {
			p.observe(q)
			var got []string
			for _, r := range proxy.Requests() {
				if !strings.Contains(r.Query, "watch=true") {
					got = append(got, r.Method)
				}
			}
			if strings.Join(got, " ") != row.want {
				t.Errorf("%s: requests %v, want %q", row.name, got, row.want)
			}
		}
	}

	// Many definitions at a time: discovery is asked about their group now and
	// then, not for each kind and each state of its definition.
	const many = 15
	var kinds []schema.GroupVersionKind
	for i := range many {
		kind := fmt.Sprintf("Many%c", 'a'+i)
		kinds = append(kinds, schema.GroupVersionKind{Group: "many.test", Version: "v1", Kind: kind})
		p.apply(strings.NewReplacer("widget", strings.ToLower(kind), "Widget", kind, "plumb.test", "many.test").Replace(widgets))
	}
	defer func() {
		for _, k := range kinds {
			p.kubectl("", "delete", "crd", "--wait=false", strings.ToLower(k.Kind)+"s.many.test")
		}
	}()
	proxy.Requests()
	if err := p.AwaitKinds(t.Context(), kinds); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, r := range proxy.Requests() {
		if strings.HasPrefix(r.Path, "/apis/many.test") {
			asked++
		}
	}
	t.Logf("%d requests of discovery for %d new kinds", asked, many)
	if asked > 4*many {
		t.Errorf("%d requests of discovery for %d new kinds", asked, many)
	}
}

// BenchmarkHeal is the way from someone's change to its end: the event, a
// read, a write. The change itself is counted as well.
func BenchmarkHeal(b *testing.B) {
	p := newPlace(b)
	ref := p.ref("Deployment", "web")
	healed := make(chan error)
	var c *Cluster
	manifest := p.object(deployment("web", "img:1"))
	c, err := Connect(sandboxtest.RESTConfig(b, sandboxtest.Cluster(b)), Options{Managers: managers, OnEvent: func(ev Event) {
		if ev.Ref == ref && ev.Owned(manager) != ev.OwnedBefore(manager) {
			go func() {
				_, err := c.Self().Apply(b.Context(), manifest, plan.WriteOptions{Manager: manager, Explain: true})
				healed <- err
			}()
		}
	}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	p.Cluster = c
	p.follow(ref)
	p.apply(deployment("web", "img:1"))
	client := sandboxtest.Client(b, sandboxtest.Cluster(b))
	for b.Loop() {
		_, err := client.AppsV1().Deployments(p.namespace).Patch(b.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{}, "scale")
		if err != nil {
			b.Fatal(err)
		}
		if err := <-healed; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInFlight is how long a thousand new objects take by as many writers
// at once, for several limits of the requests in flight.
func BenchmarkInFlight(b *testing.B) {
	const objects = 1000
	for _, limit := range []int{8, 16, 24, 64} {
		b.Run(fmt.Sprint(limit), func(b *testing.B) {
			p := newPlace(b)
			c, err := Connect(sandboxtest.RESTConfig(b, sandboxtest.Cluster(b)), Options{Managers: managers, MaxInFlight: limit})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			p.Cluster = c
			p.follow(p.ref("ConfigMap", "a"))
			round := 0
			for b.Loop() {
				round++
				var writers sync.WaitGroup
				for i := range objects {
					writers.Go(func() { p.apply(configMap(fmt.Sprintf("object-%d-%d", round, i), `a: "1"`)) })
				}
				writers.Wait()
			}
		})
	}
}
