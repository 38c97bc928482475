package faults

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/sandbox/faultproxy"
	"plumb.dev/plumb/test/internal/world"
)

// TestLostCreate: the API server has created objects, its answers got lost,
// and the watches that would tell of the objects are late. Meanwhile Git drops
// them again. They must be found and deleted, not forgotten.
func TestLostCreate(t *testing.T) {
	s := begin(t)
	log := s.AuditEnd()
	created := func(r *http.Request) bool { return delivering(r) && strings.HasSuffix(r.URL.Path, "-lost") }
	late := func(r *http.Request) bool {
		return faultproxy.Watches(r) && strings.HasSuffix(r.URL.Path, "/configmaps")
	}
	s.api.Set(faultproxy.Fault{Match: late, Do: faultproxy.Hang()}, faultproxy.Fault{Match: created, Do: faultproxy.Lose()})
	s.api.EndWatches()
	for _, app := range world.Apps() {
		s.Files[app][app+"-lost"] = s.Value()
	}
	s.Push()
	s.Tell()
	s.Eventually("the objects are there", func(ctx context.Context) error {
		for _, app := range world.Apps() {
			if _, err := s.Core.CoreV1().ConfigMaps(s.Namespace).Get(ctx, app+"-lost", metav1.GetOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	for _, app := range world.Apps() {
		delete(s.Files[app], app+"-lost")
	}
	s.Push()
	s.Tell()
	s.Converged(s.Head()) // the watches are still late
	s.api.Clear()
	s.sound(log)
	// That they are gone is known by now, and who did it is read from the log, which
	// may come after. A deletion that was given up on half way, for a newer commit,
	// need not be noted as done.
	s.Eventually("the log tells who deleted them", func(context.Context) error {
		gone := map[string]bool{}
		for _, e := range s.Audit(log) {
			if e.Engine() && e.Verb == "delete" && strings.HasSuffix(e.ObjectRef.Name, "-lost") {
				gone[e.ObjectRef.Name] = true
			}
		}
		if len(gone) != len(world.Apps()) {
			return fmt.Errorf("the engine deleted %v", gone)
		}
		return nil
	})
}
