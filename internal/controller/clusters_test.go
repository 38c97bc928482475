package controller

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// cluster is what was told of one, if it was.
func (e *told) cluster(id string) (app.Cluster, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, ok := e.clusters[id]
	return c, ok
}

// A Secret that a Kustomization reaches its cluster by is followed as long as
// a Kustomization names it.
func TestKubeconfigsAreFollowed(t *testing.T) {
	c, e, namespace := newController(t)
	id := namespace + "/prod"
	says := func(what string, want func(app.Cluster, bool) bool) {
		t.Helper()
		sandboxtest.Eventually(t, func(context.Context) error {
			if got, ok := e.cluster(id); !want(got, ok) {
				return fmt.Errorf("%s: told is %t, of %q: %v", what, ok, got.Access.Server, got.Err)
			}
			return nil
		})
	}
	at := func(server string) func(app.Cluster, bool) bool {
		return func(c app.Cluster, ok bool) bool { return ok && c.Err == nil && c.Access.Server == server }
	}
	kubeconfig := func(server string) map[string][]byte {
		return map[string][]byte{"value": []byte(`{current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
			clusters: [{name: c, cluster: {server: "` + server + `"}}], users: [{name: u, user: {token: x}}]}`)}
	}
	resource := func(name, kubeConfig string) string {
		return `{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: ` + name + `, namespace: ` + namespace + `, finalizers: [finalizers.fluxcd.io]},
			spec: {interval: 1h, prune: true, sourceRef: {kind: GitRepository, name: fleet}` + kubeConfig + `}}`
	}
	remote := ", kubeConfig: {secretRef: {name: prod}}"
	secrets := c.core.CoreV1().Secrets(namespace)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "prod"}, Data: kubeconfig("https://one")}

	c.setKustomization(decode(t, resource("stays", ""))[0])
	if len(c.kubeconfigs.watched) != 0 {
		t.Errorf("nobody goes to another cluster, and watched are %v", c.kubeconfigs.watched)
	}
	one, two := decode(t, resource("one", remote))[0], decode(t, resource("two", remote))[0]
	c.setKustomization(one)
	c.setKustomization(two)
	says("no Secret", func(c app.Cluster, ok bool) bool { return ok && c.Err != nil })
	if _, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	says("a Secret", at("https://one"))
	secret.Data = kubeconfig("https://two")
	if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	says("another Secret", at("https://two"))

	c.setKustomization(decode(t, resource("one", ""))[0])
	if _, ok := e.cluster(id); !ok {
		t.Error("it is forgotten although one names it still")
	}
	if err := secrets.Delete(t.Context(), "prod", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	says("deleted", func(c app.Cluster, ok bool) bool { return ok && c.Err != nil })
	c.removedKustomization(two)
	if _, ok := e.cluster(id); ok || len(c.kubeconfigs.watched) != 0 || len(c.kubeconfigs.used) != 0 {
		t.Errorf("nobody names it, and it is known; watched are %v", c.kubeconfigs.watched)
	}
}

// Cluster Secrets are told as they come and go; Applications are decoded anew.
func TestClusterSecretsAreTold(t *testing.T) {
	c, e, _ := newController(t)
	secret := func(name, server string) string {
		return `{apiVersion: v1, kind: Secret, metadata: {name: ` + name + `, namespace: argocd, labels: {argocd.argoproj.io/secret-type: cluster}},
			data: {name: cHJvZA==, server: ` + server + `}}`
	}
	const one, two = "aHR0cHM6Ly9vbmU=", "aHR0cHM6Ly90d28=" // https://one, https://two
	u := decode(t, `{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: shop, namespace: argocd},
		spec: {project: default, source: {repoURL: "https://git.example.org/x", path: x}, destination: {name: prod, namespace: shop}}}`)[0]
	c.setApplication(u)
	id := app.ID{Kind: "Application", Namespace: "argocd", Name: "shop"}
	at := func() string {
		e.mu.Lock()
		defer e.mu.Unlock()
		if spec := e.apps[id]; spec.Invalid == nil {
			return spec.Target.Cluster
		}
		return "nowhere"
	}
	if at() != "nowhere" {
		t.Errorf("without a Secret it goes to %q", at())
	}
	first := decode(t, secret("a", one))[0]
	c.setSecret(first)
	if _, ok := e.cluster("https://one"); !ok || at() != "https://one" {
		t.Errorf("it goes to %q", at())
	}
	e.RemoveApp(id)
	c.setSecret(first.DeepCopy()) // as a list that is read anew tells of it
	if at() != "" {
		t.Error("a Secret that is as it was has Applications decoded anew")
	}
	c.setSecret(decode(t, secret("a", two))[0])
	if _, ok := e.cluster("https://one"); ok || at() != "https://two" {
		t.Errorf("with another server it goes to %q, and the first is known: %t", at(), ok)
	}
	c.removedSecret(first)
	if _, ok := e.cluster("https://two"); ok || at() != "nowhere" {
		t.Errorf("without a Secret it goes to %q", at())
	}
}
