package isolation

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// TestOneIsFrozen: of three clusters one is stopped, with its connections open.
// The two others are delivered to as before, by as many requests as before; the
// status of what goes to the frozen one says since when nothing is heard of it,
// and forgets nothing. When it goes on, it is brought up to date.
func TestOneIsFrozen(t *testing.T) {
	w := begin(t)
	frozen, far := startCluster(t), startCluster(t)
	w.secret("team", "frozen", nil, map[string][]byte{"value": frozen.kubeconfig()})
	w.registered("far", sandboxtest.RESTConfig(t, far.Cluster))
	dirs := []string{"near", "cold", "colder", "away"}
	w.commit("0", dirs...)
	w.source("team")
	w.kustomization("team", "near", "")
	w.kustomization("team", "cold", "frozen")
	w.kustomization("team", "colder", "frozen")
	w.application("away", "name: far")
	for dir, c := range map[string]*cluster{"near": w.home, "cold": frozen, "colder": frozen, "away": far} {
		c.holds(dir, "0")
		c.holds(dir+"-kept", "always")
	}
	w.says("team", "cold", "True", "Applied revision")
	w.appSays("away", "Synced", "")

	// spent is how many writes of ConfigMaps rounds of commits and drift take.
	round := func(n int) {
		t.Helper()
		value := fmt.Sprint(n)
		w.commit(value, dirs...)
		w.home.holds("near", value)
		far.holds("away", value)
		for dir, c := range map[string]*cluster{"near": w.home, "away": far} {
			cms := c.core.CoreV1().ConfigMaps(delivered)
			if _, err := cms.Patch(t.Context(), dir, types.MergePatchType, []byte(`{"data":{"value":"drifted"}}`), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := cms.Delete(t.Context(), dir+"-kept", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			c.holds(dir, value)
			c.holds(dir+"-kept", "always")
		}
		w.appSays("away", "Synced", "")
		w.says("team", "near", "True", "Applied revision")
	}
	spent := func(first, last int) (near, away int) {
		t.Helper()
		near, away = len(w.home.writes()), len(far.writes())
		for n := first; n <= last; n++ {
			round(n)
		}
		return len(w.home.writes()) - near, len(far.writes()) - away
	}
	near, away := spent(1, 3)
	frozen.holds("cold", "3")
	frozen.holds("colder", "3")
	w.says("team", "cold", "True", "Applied revision")
	before, err := w.get(t.Context(), kustomizations, "team", "cold")
	if err != nil {
		t.Fatal(err)
	}

	if err := syscall.Kill(frozen.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(frozen.PID, syscall.SIGCONT) })
	nearNow, awayNow := spent(4, 6)
	if nearNow != near || awayNow != away {
		t.Errorf("with one cluster frozen, the same commits and drift take %d and %d writes in the others, before it was %d and %d", nearNow, awayNow, near, away)
	}
	w.says("team", "cold", "False", "does not answer since")
	w.says("team", "colder", "False", "does not answer since")
	round(7)
	w.says("team", "cold", "False", "does not answer since")

	now, err := w.get(t.Context(), kustomizations, "team", "cold")
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"inventory", "lastAppliedRevision"} {
		was, _, _ := unstructured.NestedFieldNoCopy(before.Object, "status", field)
		if is, _, _ := unstructured.NestedFieldNoCopy(now.Object, "status", field); fmt.Sprint(is) != fmt.Sprint(was) {
			t.Errorf("status.%s was %v, and is %v", field, was, is)
		}
	}
	if n := w.events("cold", "does not answer"); n != 1 {
		t.Errorf("that the cluster does not answer is told by %d events", n)
	}
	if text := w.metrics(); !strings.Contains(text, `plumb_cluster_up{cluster="team/frozen"} 0`) ||
		!strings.Contains(text, `plumb_cluster_last_contact_timestamp_seconds{cluster="team/frozen"}`) ||
		!strings.Contains(text, `plumb_cluster_up{cluster="in-cluster"} 1`) {
		t.Errorf("metrics:\n%s", text)
	}

	if err := syscall.Kill(frozen.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	frozen.holds("cold", "7")
	frozen.holds("colder", "7")
	w.says("team", "cold", "True", "Applied revision")
	for _, r := range frozen.writes() {
		if r.Verb == "delete" {
			t.Errorf("deleted in the frozen cluster: %s", r.RequestURI)
		}
	}
	w.showsNo(keyOf(frozen.kubeconfig()), keyOf(sandboxtest.RESTConfig(t, frozen.Cluster).KeyData))
}

// events counts those of a Kustomization whose message has these words.
func (w *world) events(name, words string) (n int32) {
	w.t.Helper()
	list, err := w.home.core.CoreV1().Events("team").List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range list.Items {
		if e.InvolvedObject.Name == name && strings.Contains(e.Message, words) {
			n += max(1, e.Count)
		}
	}
	return n
}

func (w *world) metrics() string {
	w.t.Helper()
	resp, err := http.Get(w.http + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "plumb_") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// showsNo looks for credentials where everyone may read.
func (w *world) showsNo(secrets ...string) {
	w.t.Helper()
	text := w.logged() + w.metrics()
	for _, namespace := range []string{"team", "argocd"} {
		for _, r := range []schema.GroupVersionResource{kustomizations, applications, events} {
			list, err := w.dynamic.Resource(r).Namespace(namespace).List(w.t.Context(), metav1.ListOptions{})
			if err != nil {
				w.t.Fatal(err)
			}
			text += fmt.Sprint(list.Items)
		}
	}
	for _, secret := range secrets {
		if len(secret) < 16 {
			w.t.Fatal("that is no secret to look for")
		}
		if strings.Contains(text, secret) {
			w.t.Error("a credential of a cluster is shown")
		}
	}
}

// keyOf is a part of a key that is in no other text.
func keyOf(data []byte) string {
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	longest := ""
	for _, l := range lines {
		if l = strings.TrimSpace(l); len(l) > len(longest) {
			longest = l
		}
	}
	if len(longest) < 32 {
		return ""
	}
	return longest[len(longest)/2 : len(longest)/2+24]
}
