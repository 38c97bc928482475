package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

// notes is an API server that the cluster aggregates: it serves one kind, takes
// applies, offers no watch, and records no owners.
type notes struct {
	mu  sync.Mutex
	all map[string]map[string]any // by path
}

func (n *notes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	answer := func(code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		json.NewEncoder(w).Encode(v)
	}
	missing := map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "details": map[string]any{"name": "x"}}
	live, there := n.all[r.URL.Path]
	switch {
	case r.URL.Path == "/apis/notes.test/v1":
		answer(200, map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "notes.test/v1", "resources": []any{
			map[string]any{"name": "notes", "singularName": "note", "namespaced": true, "kind": "Note", "verbs": []string{"get", "list", "patch", "delete"}}}})
	case strings.Contains(r.URL.Path, "/notes/") && r.Method == http.MethodPatch:
		body, _ := io.ReadAll(r.Body)
		var applied map[string]any
		if err := json.Unmarshal(body, &applied); err != nil {
			answer(400, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "BadRequest", "code": 400, "message": err.Error()})
			return
		}
		after, _ := merge(map[string]any{}, live).(map[string]any)
		after = merge(after, applied).(map[string]any)
		code := 200
		meta := after["metadata"].(map[string]any)
		if !there {
			code = 201
			meta["uid"] = fmt.Sprintf("note-%d", len(n.all))
		}
		meta["resourceVersion"] = fmt.Sprint(len(body))
		if r.URL.Query().Get("dryRun") == "" {
			n.all[r.URL.Path] = after
		}
		answer(code, after)
	case strings.Contains(r.URL.Path, "/notes/") && there:
		answer(200, live)
	default:
		answer(404, missing)
	}
}

// TestAggregated: an API that cannot be watched and records no owners is read
// and compared.
func TestAggregated(t *testing.T) {
	server := &notes{all: map[string]map[string]any{}}
	listening := httptest.NewTLSServer(server)
	defer listening.Close()
	_, port, err := net.SplitHostPort(listening.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := newPlace(t)
	p.kubectl(`{apiVersion: v1, kind: Service, metadata: {name: notes, namespace: NS}, spec: {type: ExternalName, externalName: localhost}}`, "apply", "-f", "-")
	p.kubectl(`{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.notes.test}, spec: {group: notes.test, version: v1,
		groupPriorityMinimum: 100, versionPriority: 100, insecureSkipTLSVerify: true, service: {name: notes, namespace: NS, port: `+port+`}}}`, "apply", "-f", "-")
	defer p.kubectl("", "delete", "apiservice", "v1.notes.test")
	note := schema.GroupVersionKind{Group: "notes.test", Version: "v1", Kind: "Note"}
	p.eventually("the kind is served", func() bool {
		kinds, err := p.Kinds(t.Context(), []schema.GroupVersionKind{note}) // an error while it is being set up
		return err == nil && kinds[note.GroupKind()].Served
	})

	manifest := `{apiVersion: notes.test/v1, kind: Note, metadata: {name: one, namespace: NS}, spec: {text: hello}}`
	desired := p.object(manifest)
	ref := desired.Ref()
	query := p.query(0, manifest)
	if live, there := p.observe(query).Live[ref]; there && live.Exists {
		t.Fatalf("before it is made: %+v", live)
	}
	written := p.apply(manifest)
	if !written.Created || written.Owned != "" {
		t.Fatalf("written %+v", written)
	}
	if got := p.Unwatched([]object.Ref{ref}); len(got) != 1 {
		t.Errorf("not told to be unwatched")
	}
	query.Recorded = []app.Record{{Ref: ref, Version: "v1", Desired: desired.Digest()}}
	if live := p.observe(query).Live[ref]; !live.Exists || live.Prediction == nil || len(live.Prediction.Changes) > 0 {
		t.Errorf("in sync: %+v", live.Prediction)
	}
	server.mu.Lock()
	for path, o := range server.all {
		changed := maps.Clone(o)
		changed["spec"] = map[string]any{"text": "changed"}
		server.all[path] = changed
	}
	server.mu.Unlock()
	facts := p.observe(query)
	if live := facts.Live[ref]; live.Prediction == nil || len(live.Prediction.Changes) != 1 || live.Prediction.Changes[0].Path != ".spec.text" {
		t.Errorf("drifted: %+v", live.Prediction)
	}
	if facts.Kinds[note.GroupKind()] != (plan.Kind{Served: true, Namespaced: true, Version: "v1"}) {
		t.Errorf("kind %+v", facts.Kinds[note.GroupKind()])
	}

	// A server that is gone harms who asks for its kind, and nobody else.
	listening.Close()
	if _, err := p.Self().Observe(t.Context(), query); app.AsFailure(err, "").Reason != app.ReasonClusterDown {
		t.Errorf("observed of a server that is gone: %v", err)
	}
	p.observe(p.query(0, configMap("a")))
	if c := p.Condition(); c.Down {
		t.Errorf("the cluster counts as down: %+v", c)
	}
}
