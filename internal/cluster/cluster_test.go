package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

const manager = "kustomize-controller"

var managers = []string{manager, "argocd-controller"}

// place is a namespace of a cluster, and a connection to it.
type place struct {
	*Cluster
	testing.TB
	namespace  string
	kubeconfig string
	events     *events
}

// events collects what a connection tells.
type events struct {
	sync.Mutex
	all []Event
}

func (e *events) add(ev Event) {
	e.Lock()
	defer e.Unlock()
	e.all = append(e.all, ev)
}

func (e *events) of(ref object.Ref) (out []Event) {
	e.Lock()
	defer e.Unlock()
	for _, ev := range e.all {
		if ev.Ref == ref {
			out = append(out, ev)
		}
	}
	return out
}

func newPlace(t testing.TB) place {
	t.Helper()
	sb := sandboxtest.Cluster(t)
	return placeIn(t, sb, sandboxtest.Namespace(t, sb))
}

func placeIn(t testing.TB, sb *sandbox.Cluster, namespace string) place {
	t.Helper()
	ev := &events{}
	c, err := Connect(sandboxtest.RESTConfig(t, sb), Options{Managers: managers, OnEvent: ev.add,
		Strip: []string{"kubectl.kubernetes.io/last-applied-configuration"}, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return place{c, t, namespace, sb.Kubeconfig, ev}
}

// object reads one manifest; NS in it stands for the namespace.
func (p place) object(manifest string) object.Object {
	p.Helper()
	list, err := object.Decode("deploy.yaml", []byte(strings.ReplaceAll(manifest, "NS", p.namespace)))
	if err != nil || len(list) != 1 {
		p.Fatalf("%d objects, %v in %s", len(list), err, manifest)
	}
	o, _ := object.Normalize(list[0])
	return o
}

// apply writes a manifest by server-side apply.
func (p place) apply(manifest string, opts ...plan.WriteOptions) plan.Written {
	p.Helper()
	o := plan.WriteOptions{}
	if len(opts) > 0 {
		o = opts[0]
	}
	if o.Manager == "" {
		o.Manager = manager
	}
	w, err := p.Self().Apply(p.Context(), p.object(manifest), o)
	if err != nil {
		p.Fatal(err)
	}
	return w
}

// kubectl runs kubectl in the namespace.
func (p place) kubectl(stdin string, args ...string) string {
	p.Helper()
	cmd := exec.CommandContext(p.Context(), "kubectl", append([]string{"--kubeconfig", p.kubeconfig, "--namespace", p.namespace}, args...)...)
	cmd.Stdin = strings.NewReader("---\n" + strings.ReplaceAll(stdin, "NS", p.namespace)) // the line tells YAML from JSON
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		p.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

// current waits until what is remembered of ref is as late as what the API
// server has, and returns it.
func (p place) current(ref object.Ref) plan.Live {
	p.Helper()
	meta, found, err := p.Self().GetMeta(p.Context(), ref)
	if err != nil {
		p.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(p.Context(), 20*time.Second)
	defer cancel()
	var live plan.Live
	err = p.Await(ctx, []object.Ref{ref}, func() bool {
		live, _ = p.Live(ref, manager)
		return live.Exists == found && (!found || number(live.ResourceVersion) >= number(meta.ResourceVersion))
	})
	if err != nil {
		p.Fatalf("%s was not brought up to date: %v (%+v)", ref, err, live)
	}
	return live
}

// eventually asks again and again, for what no watch tells.
func (p place) eventually(what string, done func() bool) {
	p.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(30 * time.Second)
	defer end.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-end.C:
			p.Fatalf("timeout waiting until %s", what)
		}
	}
}

// follow makes sure that the kinds are watched before something happens.
func (p place) follow(refs ...object.Ref) {
	p.Helper()
	if err := p.remember(p.Context(), refs); err != nil {
		p.Fatal(err)
	}
}

func (p place) ref(kind, name string) object.Ref {
	group := map[string]string{"Deployment": "apps", "StatefulSet": "apps", "NetworkPolicy": "networking.k8s.io",
		"Role": "rbac.authorization.k8s.io", "HorizontalPodAutoscaler": "autoscaling"}[kind]
	return object.Ref{Group: group, Kind: kind, Namespace: p.namespace, Name: name}
}

func configMap(name string, data ...string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, namespace: NS}, data: {%s}}", name, strings.Join(data, ", "))
}

func deployment(name, image string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %s, namespace: NS, labels: {app: %[1]s}}
spec:
  replicas: 1
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      containers:
      - name: web
        image: %s
        env: [{name: A, value: "1"}, {name: B, value: "2"}]
        resources: {requests: {cpu: 1000m}}
`, name, image)
}

func TestConnectRefusesEmptyIdentity(t *testing.T) {
	p := newPlace(t)
	for _, who := range []string{"", "/", "ns/", "/name", "name", "ns/a/b", "ns/a:b", "ns:x/a"} {
		if w, err := p.As(who); err == nil || w != nil {
			t.Errorf("As(%q) = %v, %v, want an error", who, w, err)
		}
	}
}

func TestKinds(t *testing.T) {
	p := newPlace(t)
	kinds, err := p.Kinds(t.Context(), []schema.GroupVersionKind{
		{Version: "v1", Kind: "ConfigMap"}, {Version: "v1", Kind: "Namespace"}, {Group: "apps", Version: "v1", Kind: "Deployment"},
		{Group: "autoscaling", Version: "v1", Kind: "HorizontalPodAutoscaler"},
		{Group: "nowhere.example", Version: "v1", Kind: "Thing"}, {Group: "apps", Version: "v1", Kind: "Thing"},
		{Group: "authorization.k8s.io", Version: "v1", Kind: "SubjectAccessReview"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[schema.GroupKind]plan.Kind{
		{Kind: "ConfigMap"}:                                          {Served: true, Namespaced: true, Version: "v1", Owned: true},
		{Kind: "Namespace"}:                                          {Served: true, Version: "v1", Owned: true},
		{Group: "apps", Kind: "Deployment"}:                          {Served: true, Namespaced: true, Version: "v1", Owned: true},
		{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}:      {Served: true, Namespaced: true, Version: "v2", Owned: true},
		{Group: "nowhere.example", Kind: "Thing"}:                    {},
		{Group: "apps", Kind: "Thing"}:                               {},
		{Group: "authorization.k8s.io", Kind: "SubjectAccessReview"}: {Served: true, Version: "v1"},
	}
	for gk, w := range want {
		if kinds[gk] != w {
			t.Errorf("%s: got %+v, want %+v", gk, kinds[gk], w)
		}
	}
}
