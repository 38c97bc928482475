package controller

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// Whoever corrects a refused Secret, or makes a missing one, need not wait for
// the next try. Once the source is well, its Secret is not watched any more.
func TestARefusedSecretIsHeeded(t *testing.T) {
	c, e, namespace := newController(t)
	repositories, _ := sourceKindOf(flux.KindGitRepository)
	u := create(t, c, repositories.resource, namespace, `
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: shop}
spec: {interval: 1h, url: "https://git.example/shop.git", ref: {branch: main}, secretRef: {name: shop-login}}
`)
	c.setSource(repositories, u)
	id := app.SourceID{Kind: flux.KindGitRepository, Namespace: namespace, Name: "shop"}
	has := func(password string) {
		t.Helper()
		sandboxtest.Eventually(t, func(context.Context) error {
			e.mu.Lock()
			defer e.mu.Unlock()
			if auth := e.sources[id].Auth; auth.Err != nil || auth.Password != password {
				return fmt.Errorf("the credentials are not those of the Secret (%v)", auth.Err)
			}
			return nil
		})
	}
	looked := func(f *app.Failure) {
		t.Helper()
		if err := c.PublishSource(t.Context(), app.SourceReport{ID: id, Generation: 1, Failure: f, At: noon}); err != nil {
			t.Fatal(err)
		}
	}
	refused := app.Fail(app.StageFetch, app.ReasonAuthentication, "the server refuses the credentials")
	looked(refused)
	secrets := c.core.CoreV1().Secrets(namespace)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "shop-login"},
		Data: map[string][]byte{"username": []byte("ada"), "password": []byte("wrong")}}
	if _, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	has("wrong")
	looked(refused) // still
	secret.Data["password"] = []byte("right")
	if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	has("right")
	looked(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.heeded) != 0 {
		t.Errorf("still watched: %v", c.heeded)
	}
}
