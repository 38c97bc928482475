package cluster

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/faultproxy"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// settles waits until nothing but single watches has been asked of path for a
// while, and returns how many requests there were. A loop never settles.
func settles(t *testing.T, proxy *faultproxy.Proxy, path string) int {
	t.Helper()
	const silence = 7 * time.Second // longer than any pause of a loop
	end := time.NewTimer(2 * sandboxtest.Patience)
	defer end.Stop()
	count := 0
	for quiet := time.NewTimer(silence); ; quiet.Reset(silence) {
		select {
		case <-quiet.C:
		case <-end.C:
			t.Fatalf("requests of %s never end: %d so far", path, count)
		}
		n := 0
		for _, r := range proxy.Requests() {
			if strings.Contains(r.Path, path) {
				n++
			}
		}
		if count += n; n <= 1 {
			return count
		}
	}
}

// compact makes etcd forget every version but the present ones.
func compact(t *testing.T, dir string) {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + filepath.Join(dir, "etcd.sock")}, DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	now, err := client.Get(t.Context(), "any")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(t.Context(), now.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
}

// TestExpired: when a watch can go on at last, the API server has been started
// anew and etcd has forgotten what happened since. The list tells it.
func TestExpired(t *testing.T) {
	t.Parallel()
	dir := sandboxtest.Dir(t)
	sb := sandboxtest.Start(t, sandbox.Options{Dir: dir})
	proxy, err := faultproxy.ForCluster(sandboxtest.RESTConfig(t, sb))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	p := placeIn(t, sb, "default")
	c, err := Connect(proxy.Config(), Options{Managers: managers, OnEvent: p.events.add})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	p.Cluster = c
	for _, name := range []string{"kept", "changed", "removed", "renewed"} {
		p.apply(configMap(name, `a: "1"`))
	}
	p.follow(p.ref("ConfigMap", "kept"))
	p.current(p.ref("ConfigMap", "renewed"))
	kept, _ := p.Live(p.ref("ConfigMap", "kept"), manager)

	proxy.Down()
	p.kubectl("", "patch", "configmap", "changed", "--type=merge", "-p", `{"data":{"a":"9"}}`)
	p.kubectl("", "delete", "configmap", "removed", "renewed")
	p.kubectl(configMap("renewed", `a: "1"`), "create", "-f", "-")
	for i := range 20 {
		p.kubectl("", "annotate", "namespace", "default", "--overwrite", fmt.Sprintf("x=%d", i))
	}
	sb.Kill()
	<-sb.Done()
	sandboxtest.Start(t, sandbox.Options{Dir: dir}) // on the same port
	compact(t, dir)
	proxy.Requests()
	if err := proxy.Up(); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []object.Ref{p.ref("ConfigMap", "changed"), p.ref("ConfigMap", "removed"), p.ref("ConfigMap", "renewed")} {
		p.eventually(ref.Name+" is told", func() bool { return len(p.events.of(ref)) > 0 })
	}
	p.eventually("everything is watched", p.live)
	if live := p.current(p.ref("ConfigMap", "kept")); live.Owned != kept.Owned || live.UID != kept.UID || len(p.events.of(p.ref("ConfigMap", "kept"))) > 0 {
		t.Errorf("what nobody touched: %+v, was %+v", live, kept)
	}
	if live := p.current(p.ref("ConfigMap", "renewed")); live.Owned != "" || live.UID == "" {
		t.Errorf("what somebody made anew: %+v", live)
	}
	listed := slices.ContainsFunc(proxy.Requests(), func(r faultproxy.Request) bool {
		return strings.HasSuffix(r.Path, "/configmaps") && strings.Contains(r.Query, "sendInitialEvents")
	})
	if !listed {
		t.Error("the watch went on: this test tests nothing")
	}
	if n := settles(t, proxy, "/configmaps"); n > 1 {
		t.Errorf("%d further requests", n)
	}
}

