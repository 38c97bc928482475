package isolation

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/sandbox/faultproxy"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// TestOneRefuses: of two remote clusters one answers everything with an error.
// The other, and the home cluster, are delivered to as before.
func TestOneRefuses(t *testing.T) {
	w := begin(t)
	refusing, far := startCluster(t), startCluster(t)
	proxy, err := faultproxy.ForCluster(sandboxtest.RESTConfig(t, refusing.Cluster))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	w.registered("refusing", proxy.Config())
	w.secret("team", "far", nil, map[string][]byte{"value": far.kubeconfig()})
	dirs := []string{"near", "there", "refused", "refused-too"}
	w.commit("start", dirs...)
	w.source("team")
	w.kustomization("team", "near", "")
	w.kustomization("team", "there", "far")
	w.application("refused", "name: refusing")
	w.application("refused-too", `server: "`+proxy.Config().Host+`"`)
	refusing.holds("refused", "start")
	refusing.holds("refused-too", "start")
	far.holds("there", "start")
	far.holds("there-kept", "always")
	w.home.holds("near", "start")
	w.home.holds("near-kept", "always")
	spent := func(what string) (near, there int) {
		t.Helper()
		near, there = len(w.home.writes()), len(far.writes())
		for n := range 3 {
			value := fmt.Sprintf("%s-%d", what, n)
			w.commit(value, dirs...)
			w.home.holds("near", value)
			far.holds("there", value)
		}
		w.says("team", "near", "True", "")
		w.says("team", "there", "True", "")
		return len(w.home.writes()) - near, len(far.writes()) - there
	}
	near, there := spent("well")
	refusing.holds("refused", "well-2")
	for _, answer := range []struct {
		code  int
		after time.Duration
	}{{429, 30 * time.Second}, {500, 0}} {
		code := answer.code
		proxy.Set(faultproxy.Fault{Do: faultproxy.Answer(code, answer.after)})
		nearNow, thereNow := spent(fmt.Sprintf("answers-%d", code))
		if nearNow != near || thereNow != there {
			t.Errorf("while one answers %d, the others take %d and %d writes, before it was %d and %d", code, nearNow, thereNow, near, there)
		}
		w.notSynced("refused", "refused-too")
		proxy.Clear()
		value := fmt.Sprintf("answers-%d-2", code)
		if code == 500 { // the app's own retries have longer pauses than a test has patience
			value = "mended"
			w.commit(value, dirs...)
		}
		refusing.holds("refused", value)
		refusing.holds("refused-too", value)
	}
	w.appSays("refused", "Synced", "")
}

// notSynced waits until Applications do not claim to be as Git says.
func (w *world) notSynced(names ...string) {
	w.t.Helper()
	for _, name := range names {
		sandboxtest.Eventually(w.t, func(ctx context.Context) error {
			u, err := w.get(ctx, applications, "argocd", name)
			if err != nil {
				return err
			}
			if sync, _, _ := unstructured.NestedString(u.Object, "status", "sync", "status"); sync == "Synced" {
				return fmt.Errorf("%s is %s", name, sync)
			}
			return nil
		})
	}
}
