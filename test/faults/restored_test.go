package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/test/internal/world"
)

// TestRestored puts the data of the cluster that Plumb serves back to an
// earlier state, under the running engine: what was delivered since is gone,
// what was pruned is back, the statuses are of then. Once the API server
// answers again at once, and once only after it has come further than it had,
// so that its versions tell nothing.
func TestRestored(t *testing.T) {
	s := begin(t)
	data, copied := filepath.Join(s.Options.Dir, "etcd"), filepath.Join(t.TempDir(), "etcd")
	for _, app := range world.Apps() {
		s.Files[app][app+"-old"] = s.Value()
	}
	s.Push()
	s.Tell()
	s.Converged(s.Head())
	s.StopServer()
	s.must(os.CopyFS(copied, os.DirFS(data)))
	s.RestartServer()
	for _, app := range world.Apps() {
		delete(s.Files[app], app+"-old")
		s.Files[app][app+"-new"] = s.Value()
	}
	s.Converged(s.Commit(s.random))
	s.Compare()
	if strings.Contains(s.Log(), "compared anew") {
		t.Fatal("an API server that was only restarted is taken for another")
	}

	for i, further := range []bool{false, true} {
		t.Run(fmt.Sprintf("further=%t", further), func(t *testing.T) {
			s.T = t
			defer func() { s.T = s.root }()
			was := s.version()
			if further {
				s.api.Down()
			}
			s.StopServer()
			s.must(os.RemoveAll(data))
			s.must(os.CopyFS(data, os.DirFS(copied)))
			s.RestartServer()
			if further {
				for s.version() < was+100 {
					_, err := s.Core.CoreV1().ConfigMaps(s.Namespace).Patch(t.Context(), "foreign-plain", types.MergePatchType,
						fmt.Appendf(nil, `{"data":{"value":%q}}`, s.Value()), metav1.PatchOptions{})
					s.must(err)
				}
				s.must(s.api.Up())
			}
			s.Converged(s.Head())
			s.EngineAlive()
			s.Compare()
			if n := strings.Count(s.Log(), "compared anew"); n != i+1 {
				t.Errorf("the engine began anew %d times, want %d", n, i+1)
			}

			// All watches are alive: of what is delivered, of the resources.
			for _, app := range world.Apps() {
				s.spoil(app + "-pin-0")
			}
			s.restored()
			s.asked(fmt.Sprint("restored-", i))
			s.Converged(s.Commit(s.random))
			s.Compare()
		})
	}
}

// version is how far the API server has come.
func (s *suite) version() uint64 {
	s.T.Helper()
	var at uint64
	s.Eventually("the cluster answers", func(ctx context.Context) error {
		list, err := s.Core.CoreV1().ConfigMaps(s.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		at, err = strconv.ParseUint(list.ResourceVersion, 10, 64)
		return err
	})
	return at
}

// asked asks for a reconciliation, and waits until that is answered.
func (s *suite) asked(token string) {
	s.T.Helper()
	_, err := s.Dynamic.Resource(world.Kustomizations).Namespace(s.Namespace).Patch(s.T.Context(), world.Flux, types.MergePatchType,
		fmt.Appendf(nil, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":%q}}}`, token), metav1.PatchOptions{})
	s.must(err)
	s.Eventually("the request is answered", func(ctx context.Context) error {
		u, err := s.Get(ctx, world.Kustomizations, world.Flux)
		if err != nil {
			return err
		}
		status, _ := u.Object["status"].(map[string]any)
		if status["lastHandledReconcileAt"] != token {
			return fmt.Errorf("answered is %v", status["lastHandledReconcileAt"])
		}
		return nil
	})
}