// TestVersionGoes: a kind whose watched version is served no more is watched in
// another one. Its objects have not changed, and nobody is told anything.
func TestVersionGoes(t *testing.T) {
	t.Parallel()
	p, proxy, _ := through(t)
	version := func(name string, served, storage bool) string {
		return fmt.Sprintf("{name: %s, served: %v, storage: %v, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}", name, served, storage)
	}
	definition := func(versions ...string) string {
		return `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: parts.versions.test}, spec: {group: versions.test, scope: Namespaced,
			names: {kind: Part, plural: parts, singular: part, listKind: PartList}, versions: [` + strings.Join(versions, ", ") + `]}}`
	}
	served := func(version string) {
		t.Helper()
		if err := p.AwaitKinds(t.Context(), []schema.GroupVersionKind{{Group: "versions.test", Version: version, Kind: "Part"}}); err != nil {
			t.Fatal(err)
		}
	}
	p.apply(definition(version("v1beta1", true, true)))
	defer p.kubectl("", "delete", "crd", "parts.versions.test")
	served("v1beta1")
	ref := object.Ref{Group: "versions.test", Kind: "Part", Namespace: p.namespace, Name: "one"}
	written := p.apply(`{apiVersion: versions.test/v1beta1, kind: Part, metadata: {name: one, namespace: NS}, spec: {size: 1}}`)
	p.follow(ref)
	p.current(ref)

	p.apply(definition(version("v1beta1", true, false), version("v1", true, true)))
	served("v1")
	p.apply(definition(version("v1beta1", false, false), version("v1", true, true)))
	watched := func(version string) bool {
		return slices.ContainsFunc(proxy.Requests(), func(r faultproxy.Request) bool {
			return r.Path == "/apis/versions.test/"+version+"/parts" && strings.Contains(r.Query, "watch=true")
		})
	}
	p.eventually("it is watched in the other version", func() bool { return watched("v1") })
	p.follow(ref)
	if live := p.current(ref); live.Owned != written.Owned || live.UID != written.UID {
		t.Errorf("digest %s, want %s", live.Owned, written.Owned)
	}
	if told := p.events.of(ref); len(told) > 0 {
		t.Errorf("told of an object that did not change: %+v", told)
	}
	if n := settles(t, proxy, "/apis/versions.test"); n > 20 {
		t.Errorf("%d requests until it was settled", n)
	}
	p.kubectl("", "patch", "parts.v1.versions.test", "one", "--type=merge", "-p", `{"spec":{"size":2}}`)
	if live := p.current(ref); live.Owned == written.Owned {
		t.Error("drift is not seen in the other version")
	}
}

// TestGoneKindIsQuiet: a kind that is gone is not asked for all the time, and is
// watched again when it returns.
func TestGoneKindIsQuiet(t *testing.T) {
	t.Parallel()
	p, proxy, _ := through(t)
	definition := strings.NewReplacer("widget", "cog", "Widget", "Cog", "plumb.test", "cogs.test").Replace(widgets)
	ref := object.Ref{Group: "cogs.test", Kind: "Cog", Namespace: p.namespace, Name: "one"}
	cog := `{apiVersion: cogs.test/v1, kind: Cog, metadata: {name: one, namespace: NS}, spec: {size: 1}}`
	p.apply(definition)
	p.apply(cog)
	p.follow(ref)
	p.current(ref)
	p.kubectl("", "delete", "crd", "cogs.cogs.test")
	p.eventually("its end is told", func() bool { return len(p.events.of(ref)) > 0 })
	if n := settles(t, proxy, "/apis/cogs.test"); n > 30 {
		t.Errorf("%d requests until it was settled", n)
	}
	p.eventually("nothing is stale for want of a kind that does not exist", p.live)
	p.apply(definition)
	defer p.kubectl("", "delete", "crd", "cogs.cogs.test")
	written := p.apply(cog)
	p.eventually("it is watched again", func() bool {
		live, known := p.Live(ref, manager)
		return known && live.Owned == written.Owned && p.live()
	})
}

// TestWatchEndsAtOnce: a server that lists, and ends each watch as it begins, is
// asked now and then.
func TestWatchEndsAtOnce(t *testing.T) {
	for name, do := range map[string]faultproxy.Action{"cut": faultproxy.Cut(0), "refused": faultproxy.Answer(500, 0), "too many": faultproxy.Answer(429, 0), "expired": faultproxy.Answer(410, 0)} {
		t.Run(name, func(t *testing.T) {
			p, proxy, _ := through(t)
			proxy.Set(faultproxy.Fault{Match: faultproxy.Watches, Do: do})
			started := time.NewTimer(3 * time.Second)
			p.track(schema.GroupKind{Kind: "ConfigMap"})
			<-started.C
			if n := len(proxy.Requests()); n > 60 {
				t.Errorf("%d requests in 3 s", n)
			}
			proxy.Clear()
			ref := p.ref("ConfigMap", "a")
			p.follow(ref)
			written := p.apply(configMap("a", `a: "1"`))
			p.kubectl("", "patch", "configmap", "a", "--type=merge", "-p", `{"data":{"a":"9"}}`)
			p.eventually("drift is seen", func() bool {
				live, _ := p.Live(ref, manager)
				return live.Exists && live.Owned != written.Owned
			})
		})
	}
}
