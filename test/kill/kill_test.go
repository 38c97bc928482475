// Package kill kills the engine and the API server at random moments while
// commits flow, and then looks whether the cluster is what Git says (design:
// the world is the state).
package kill

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/test/internal/world"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

const kills = 56

var seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of what is random")

func TestKills(t *testing.T) {
	t.Logf("go test ./test/kill -seed %d", *seed)
	w := killed{world.New(t, world.Options{Namespace: "killed"})}
	start := w.AuditEnd()
	random := rand.New(rand.NewPCG(*seed, 1))
	for n := range kills {
		w.Commit(random)
		pause := time.NewTimer(time.Duration(random.IntN(400)) * time.Millisecond)
		<-pause.C
		if n%5 == 4 {
			w.KillServer()
		} else {
			w.KillEngine()
		}
	}
	head := w.Commit(random)
	w.Converged(head)
	objects, claims, deletions := w.Compare(), w.Claims(), w.Deletions(start)
	t.Logf("killed: %v; %d objects compared, %d claims of statuses, %d deletions", w.Killed, objects, claims, deletions)
	w.restartWritesNothing(random)
	w.idleAsksNothing()
}

// killed is the world with what only this test asks of it.
type killed struct{ *world.World }

// restartWritesNothing reads the API server's own count of requests around a
// restart of an engine that has nothing to do, and then around a commit, which
// it must show.
func (w killed) restartWritesNothing(random *rand.Rand) {
	w.settled() // the status of the source comes after what is delivered
	w.StopEngine()
	before := w.settled()
	w.StartEngine()
	after := w.settled()
	if writes := written(before, after); len(writes) > 0 {
		w.T.Errorf("a restart with nothing to do wrote: %v\n%s", writes, w.Tail())
	}
	w.Converged(w.Commit(random))
	if writes := written(after, w.settled()); len(writes) == 0 {
		w.T.Error("a commit shows no write: the count is not one")
	}
}

// idleAsksNothing reads the API server's audit log: an engine with nothing to
// do makes no request but watches.
func (w killed) idleAsksNothing() {
	w.settled()
	start, others := w.AuditEnd(), 0
	idle := time.NewTimer(15 * time.Second)
	<-idle.C
	for _, event := range w.Audit(start) {
		switch {
		case !event.Engine():
			others++
		case event.Verb != "watch":
			w.T.Errorf("idle, the engine asks: %s %s", event.Verb, event.RequestURI)
		}
	}
	if others == 0 {
		w.T.Error("the audit log shows nobody: it is not one")
	}
}

func written(before, after map[string]float64) map[string]float64 {
	out := map[string]float64{}
	for key, n := range after {
		if n != before[key] && isWrite(key) {
			out[key] = n - before[key]
		}
	}
	return out
}

// settled reads the counters until they have not moved for two seconds, apart
// from what goes on all the time.
func (w killed) settled() map[string]float64 {
	w.T.Helper()
	const calm = 2 * time.Second
	var last map[string]float64
	since := time.Now()
	sandboxtest.Eventually(w.T, func(ctx context.Context) error {
		now, err := w.requests(ctx)
		if err != nil {
			return err
		}
		for key, n := range now {
			if last[key] != n {
				last, since = now, time.Now()
				break
			}
		}
		if time.Since(since) < calm {
			return errors.New("requests are still being made")
		}
		return nil
	})
	return last
}

// requests reads apiserver_request_total, leases and the reading itself left
// out.
func (w killed) requests(ctx context.Context) (map[string]float64, error) {
	data, err := w.Core.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "apiserver_request_total{") || strings.Contains(line, `resource="leases"`) || strings.Contains(line, `subresource="/metrics"`) {
			continue
		}
		key, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		var n float64
		if _, err := fmt.Sscan(value, &n); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		out[key] = n
	}
	return out, nil
}

func isWrite(key string) bool {
	if strings.Contains(key, `dry_run="All"`) {
		return false
	}
	for _, verb := range []string{"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"} {
		if strings.Contains(key, `verb="`+verb+`"`) {
			return true
		}
	}
	return false
}
