package isolation

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// trusting is a cluster that takes the tokens of service accounts of another
// one, as an API server is told to: it asks that for its keys.
type trusting struct {
	*cluster
	of   *cluster
	file string // its AuthenticationConfiguration
}

const issuer = "https://home.plumb.test"

func startTrusting(t *testing.T, of *cluster) *trusting {
	t.Helper()
	if _, err := of.core.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "anyone-may-check-tokens"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:service-account-issuer-discovery"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:unauthenticated"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	far := &trusting{of: of, file: filepath.Join(t.TempDir(), "authentication.json")}
	far.since(0)
	far.cluster = startClusterWith(t, sandbox.Options{Authentication: far.file})
	if _, err := far.core.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "deployer-of-home"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "home:system:serviceaccount:team:deployer"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return far
}

// since has it take only tokens that were made at a time, in seconds, or later.
func (far *trusting) since(seconds int64) {
	t := far.of.t
	t.Helper()
	home := sandboxtest.RESTConfig(t, far.of.Cluster)
	config, err := json.Marshal(map[string]any{
		"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
		"jwt": []any{map[string]any{
			"issuer": map[string]any{"url": issuer, "discoveryURL": home.Host + "/.well-known/openid-configuration",
				"certificateAuthority": string(home.CAData), "audiences": []string{"far"}},
			"claimValidationRules": []any{map[string]any{"expression": fmt.Sprintf("claims.iat >= %d", seconds), "message": "it was withdrawn"}},
			"claimMappings":        map[string]any{"username": map[string]any{"claim": "sub", "prefix": "home:"}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(far.file, config, 0o600); err != nil {
		t.Fatal(err)
	}
}

// token is one of the service account that Plumb uses, made now.
func (far *trusting) token() string {
	t := far.of.t
	t.Helper()
	token, err := far.of.core.CoreV1().ServiceAccounts("team").CreateToken(t.Context(), "deployer",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"far"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

// takes reports whether a token opens it.
func (far *trusting) takes(ctx context.Context, token string) (bool, error) {
	config := rest.AnonymousClientConfig(sandboxtest.RESTConfig(far.t, far.Cluster))
	config.BearerToken = token
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return false, err
	}
	_, err = client.CoreV1().Namespaces().Get(ctx, delivered, metav1.GetOptions{})
	if apierrors.IsUnauthorized(err) {
		return false, nil
	}
	return err == nil, err
}

// configMap makes or replaces one in the home cluster.
func (w *world) configMap(namespace, name string, data map[string]string) {
	w.t.Helper()
	maps := w.home.core.CoreV1().ConfigMaps(namespace)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
	_, err := maps.Create(w.t.Context(), cm, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = maps.Update(w.t.Context(), cm, metav1.UpdateOptions{})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) serviceAccount(namespace, name string) {
	w.t.Helper()
	if _, err := w.home.core.CoreV1().ServiceAccounts(namespace).Create(w.t.Context(),
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// TestTokens: a cluster that trusts the tokens of the home cluster is delivered
// to without any credentials that somebody keeps. What is missing is told, and
// noticed when it comes. A token that is refused is replaced, and nothing that
// was watched is watched anew.
func TestTokens(t *testing.T) {
	w := beginIn(startClusterWith(t, sandbox.Options{Issuer: issuer}))
	far := startTrusting(t, w.home)
	chart := func(value string) {
		w.repo.Write(map[string]string{
			"chart/Chart.yaml":        "apiVersion: v2\nname: web\nversion: 1.0.0\n",
			"chart/values.yaml":       "value: \"" + value + "\"\n",
			"chart/templates/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {value: {{ .Values.value | quote }}}\n",
		})
	}
	chart("0")
	w.commit("0", "ks")
	w.source("team")
	w.create(`{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: ks, namespace: team},
		spec: {interval: 1h, retryInterval: 1h, prune: true, path: ks, targetNamespace: ` + delivered + `, sourceRef: {kind: GitRepository, name: fleet}, kubeConfig: {configMapRef: {name: far}}}}`)
	w.create(`{apiVersion: helm.toolkit.fluxcd.io/v2, kind: HelmRelease, metadata: {name: web, namespace: team},
		spec: {interval: 1h, releaseName: web, targetNamespace: ` + delivered + `, storageNamespace: ` + delivered + `, kubeConfig: {configMapRef: {name: far}},
		chart: {spec: {chart: ./chart, reconcileStrategy: Revision, sourceRef: {kind: GitRepository, name: fleet}}}}}`)
	say := func(status, words string) {
		t.Helper()
		w.says("team", "ks", status, words)
		w.resourceSays(helmReleases, "team", "web", status, words)
	}
	holds := func(value string) {
		t.Helper()
		far.holds("ks", value)
		far.holds("web", value)
		say("True", "")
	}
	say("False", "unable to read KubeConfig ConfigMap 'team/far': it does not exist")

	there := sandboxtest.RESTConfig(t, far.Cluster)
	way := map[string]string{"provider": "generic", "address": there.Host, "ca.crt": string(there.CAData), "audiences": "far\n", "serviceAccountName": "deployer"}
	with := func(key, value string) map[string]string {
		out := map[string]string{}
		for k, v := range way {
			out[k] = v
		}
		out[key] = value
		return out
	}
	w.configMap("team", "far", way)
	say("False", "ServiceAccount 'team/deployer'")
	w.serviceAccount("team", "deployer")
	holds("0")

	w.configMap("team", "far", with("provider", "aws"))
	say("False", "provider aws is not supported yet")
	w.configMap("team", "far", with("serviceAccountName", "")) // the engine of the test is an administrator
	say("False", "which is none")
	w.configMap("team", "far", with("audiences", "elsewhere"))
	say("False", "Unauthorized")
	w.configMap("team", "far", way)
	say("True", "")
	diff := exec.Command(w.home.options.Executable, "diff", "ks/team/ks", "--kubeconfig", w.home.Kubeconfig)
	if out, err := diff.CombinedOutput(); err != nil {
		t.Errorf("plumb diff: %v\n%s", err, out)
	}

	// A key that nothing reads is told of, and no reason to connect anew.
	warned := func(want bool) {
		t.Helper()
		for name, resource := range map[string]schema.GroupVersionResource{"ks": kustomizations, "web": helmReleases} {
			sandboxtest.Eventually(t, func(ctx context.Context) error {
				u, err := w.dynamic.Resource(resource).Namespace("team").Get(ctx, name, metav1.GetOptions{})
				if err != nil {
					return err
				}
				warnings, _, _ := unstructured.NestedStringSlice(u.Object, "status", "plumb", "warnings")
				if is := slices.Contains(warnings, "data.serviceAcountName of KubeConfig ConfigMap 'team/far': unknown field, ignored"); is != want {
					return fmt.Errorf("%s: warnings %q", name, warnings)
				}
				return nil
			})
		}
	}
	w.configMap("team", "far", with("serviceAcountName", "other"))
	warned(true)
	say("True", "")
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		events, err := w.home.core.CoreV1().Events("team").List(ctx, metav1.ListOptions{FieldSelector: "reason=UnknownField"})
		if err == nil && len(events.Items) != 2 {
			err = fmt.Errorf("%d events UnknownField, want one for each app", len(events.Items))
		}
		return err
	})
	w.configMap("team", "far", way)
	warned(false)

	// All tokens there are count no more.
	begun := func() map[string]int {
		t.Helper()
		out := map[string]int{}
		for _, r := range far.requests(func(r request) bool {
			return r.Stage == "ResponseStarted" && r.Verb == "watch" && strings.Contains(r.RequestURI, "sendInitialEvents=true")
		}) {
			path, _, _ := strings.Cut(r.RequestURI, "?")
			out[path]++
		}
		return out
	}
	watches := begun()
	old, made := far.token(), time.Now()
	far.since(made.Unix() + 1)
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		if took, err := far.takes(ctx, old); err != nil || took {
			return fmt.Errorf("a token that was withdrawn is taken: %v", err)
		}
		if took, err := far.takes(ctx, far.token()); err != nil || !took {
			return fmt.Errorf("one that was not is refused: %v", err)
		}
		if time.Since(made) < 12*time.Second {
			return fmt.Errorf("the engine's token is so young that it keeps it")
		}
		return nil
	})
	refused := func() int {
		t.Helper()
		return len(far.requests(func(r request) bool { return r.ResponseStatus.Code == 401 }))
	}
	before := refused()
	chart("1")
	w.commit("1", "ks")
	holds("1")
	if n := refused(); n == before {
		t.Error("nothing of the engine's was refused: the test shows nothing")
	}
	now := begun()
	for _, kind := range []string{"namespaces", "configmaps"} {
		if path := "/api/v1/" + kind; watches[path] == 0 || now[path] != watches[path] {
			t.Errorf("watches of %s were begun %d times before the tokens were withdrawn, and %d times now", kind, watches[path], now[path])
		}
	}

	// Without the account nothing is done; with another of the name it goes on.
	accounts := w.home.core.CoreV1().ServiceAccounts("team")
	if err := accounts.Delete(t.Context(), "deployer", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	say("False", "ServiceAccount 'team/deployer'")
	w.serviceAccount("team", "deployer")
	chart("2")
	w.commit("2", "ks")
	holds("2")

	// What it delivered goes with the Kustomization, and with the HelmRelease.
	for name, resource := range map[string]schema.GroupVersionResource{"ks": kustomizations, "web": helmReleases} {
		if err := w.dynamic.Resource(resource).Namespace("team").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		far.holds(name, "")
	}
	w.showsNo(strings.Split(old, ".")[0], strings.Split(old, ".")[1][:16])
	if strings.Contains(w.logged(), "does not answer") {
		t.Error("a cluster that refused a token is said to be away")
	}
}
