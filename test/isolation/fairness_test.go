package isolation

import (
	"context"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

const many = 300 // apps of the big tenant

// TestABigTenantDoesNotStarveASmallOne: a commit that touches all of a tenant's
// hundreds of apps, and the one of another, arrives at that one after a few of
// the others. How soon the others follow does not matter.
func TestABigTenantDoesNotStarveASmallOne(t *testing.T) {
	w := begin(t)
	w.home.makeNamespace("big")
	var dirs []string
	for i := range many {
		dirs = append(dirs, fmt.Sprint("big-", i))
	}
	dirs = append(dirs, "small")
	w.commit("0", dirs...)
	w.source("big")
	for _, dir := range dirs[:many] {
		w.kustomization("big", dir, "")
	}
	w.create(`{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: small, namespace: team},
		spec: {interval: 1h, prune: true, path: small, targetNamespace: ` + delivered + `, sourceRef: {kind: GitRepository, name: fleet, namespace: big}}}`)
	// all waits until every app has delivered a value.
	all := func(value string) {
		t.Helper()
		progress(t, len(dirs), func(ctx context.Context) (n int, _ error) {
			list, err := w.home.core.CoreV1().ConfigMaps(delivered).List(ctx, metav1.ListOptions{})
			if err != nil {
				return 0, err
			}
			for _, cm := range list.Items {
				if cm.Data["value"] == value {
					n++
				}
			}
			return n, nil
		})
	}
	all("0")
	settled(w)
	for round := range 3 {
		before := len(w.home.writes())
		value := fmt.Sprint("round-", round)
		w.commit(value, dirs...)
		all(value)
		at, after := -1, 0
		for i, r := range w.home.writes()[before:] {
			if strings.Contains(r.RequestURI, "/configmaps/small?") || strings.HasSuffix(r.RequestURI, "/configmaps/small") {
				at = i
			} else if at >= 0 {
				after++
			}
		}
		// All are due at the same instant, and 16 run at a time.
		if at < 0 || at > 40 {
			t.Errorf("%s: the small tenant's commit came after %d of the big one's, and before %d", value, at, after)
		}
		t.Logf("%s: the small tenant's commit came after %d writes of the big one's, and before %d", value, at, after)
		settled(w)
	}
}

// settled waits until all Kustomizations are Ready at the commit that is there.
func settled(w *world) {
	w.t.Helper()
	head := strings.TrimSpace(w.repo.Git("rev-parse", "HEAD"))
	progress(w.t, many+1, func(ctx context.Context) (n int, _ error) {
		list, err := w.dynamic.Resource(kustomizations).List(ctx, metav1.ListOptions{})
		if err != nil {
			return 0, err
		}
		for _, u := range list.Items {
			if applied, _, _ := unstructured.NestedString(u.Object, "status", "lastAppliedRevision"); strings.HasSuffix(applied, head) {
				n++
			}
		}
		return n, nil
	})
}

// progress waits until count gives want, as long as it grows.
func progress(t *testing.T, want int, count func(context.Context) (int, error)) {
	t.Helper()
	for n := 0; n < want; {
		goal := min(want, n+want/10+1)
		sandboxtest.Eventually(t, func(ctx context.Context) error {
			now, err := count(ctx)
			if err == nil && now < goal {
				err = fmt.Errorf("%d of %d", now, want)
			}
			n = now
			return err
		})
	}
}
