package replicas

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// event is one request as the API server noted it.
type event struct {
	Verb, UserAgent, RequestURI string
	RequestReceivedTimestamp    time.Time
	StageTimestamp              time.Time // when it was answered
	ObjectRef                   struct{ Resource, Namespace, Name, Subresource string }
	ResponseStatus              struct{ Code int }
}

var agent = regexp.MustCompile(`^plumb-(engine|replica)/\S+ \((.*)\)$`)

// replica is whose request it is, "" if no replica's; lease tells those that
// keep the membership from the others.
func (e event) replica() (id string, lease bool) {
	m := agent.FindStringSubmatch(e.UserAgent)
	if m == nil {
		return "", false
	}
	return m[2], m[1] == "replica"
}

func (e event) writes() bool {
	return slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, e.Verb) &&
		!strings.Contains(e.RequestURI, "dryRun=All")
}

// app is the app that the request writes for: to one of its objects, or to its
// own resource; "" if to neither.
func (e event) app() string {
	switch e.ObjectRef.Resource {
	case "configmaps", "kustomizations", "applications":
	default:
		return ""
	}
	app, _, _ := strings.Cut(e.ObjectRef.Name, "-")
	if !strings.HasPrefix(app, "app") {
		return ""
	}
	return app
}

// events reads the audit log, by the time of coming.
func (w *world) events() []event {
	w.t.Helper()
	data, err := os.ReadFile(w.audit)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []event
	for line := range strings.Lines(string(data)) {
		var e event
		if !strings.HasSuffix(line, "\n") {
			break // still being written
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			w.t.Fatalf("%q: %v", line, err)
		}
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b event) int { return a.RequestReceivedTimestamp.Compare(b.RequestReceivedTimestamp) })
	return out
}

// oneAtATime reads that no app was worked on by two at once. As long as the
// replicas are the same, an app goes from one to another at most once, for the
// change that came before; and then the last write of the one has been answered
// before the first of the other comes.
func (w *world) oneAtATime() {
	w.t.Helper()
	type hold struct {
		by      string
		until   time.Time
		changed int // how often since the replicas changed
	}
	held := map[string]*hold{}
	writes, handovers := 0, 0
	for _, e := range w.events() {
		if e.ObjectRef.Resource == "leases" && (e.Verb == "create" || e.Verb == "delete") && e.ResponseStatus.Code < 300 {
			for _, h := range held {
				h.changed = 0
			}
		}
		id, lease := e.replica()
		app := e.app()
		if id == "" || lease || app == "" || !e.writes() {
			continue
		}
		writes++
		h := held[app]
		switch {
		case h == nil:
			held[app] = &hold{by: id, until: e.StageTimestamp}
			continue
		case h.by != id:
			handovers++
			h.changed++
			if !e.RequestReceivedTimestamp.After(h.until) {
				w.t.Errorf("%s: %s writes %s %s at %s, while a write of %s is under way until %s", app, id, e.Verb, e.RequestURI,
					e.RequestReceivedTimestamp, h.by, h.until)
			}
			if h.changed > 1 {
				w.t.Errorf("%s: goes to %s and back to %s though no replica came or went: %s at %s", app, h.by, id, e.RequestURI, e.RequestReceivedTimestamp)
			}
			h.by = id
		}
		if e.StageTimestamp.After(h.until) {
			h.until = e.StageTimestamp
		}
	}
	w.t.Logf("%d writes of replicas; apps went from one to another %d times", writes, handovers)
	if writes == 0 || handovers == 0 {
		w.t.Error("the audit log does not show what it is to prove")
	}
}

// shares counts the apps that each replica wrote for since an instant.
func (w *world) shares(since time.Time) map[string]int {
	by := map[string]map[string]bool{}
	for _, e := range w.events() {
		if id, lease := e.replica(); id != "" && !lease && e.writes() && e.app() != "" && e.RequestReceivedTimestamp.After(since) {
			if by[id] == nil {
				by[id] = map[string]bool{}
			}
			by[id][e.app()] = true
		}
	}
	out := map[string]int{}
	for id, apps := range by {
		out[id] = len(apps)
	}
	return out
}
