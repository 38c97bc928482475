package world

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Event is one of the API server's audit events.
type Event struct {
	AuditID, Stage, Verb, UserAgent, RequestURI string
	ObjectRef                                   struct{ Resource, Namespace, Name string }
	RequestReceivedTimestamp                    time.Time
	ResponseStatus                              struct{ Code int }
}

// Engine reports whether the engine made the request.
func (e Event) Engine() bool { return strings.HasPrefix(e.UserAgent, "plumb-engine/") }

// Done reports whether the API server did what it was asked to.
func (e Event) Done() bool { return e.ResponseStatus.Code >= 200 && e.ResponseStatus.Code < 300 }

// AuditEnd is where the audit log ends now.
func (w *World) AuditEnd() int64 {
	w.T.Helper()
	info, err := os.Stat(w.Options.AuditLog)
	if err != nil {
		w.T.Fatal(err)
	}
	return info.Size()
}

// Audit gives the events since a place in the log, each request once.
func (w *World) Audit(since int64) []Event {
	w.T.Helper()
	log, err := os.Open(w.Options.AuditLog)
	if err != nil {
		w.T.Fatal(err)
	}
	defer log.Close()
	if _, err := log.Seek(since, io.SeekStart); err != nil {
		w.T.Fatal(err)
	}
	data, err := io.ReadAll(log)
	if err != nil {
		w.T.Fatal(err)
	}
	var out []Event
	seen := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		var e Event
		if json.Unmarshal([]byte(line), &e) != nil || seen[e.AuditID] {
			continue // half a line, of an API server that was killed; or the end of a watch
		}
		seen[e.AuditID] = true
		out = append(out, e)
	}
	return out
}

// Deletions fails the test if the engine deleted, since a place in the audit
// log, what Git held at the time. It returns how many deletions there were.
func (w *World) Deletions(since int64) int {
	w.T.Helper()
	deletions := 0
	for _, e := range w.Audit(since) {
		if !e.Engine() || !strings.HasPrefix(e.Verb, "delete") || e.ObjectRef.Resource != "configmaps" || !e.Done() {
			continue
		}
		deletions++
		app, _, _ := strings.Cut(e.ObjectRef.Name, "-")
		lacks := func(s State) bool {
			files, ours := s.Files[app]
			_, held := files[e.ObjectRef.Name]
			return ours && len(files) > 0 && !held
		}
		if held := w.held(e.RequestReceivedTimestamp); !slices.ContainsFunc(held, lacks) {
			w.T.Errorf("%s: the engine deleted %s, which Git held:\n%s", e.RequestReceivedTimestamp.Format(time.StampMilli), e.RequestURI, w.Story(e.ObjectRef.Name))
		}
	}
	return deletions
}

// Asked counts the engine's requests since a place in the audit log.
func (w *World) Asked(since int64) int {
	w.T.Helper()
	n := 0
	for _, e := range w.Audit(since) {
		if e.Engine() {
			n++
		}
	}
	return n
}

// Story is what the audit log tells of a ConfigMap, and what the statuses
// remember of it.
func (w *World) Story(name string) string {
	var out strings.Builder
	for _, e := range w.Audit(0) {
		if strings.HasSuffix(strings.Split(e.RequestURI, "?")[0], "/configmaps/"+name) || e.ObjectRef.Resource == Applications.Resource && e.Verb == "patch" {
			fmt.Fprintf(&out, "%s %s %s %d\n", e.RequestReceivedTimestamp.Format(time.StampMilli), e.Verb, e.RequestURI, e.ResponseStatus.Code)
		}
	}
	for _, gvr := range []schema.GroupVersionResource{Kustomizations, Applications} {
		list, err := w.Dynamic.Resource(gvr).Namespace(w.Namespace).List(w.T.Context(), metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		for _, u := range list.Items {
			objects, _, _ := unstructured.NestedStringSlice(u.Object, "status", "plumb", "objects")
			fmt.Fprintf(&out, "%s remembers:\n  %s\n", u.GetName(), strings.Join(objects, "\n  "))
		}
	}
	return out.String()
}
