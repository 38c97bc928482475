package world

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// history is what happened to the ConfigMaps, version by version, and what the
// statuses claimed meanwhile. All versions of one API server come from one
// counter, so what the cluster held at the very moment at which a status was
// written can be told exactly, afterwards.
type history struct {
	client    dynamic.Interface
	namespace string

	mu       sync.Mutex
	objects  map[string][]version // of ConfigMaps by name, oldest first
	gaps     []gap
	statuses map[string]any // the last by app
	claims   []claim        // not checked yet
	seen     uint64         // the last version of a ConfigMap that was told
	news     chan struct{}  // closed and renewed when seen changes
}

// version is an object from a resourceVersion on.
type version struct {
	from  uint64
	value string
	gone  bool
}

// gap is a time of which only the end is known: the watch was away too long.
type gap struct{ after, upTo uint64 }

// claim is a status that says that an app delivers a commit.
type claim struct {
	app, commit string
	at          uint64
	text        string
	status      any
}

// follow watches until the test ends, over whatever becomes of the API server.
func follow(t *testing.T, w *World) *history {
	h := &history{client: w.Dynamic, namespace: w.Namespace, objects: map[string][]version{}, statuses: map[string]any{}, news: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, gvr := range []schema.GroupVersionResource{ConfigMaps, Kustomizations, Applications} {
		group.Go(func() { h.follow(ctx, gvr) })
	}
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	return h
}

func (h *history) follow(ctx context.Context, gvr schema.GroupVersionResource) {
	client := h.client.Resource(gvr).Namespace(h.namespace)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	at := ""
	for ctx.Err() == nil {
		if at == "" {
			list, err := client.List(ctx, metav1.ListOptions{})
			if err == nil {
				h.listed(gvr, list)
				at = list.GetResourceVersion()
			}
		}
		if at != "" {
			at = h.watch(ctx, client, gvr, at)
		}
		select {
		case <-ctx.Done():
		case <-again.C:
		}
	}
}

// watch takes in what is told from a version on, and gives the version to go
// on from, "" if that is too long ago.
func (h *history) watch(ctx context.Context, client dynamic.ResourceInterface, gvr schema.GroupVersionResource, at string) string {
	w, err := client.Watch(ctx, metav1.ListOptions{ResourceVersion: at, AllowWatchBookmarks: true})
	if err != nil {
		if strings.Contains(err.Error(), "too old") {
			return ""
		}
		return at
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		u, ok := e.Object.(*unstructured.Unstructured)
		if !ok || e.Type == watch.Error {
			return "" // expired
		}
		at = u.GetResourceVersion()
		if e.Type != watch.Bookmark {
			h.told(gvr, u, e.Type == watch.Deleted)
		}
		h.reached(gvr, number(at))
	}
	return at
}

func (h *history) reached(gvr schema.GroupVersionResource, at uint64) {
	if gvr != ConfigMaps {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = max(h.seen, at)
	close(h.news)
	h.news = make(chan struct{})
}

// until waits for the ConfigMaps of a version.
func (h *history) until(ctx context.Context, at uint64) error {
	for {
		h.mu.Lock()
		seen, news := h.seen, h.news
		h.mu.Unlock()
		if seen >= at {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("the watch of ConfigMaps is at %d, not %d", seen, at)
		}
	}
}

func (h *history) listed(gvr schema.GroupVersionResource, list *unstructured.UnstructuredList) {
	at := number(list.GetResourceVersion())
	there := map[string]bool{}
	for i := range list.Items {
		there[list.Items[i].GetName()] = true
		h.told(gvr, &list.Items[i], false)
	}
	if gvr != ConfigMaps {
		return
	}
	h.mu.Lock()
	for name, versions := range h.objects {
		if last := versions[len(versions)-1]; !there[name] && !last.gone {
			h.objects[name] = append(versions, version{from: at, gone: true})
		}
	}
	if h.seen > 0 {
		h.gaps = append(h.gaps, gap{h.seen, at})
	}
	h.mu.Unlock()
	h.reached(gvr, at)
}

func (h *history) told(gvr schema.GroupVersionResource, u *unstructured.Unstructured, gone bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name, at := u.GetName(), number(u.GetResourceVersion())
	if gvr == ConfigMaps {
		versions := h.objects[name]
		if n := len(versions); n > 0 && versions[n-1].from >= at {
			return
		}
		value, _, _ := unstructured.NestedString(u.Object, "data", "value")
		// What is being deleted cannot be kept: whoever looks after its
		// dependents first lets it go.
		h.objects[name] = append(versions, version{at, value, gone || u.GetDeletionTimestamp() != nil})
		return
	}
	status := u.Object["status"]
	if gone || reflect.DeepEqual(status, h.statuses[name]) {
		return // what is not said anew claims nothing anew
	}
	h.statuses[name] = status
	if c, ok := claimOf(u); ok {
		c.at, c.status = at, status
		h.claims = append(h.claims, c)
	}
}

// claimOf reads what a status says is delivered.
func claimOf(u *unstructured.Unstructured) (claim, bool) {
	if u.GetKind() == "Application" {
		sync, _, _ := unstructured.NestedString(u.Object, "status", "sync", "status")
		revision, _, _ := unstructured.NestedString(u.Object, "status", "sync", "revision")
		return claim{app: Argo, commit: revision, text: "Synced"}, sync == "Synced"
	}
	ready := Condition(u, "Ready")
	revision, _, _ := unstructured.NestedString(u.Object, "status", "lastAppliedRevision")
	_, commit, _ := strings.Cut(revision, "sha1:")
	return claim{app: Flux, commit: commit, text: "Ready: " + ready.Message}, ready.Status == metav1.ConditionTrue
}

// Condition is a condition of a resource, empty if it has none of that type.
func Condition(u *unstructured.Unstructured, kind string) metav1.Condition {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, item := range list {
		m, _ := item.(map[string]any)
		if m["type"] != kind {
			continue
		}
		text := func(key string) string { s, _ := m[key].(string); return s }
		return metav1.Condition{Type: kind, Status: metav1.ConditionStatus(text("status")), Reason: text("reason"), Message: text("message")}
	}
	return metav1.Condition{}
}

// at is what there was of an app at a version.
func (h *history) at(app string, at uint64) map[string]string {
	out := map[string]string{}
	for name, versions := range h.objects {
		if !strings.HasPrefix(name, app+"-") {
			continue
		}
		for _, v := range slices.Backward(versions) {
			if v.from <= at {
				if !v.gone {
					out[name] = v.value
				}
				break
			}
		}
	}
	return out
}

// Claims fails the test if a status has said, since the last call, that a
// commit is delivered while the cluster held something else. It returns how
// many were looked at.
func (w *World) Claims() int {
	w.T.Helper()
	h := w.history
	h.mu.Lock()
	claims := h.claims
	h.claims = nil
	h.mu.Unlock()
	// Everything that the cluster did before this write is told before it.
	patch := fmt.Appendf(nil, `{"data":{"value":%q}}`, w.Value())
	var mark uint64
	w.Eventually("the marker is written", func(ctx context.Context) error {
		u, err := w.Dynamic.Resource(ConfigMaps).Namespace(w.Namespace).Patch(ctx, "foreign-plain", types.MergePatchType, patch, metav1.PatchOptions{})
		if err == nil {
			mark = number(u.GetResourceVersion())
		}
		return err
	})
	w.Eventually("the history is complete", func(ctx context.Context) error { return h.until(ctx, mark) })
	h.mu.Lock()
	defer h.mu.Unlock()
	checked := 0
	for _, c := range claims {
		if slices.ContainsFunc(h.gaps, func(g gap) bool { return c.at > g.after && c.at <= g.upTo }) {
			continue
		}
		checked++
		state, known := w.state(c.commit)
		if !known {
			w.T.Errorf("the status of %s says %q of %q, which is no commit that Git ever had", c.app, c.text, c.commit)
			continue
		}
		if live := h.at(c.app, c.at); !maps.Equal(live, state.Files[c.app]) {
			w.T.Errorf("the status of %s said %q of %s at version %d, while the cluster held %s and the commit holds %s\n%s\n%v",
				c.app, c.text, c.commit, c.at, show(live), show(state.Files[c.app]), h.differences(c.at, live, state.Files[c.app]), c.status)
		}
	}
	return checked
}

// differences tells the versions of what is not as it should be.
func (h *history) differences(at uint64, live, want map[string]string) string {
	var out strings.Builder
	names := maps.Clone(live)
	maps.Copy(names, want)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if a, there := live[name]; !there || a != want[name] {
			fmt.Fprintf(&out, "%s: %+v\n", name, h.objects[name])
		}
	}
	return out.String()
}

func show(files map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		parts = append(parts, name+"="+files[name])
	}
	return "{" + strings.Join(parts, " ") + "}"
}

func number(resourceVersion string) uint64 {
	n, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
