package faults

import (
	"net/http"
	"strings"
	"time"

	"plumb.dev/plumb/internal/sandbox/faultproxy"
)

// delivering selects the writes of delivered objects, and of no status.
func delivering(r *http.Request) bool {
	return faultproxy.Writes(r) && strings.Contains(r.URL.Path, "/configmaps/") && r.URL.Query().Get("dryRun") == ""
}

// telling selects the writes of statuses.
func telling(r *http.Request) bool {
	return faultproxy.Writes(r) && (strings.HasSuffix(r.URL.Path, "/status") || strings.Contains(r.URL.Path, "/applications/"))
}

// apiFaults are those of the API server, and of the way to it.
func apiFaults() []fault {
	over := func(faults ...faultproxy.Fault) func(*suite) func() {
		return func(s *suite) func() {
			s.api.Set(faults...)
			return s.api.Clear
		}
	}
	deliveries := func(text string) []saying { return []saying{kustomization(text), application(text)} }
	const second = time.Second
	return []fault{
		{name: "api/late", harmless: true, begin: over(faultproxy.Fault{Delay: 300 * time.Millisecond})},
		{name: "api/down", lasts: 2 * second, begin: func(s *suite) func() {
			s.api.Down()
			return func() { s.must(s.api.Up()) }
		}},
		{name: "api/silent", lasts: 5 * second, begin: func(s *suite) func() {
			s.api.Freeze()
			return s.api.Thaw
		}},
		{name: "api/too-many-until", lasts: 2 * second, begin: over(faultproxy.Fault{Do: faultproxy.Answer(429, second)})},
		{name: "api/too-many", lasts: 2 * second, begin: over(faultproxy.Fault{Do: faultproxy.Answer(429, 0)})},
		{name: "api/internal-error", lasts: 2 * second, begin: over(faultproxy.Fault{Do: faultproxy.Answer(500, 0)})},
		{name: "api/unavailable", lasts: 2 * second, begin: over(faultproxy.Fault{Do: faultproxy.Answer(503, 0)})},
		{name: "api/writes-too-many", says: deliveries("on purpose"), begin: over(faultproxy.Fault{Match: delivering, Do: faultproxy.Answer(429, 0)})},
		{name: "api/writes-internal-error", says: deliveries("on purpose"), begin: over(faultproxy.Fault{Match: delivering, Do: faultproxy.Answer(500, 0)})},
		{name: "api/some-writes-fail", begin: over(faultproxy.Fault{Match: delivering, Every: 2, Do: faultproxy.Answer(500, 0)})},
		{name: "api/writes-lost", begin: over(faultproxy.Fault{Match: delivering, Every: 2, Do: faultproxy.Reset()})},
		{name: "api/answers-lost", begin: over(faultproxy.Fault{Match: delivering, Do: faultproxy.Lose()})},
		{name: "api/some-answers-lost", begin: over(faultproxy.Fault{Match: delivering, Every: 2, Do: faultproxy.Lose()})},
		{name: "api/statuses-refused", begin: over(faultproxy.Fault{Match: telling, Do: faultproxy.Answer(500, 0)})},
		{name: "api/answers-to-statuses-lost", begin: over(faultproxy.Fault{Match: telling, Every: 2, Do: faultproxy.Lose()})},
		{name: "api/connections-reset", lasts: 2 * second, begin: func(s *suite) func() {
			return s.every(200*time.Millisecond, s.api.ResetConnections)
		}},
		{name: "api/watches-end", lasts: 2 * second, harmless: true, begin: func(s *suite) func() {
			return s.every(300*time.Millisecond, s.api.EndWatches)
		}},
		{name: "api/watches-refused", lasts: 2 * second, begin: func(s *suite) func() {
			s.api.Set(faultproxy.Fault{Match: faultproxy.Watches, Do: faultproxy.Answer(500, 0)})
			s.api.EndWatches()
			return s.api.Clear
		}},
		{name: "api/watches-expire", lasts: 2 * second, begin: func(s *suite) func() {
			resumed := func(r *http.Request) bool {
				q := r.URL.Query()
				return faultproxy.Watches(r) && q.Get("resourceVersion") != "" && q.Get("sendInitialEvents") == ""
			}
			s.api.Set(faultproxy.Fault{Match: resumed, Do: faultproxy.Answer(410, 0)})
			s.api.EndWatches()
			return s.api.Clear
		}},
		{name: "api/killed", lasts: 2 * second, begin: func(s *suite) func() {
			s.StopServer()
			return s.RestartServer
		}},
		{name: "api/killed-and-restarted", begin: func(s *suite) func() {
			s.KillServer()
			return func() {}
		}},
	}
}
