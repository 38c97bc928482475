package isolation

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// asDeployer is a way into the cluster by a token of a service account, as one
// would make for Plumb.
func (c *cluster) asDeployer(name string) *rest.Config {
	c.t.Helper()
	ctx := c.t.Context()
	if _, err := c.core.CoreV1().ServiceAccounts(delivered).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.core.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: delivered, Name: name}},
	}, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	token, err := c.core.CoreV1().ServiceAccounts(delivered).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	admin := sandboxtest.RESTConfig(c.t, c.Cluster)
	return &rest.Config{Host: admin.Host, BearerToken: token.Status.Token, TLSClientConfig: rest.TLSClientConfig{CAData: admin.CAData}}
}

func kubeconfigOf(config *rest.Config) []byte {
	return []byte(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: "` + config.Host + `", certificate-authority-data: ` + base64.StdEncoding.EncodeToString(config.CAData) + `}}],
users: [{name: u, user: {token: "` + config.BearerToken + `"}}]}`)
}

// TestSecretsComeAndGo: without the Secret that opens its cluster an app says
// so and nothing is pruned; with another one it goes on as whoever that is.
func TestSecretsComeAndGo(t *testing.T) {
	w := begin(t)
	far := startCluster(t)
	first, second := far.asDeployer("first"), far.asDeployer("second")
	w.commit("0", "ks", "app")
	w.source("team")
	w.kustomization("team", "ks", "far")
	w.application("app", `server: "`+first.Host+`"`)
	w.says("team", "ks", "False", "does not exist")
	w.appSays("app", "Unknown", "is not registered")

	w.secret("team", "far", nil, map[string][]byte{"value.yaml": kubeconfigOf(first)})
	w.registered("far", first)
	far.holds("ks", "0")
	far.holds("app", "0")
	w.appSays("app", "Synced", "")
	w.says("team", "ks", "True", "")
	w.showsNo(first.BearerToken)
	for _, app := range []string{"ks/team/ks", "app/argocd/app"} { // which in the home cluster would all be new
		diff := exec.Command(w.home.options.Executable, "diff", app, "--kubeconfig", w.home.Kubeconfig)
		if out, err := diff.CombinedOutput(); err != nil {
			t.Errorf("plumb diff %s: %v\n%s", app, err, out)
		}
	}

	// Credentials of someone else: the old ones are used no more.
	w.secret("team", "far", nil, map[string][]byte{"value.yaml": kubeconfigOf(second)})
	w.registered("far", second)
	if err := far.core.CoreV1().ServiceAccounts(delivered).Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.commit("1", "ks", "app")
	far.holds("ks", "1")
	far.holds("app", "1")

	for namespace, name := range map[string]string{"team": "far", "argocd": "cluster-far"} {
		if err := w.home.core.CoreV1().Secrets(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w.says("team", "ks", "False", "KubeConfig secret 'team/far'")
	w.appSays("app", "Unknown", "is not registered")
	w.commit("2", "ks", "app")
	w.says("team", "ks", "False", "KubeConfig secret 'team/far'")

	// What no Secret may ask for.
	harmful := strings.Replace(string(kubeconfigOf(second)), "{token:", "{exec: {command: touch, args: ["+filepath.Join(t.TempDir(), "x")+"]}, token:", 1)
	w.secret("team", "far", nil, map[string][]byte{"value": []byte(harmful)})
	w.says("team", "ks", "False", "exec is refused")
	for dir, c := range map[string]*cluster{"ks": far, "app": far} {
		c.holds(dir, "1")
		c.holds(dir+"-kept", "always")
	}

	w.secret("team", "far", nil, map[string][]byte{"value": kubeconfigOf(second)})
	w.registered("far", second)
	far.holds("ks", "2")
	far.holds("app", "2")
	w.says("team", "ks", "True", "")
	w.appSays("app", "Synced", "")
	for _, r := range far.writes() {
		if r.Verb == "delete" {
			t.Errorf("deleted: %s", r.RequestURI)
		}
	}
	w.showsNo(first.BearerToken, second.BearerToken)
}

// TestMove: an app that goes to another cluster leaves what it delivered, and
// says so until it comes back.
func TestMove(t *testing.T) {
	w := begin(t)
	far := startCluster(t)
	w.secret("team", "far", nil, map[string][]byte{"value": far.kubeconfig()})
	w.registered("far", sandboxtest.RESTConfig(t, far.Cluster))
	w.commit("0", "ks", "app")
	w.source("team")
	w.kustomization("team", "ks", "far")
	w.application("app", "name: far")
	far.holds("ks", "0")
	far.holds("app", "0")
	w.says("team", "ks", "True", "")
	w.appSays("app", "Synced", "")

	patch := func(toHome bool) {
		t.Helper()
		ks, app := `{"spec":{"kubeConfig":{"secretRef":{"name":"far"}}}}`, `{"spec":{"destination":{"name":"far"}}}`
		if toHome {
			ks, app = `{"spec":{"kubeConfig":null}}`, `{"spec":{"destination":{"name":"in-cluster"}}}`
		}
		if _, err := w.dynamic.Resource(kustomizations).Namespace("team").Patch(t.Context(), "ks", types.MergePatchType, []byte(ks), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.dynamic.Resource(applications).Namespace("argocd").Patch(t.Context(), "app", types.MergePatchType, []byte(app), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	warned := func(words string) {
		t.Helper()
		sandboxtest.Eventually(t, func(ctx context.Context) error {
			ks, err := w.get(ctx, kustomizations, "team", "ks")
			if err != nil {
				return err
			}
			app, err := w.get(ctx, applications, "argocd", "app")
			if err != nil {
				return err
			}
			for _, u := range []*unstructured.Unstructured{ks, app} {
				warnings, _, _ := unstructured.NestedStringSlice(u.Object, "status", "plumb", "warnings")
				if text := strings.Join(warnings, "\n"); (words == "") != (text == "") || !strings.Contains(text, words) {
					return fmt.Errorf("%s warns %q, want %q", u.GetName(), text, words)
				}
			}
			return nil
		})
	}
	patch(true)
	w.home.holds("ks", "0")
	w.home.holds("app", "0")
	warned("2 objects are still in cluster")

	// Another process knows of it, too.
	w.engine.Kill()
	w.startEngine()
	w.commit("1", "ks", "app")
	w.home.holds("ks", "1")
	w.home.holds("app", "1")
	far.holds("ks", "0")
	far.holds("app", "0")
	warned("2 objects are still in cluster")

	patch(false)
	far.holds("ks", "1")
	far.holds("app", "1")
	warned("2 objects are still in the cluster that Plumb serves")

	// What left Git leaves the cluster that it is in now, for it is known again
	// whose it is.
	w.repo.Remove("ks/kept.yaml", "app/kept.yaml")
	w.commitOnly()
	far.holds("ks-kept", "")
	far.holds("app-kept", "")
	w.home.holds("ks-kept", "always")
	w.home.holds("app-kept", "always")
	for _, r := range w.home.writes() {
		if r.Verb == "delete" {
			t.Errorf("deleted in the cluster that they left: %s", r.RequestURI)
		}
	}
}

// TestWiped: a cluster that is gone, and comes back without anything that was
// in it, gets everything again.
func TestWiped(t *testing.T) {
	w := begin(t)
	far := startCluster(t)
	w.secret("team", "far", nil, map[string][]byte{"value": far.kubeconfig()})
	w.registered("far", sandboxtest.RESTConfig(t, far.Cluster))
	w.commit("0", "near", "ks", "app")
	w.source("team")
	w.kustomization("team", "near", "")
	w.kustomization("team", "ks", "far")
	w.application("app", "name: far")
	far.holds("ks", "0")
	far.holds("app", "0")
	w.says("team", "ks", "True", "")

	far.Kill()
	<-far.Done()
	w.commit("1", "near", "ks", "app")
	w.home.holds("near", "1")
	w.says("team", "ks", "False", "does not answer since")
	w.appSays("app", "Unknown", "does not answer since")
	if err := os.RemoveAll(filepath.Join(far.options.Dir, "etcd")); err != nil {
		t.Fatal(err)
	}
	far.start()
	far.makeNamespace(delivered)
	far.holds("ks", "1")
	far.holds("ks-kept", "always")
	far.holds("app", "1")
	far.holds("app-kept", "always")
	w.says("team", "ks", "True", "Applied revision")
	w.appSays("app", "Synced", "")
}
