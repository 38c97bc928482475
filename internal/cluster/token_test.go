package cluster

import (
	"errors"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// TestToken: whose tokens are made, for whom, and what is refused.
func TestToken(t *testing.T) {
	sb := sandboxtest.Cluster(t)
	admin, client := sandboxtest.RESTConfig(t, sb), sandboxtest.Client(t, sb)
	namespace := sandboxtest.Namespace(t, sb)
	accounts := client.CoreV1().ServiceAccounts(namespace)
	uids := map[string]string{}
	for _, name := range []string{"deployer", "plumb", "poor"} {
		made, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		uids[name] = string(made.UID)
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "plumb"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	as := func(config *rest.Config) *Cluster {
		t.Helper()
		c, err := Connect(config, Options{Managers: managers})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	account := func(name string) *Cluster {
		t.Helper()
		token, err := accounts.CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		config := rest.AnonymousClientConfig(admin)
		config.BearerToken = token.Status.Token
		return as(config)
	}
	administrator, plumb, poor := as(admin), account("plumb"), account("poor")

	for _, c := range []struct {
		name   string
		by     *Cluster
		tokens app.Tokens
		whose  string // "" is refused
		reason app.Reason
		want   string
	}{
		{name: "another account", by: plumb, tokens: app.Tokens{Namespace: namespace, Name: "deployer", UID: uids["deployer"]}, whose: "deployer"},
		{name: "of an administrator", by: administrator, tokens: app.Tokens{Namespace: namespace, Name: "deployer"}, whose: "deployer"},
		{name: "its own", by: plumb, whose: "plumb"},
		{name: "its own, which opens this cluster", by: plumb, tokens: app.Tokens{Audiences: []string{"far", "https://kubernetes.default.svc"}}, reason: app.ReasonForbidden, want: "opens the cluster that Plumb serves"},
		{name: "its own, of who has none", by: administrator, reason: app.ReasonClusterUnknown, want: `acts as "plumb-admin", which is none`},
		{name: "a later one of the name", by: plumb, tokens: app.Tokens{Namespace: namespace, Name: "deployer", UID: uids["plumb"]}, reason: app.ReasonConflict, want: "UID"},
		{name: "nobody", by: plumb, tokens: app.Tokens{Namespace: namespace, Name: "nobody"}, reason: app.ReasonClusterUnknown, want: `serviceaccounts "nobody" not found`},
		{name: "without the right", by: poor, tokens: app.Tokens{Namespace: namespace, Name: "deployer"}, reason: app.ReasonForbidden,
			want: `cannot create resource "serviceaccounts/token" in API group "" in the namespace "` + namespace + `"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.tokens.Audiences == nil {
				c.tokens.Audiences = []string{"far", "away"}
			}
			token, err := c.by.Tokens(app.Access{Tokens: &c.tokens})(t.Context())
			if c.whose == "" {
				var f *app.Failure
				if !errors.As(err, &f) || f.Reason != c.reason || !strings.Contains(f.Error(), c.want) || f.Stage != app.StageObserve || token.Bearer != "" {
					t.Fatalf("%v, want %s and %q", err, c.reason, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			review, err := client.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{
				Spec: authenticationv1.TokenReviewSpec{Token: token.Bearer, Audiences: []string{"away", "nowhere"}}}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			want := "system:serviceaccount:" + namespace + ":" + c.whose
			if s := review.Status; !s.Authenticated || s.User.Username != want || len(s.Audiences) != 1 || token.Life != tokenLife {
				t.Errorf("a token of %s for %v, of %v; want one of %s", s.User.Username, s.Audiences, token.Life, want)
			}
			if took := opens(t, admin, token.Bearer); took {
				t.Error("it opens the cluster that made it")
			}
		})
	}
	if administrator.Tokens(app.Access{BearerToken: "x"}) != nil {
		t.Error("who brings a token needs none")
	}
}

func opens(t *testing.T, config *rest.Config, token string) bool {
	t.Helper()
	config = rest.AnonymousClientConfig(config)
	config.BearerToken = token
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	return err == nil
}
