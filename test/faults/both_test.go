package faults

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/sandbox/faultproxy"
	"plumb.dev/plumb/test/internal/world"
)

// TestBoth lets a Kustomization and an Application deliver the same object, and
// kills the engine while one takes it over from the other: between the
// hand-over of ownership and the apply. When the object leaves Git, each of the
// two must not take it for the other's.
func TestBoth(t *testing.T) {
	s := begin(t)
	for first, second := range map[string]string{world.Flux: world.Argo, world.Argo: world.Flux} {
		t.Run("from "+first, func(t *testing.T) {
			s.T = t
			defer func() { s.T = s.root }()
			const name = "both" // of neither, by its name
			s.Files[first][name] = s.Value()
			s.Push()
			s.Tell()
			s.Converged(s.Head())

			applied := make(chan struct{}, 100)
			s.api.Set(faultproxy.Fault{Do: faultproxy.Hang(), Match: func(r *http.Request) bool {
				hit := strings.HasSuffix(r.URL.Path, "/configmaps/"+name) && r.Header.Get("Content-Type") == string(types.ApplyPatchType) &&
					r.URL.Query().Get("dryRun") == ""
				if hit {
					select {
					case applied <- struct{}{}:
					default:
					}
				}
				return hit
			}})
			s.Files[second][name] = s.Files[first][name]
			s.Push()
			s.Tell()
			select {
			case <-applied: // whose ownership was handed over before
			case <-time.After(world.Patience):
				t.Fatal("it is not taken over")
			}
			s.StopEngine()
			for _, app := range world.Apps() {
				delete(s.Files[app], name)
			}
			head := s.Push()
			s.api.Clear()
			s.StartEngine()
			s.Tell()
			s.Converged(head)
			s.Eventually("what left Git has left the cluster", func(ctx context.Context) error {
				cm, err := s.Core.CoreV1().ConfigMaps(s.Namespace).Get(ctx, name, metav1.GetOptions{})
				if apierrors.IsNotFound(err) {
					return nil
				}
				if err != nil {
					return err
				}
				return fmt.Errorf("%s is still there, with labels %v and annotations %v", name, cm.Labels, cm.Annotations)
			})
			s.Compare()
		})
	}
	s.EngineAlive()
}
