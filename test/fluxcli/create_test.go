package fluxcli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/sandbox/chartserver"
	"plumb.dev/plumb/internal/sandbox/gitserver"
	"plumb.dev/plumb/internal/sandbox/ociserver"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// create is what `flux create` does with an object that it made: create it, or
// bring its labels and spec up to date, and wait.
func (c *client) create(k kind, o object, apiVersion string) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal(data, &u.Object); err != nil {
		return err
	}
	delete(u.Object, "status")
	u.SetAPIVersion(apiVersion)
	u.SetKind(k.name)
	c.printf("✚ generating %s", k.human)
	c.printf("► applying %s", k.human)
	done := "created"
	resources := c.dynamic.Resource(k.resource).Namespace(c.namespace)
	live, err := resources.Get(c.t.Context(), o.GetName(), metav1.GetOptions{})
	switch {
	case err == nil:
		done = "updated"
		live.SetLabels(u.GetLabels())
		live.Object["spec"] = u.Object["spec"]
		_, err = resources.Update(c.t.Context(), live, metav1.UpdateOptions{})
	case apierrors.IsNotFound(err):
		_, err = resources.Create(c.t.Context(), u, metav1.CreateOptions{})
	}
	if err != nil {
		return err
	}
	c.printf("✔ %s %s", k.human, done)
	c.printf("◎ waiting for %s reconciliation", k.human)
	if k.static != nil {
		if _, static := k.static(o); static { // it only has to be there
			_, _, err := c.get(k, o.GetName())
			c.printf("✔ %s %s is ready", k.human, o.GetName())
			return err
		}
	}
	ready, err := c.poll(k, o.GetName(), objectReady(k))
	if err != nil {
		return err
	}
	c.printf("✔ %s %s is ready", k.human, o.GetName())
	c.printf("✔ %s", k.success(ready))
	return nil
}

// createSecret is `flux create secret …`, and what `flux create source` does with
// credentials that it is given.
func (c *client) createSecret(name string, kind corev1.SecretType, data map[string]string) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.namespace}, Type: kind, StringData: data}
	_, err := c.core.CoreV1().Secrets(c.namespace).Create(c.t.Context(), secret, metav1.CreateOptions{})
	return err
}

// own are servers that ask who is there.
type own struct {
	git, charts, registry string // addresses; the last without a scheme
	authority             string // of the certificate of the registry
	head                  string // of the repository
}

const user, password = "ada", "letmein-77"

func (w *world) own(t *testing.T) own {
	t.Helper()
	dir := t.TempDir()
	repo := sandboxtest.NewRepo(t, sandboxtest.GitWith(t, gitserver.Options{Dir: dir}), "own")
	repo.Write(map[string]string{"cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own, namespace: shop}\n"}).Push("one")
	private := sandboxtest.GitWith(t, gitserver.Options{Dir: dir, Username: user, Password: password})

	charts, err := chartserver.New(chartserver.Options{Dir: t.TempDir(), Username: user, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(charts.Close)
	chart := fstest.MapFS{
		"Chart.yaml":        {Data: []byte("apiVersion: v2\nname: own\nversion: 1.0.0\n")},
		"templates/cm.yaml": {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}'}\n")},
	}
	from := filepath.Join(t.TempDir(), "own")
	if err := os.CopyFS(from, chart); err != nil {
		t.Fatal(err)
	}
	if _, err := charts.Publish(from, ""); err != nil {
		t.Fatal(err)
	}

	registry := ociserver.New()
	server := httptest.NewTLSServer(registry)
	t.Cleanup(server.Close)
	host := ociserver.Host(server.URL)
	layer, err := ociserver.Archive(fstest.MapFS{"cm.yaml": {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: of-registry, namespace: shop}\n")}})
	if err != nil {
		t.Fatal(err)
	}
	push := ociserver.Client{Transport: server.Client().Transport}
	if _, err := push.Push(t.Context(), host+"/own:v1", ociserver.Artifact{Layers: []ociserver.Layer{{Data: layer}}}); err != nil {
		t.Fatal(err)
	}
	registry.Private(user, password)
	return own{git: private.RepoURL("own"), charts: charts.URL, registry: host,
		authority: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})),
		head:      "main@sha1:" + repo.Git("rev-parse", "HEAD")}
}

// create of every kind, with the Secrets that the command makes for them; what
// is there already is brought up to date, and delete takes it away.
func testCreateAll(t *testing.T, w *world, c *client) {
	o := w.own(t)
	docker, err := json.Marshal(map[string]any{"auths": map[string]any{o.registry: map[string]any{
		"username": user, "password": password, "auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		name string
		kind corev1.SecretType
		data map[string]string
	}{
		{"own-git", corev1.SecretTypeOpaque, map[string]string{"username": user, "password": password}},
		{"own-helm", corev1.SecretTypeOpaque, map[string]string{"username": user, "password": password}},
		{"own-oci", corev1.SecretTypeDockerConfigJson, map[string]string{".dockerconfigjson": string(docker)}},
		{"own-tls", corev1.SecretTypeOpaque, map[string]string{"ca.crt": o.authority}},
		{"bucket-made", corev1.SecretTypeOpaque, map[string]string{"accesskey": w.store.AccessKey, "secretkey": w.store.SecretKey}},
	} {
		if err := c.createSecret(s.name, s.kind, s.data); err != nil {
			t.Fatal(err)
		}
	}
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: "flux-system", Labels: map[string]string{"team": "shop"}}
	}
	ref := func(name string) *fluxmeta.LocalObjectReference { return &fluxmeta.LocalObjectReference{Name: name} }
	minute := metav1.Duration{Duration: time.Minute}
	ks := func(name, kind string) *kustomizev1.Kustomization {
		return &kustomizev1.Kustomization{ObjectMeta: meta(name), Spec: kustomizev1.KustomizationSpec{Interval: minute, Path: "./", Prune: true,
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: kind, Name: "made"}}}
	}
	made := []struct {
		kind     kind
		object   object
		version  string
		revision string // or how it begins
	}{
		{gitRepository(), &sourcev1.GitRepository{ObjectMeta: meta("made"), Spec: sourcev1.GitRepositorySpec{URL: o.git, Interval: minute,
			Reference: &sourcev1.GitRepositoryRef{Branch: "main"}, SecretRef: ref("own-git")}}, "source.toolkit.fluxcd.io/v1", o.head},
		{ociRepository(), &sourcev1.OCIRepository{ObjectMeta: meta("made"), Spec: sourcev1.OCIRepositorySpec{URL: "oci://" + o.registry + "/own", Interval: minute,
			Reference: &sourcev1.OCIRepositoryRef{Tag: "v1"}, SecretRef: ref("own-oci"), CertSecretRef: ref("own-tls")}}, "source.toolkit.fluxcd.io/v1", "v1@sha256:"},
		{helmRepository(), &sourcev1.HelmRepository{ObjectMeta: meta("made"), Spec: sourcev1.HelmRepositorySpec{URL: o.charts, Interval: minute,
			SecretRef: ref("own-helm")}}, "source.toolkit.fluxcd.io/v1", "sha256:"},
		{helmRepository(), &sourcev1.HelmRepository{ObjectMeta: meta("made-oci"), Spec: sourcev1.HelmRepositorySpec{URL: "oci://" + o.registry + "/charts", Interval: minute,
			Type: sourcev1.HelmRepositoryTypeOCI}}, "source.toolkit.fluxcd.io/v1", ""},
		{bucket(), &sourcev1.Bucket{ObjectMeta: meta("made"), Spec: sourcev1.BucketSpec{BucketName: "store", Endpoint: w.store.Endpoint, Insecure: true, Interval: minute,
			SecretRef: ref("bucket-made")}}, "source.toolkit.fluxcd.io/v1", "sha256:"},
		{helmChart(), &sourcev1.HelmChart{ObjectMeta: meta("made"), Spec: sourcev1.HelmChartSpec{Chart: "own", Version: "1.x", Interval: minute,
			SourceRef: sourcev1.LocalHelmChartSourceReference{Kind: sourcev1.HelmRepositoryKind, Name: "made"}}}, "source.toolkit.fluxcd.io/v1", "1.0.0"},
		{kustomization(), ks("made", sourcev1.GitRepositoryKind), "kustomize.toolkit.fluxcd.io/v1", o.head},
		{kustomization(), ks("made-oci", sourcev1.OCIRepositoryKind), "kustomize.toolkit.fluxcd.io/v1", "v1@sha256:"},
		{helmRelease(), &helmv2.HelmRelease{ObjectMeta: meta("made"), Spec: helmv2.HelmReleaseSpec{Interval: minute, ReleaseName: "made", TargetNamespace: "shop",
			Chart: &helmv2.HelmChartTemplate{Spec: helmv2.HelmChartTemplateSpec{Chart: "own", Version: "1.0.0",
				SourceRef: helmv2.CrossNamespaceObjectReference{Kind: sourcev1.HelmRepositoryKind, Name: "made"}}}}}, "helm.toolkit.fluxcd.io/v2", "1.0.0"},
	}
	for _, m := range made {
		name := m.object.GetName()
		for _, done := range []string{"created", "updated"} {
			if err := c.create(m.kind, m.object, m.version); err != nil {
				t.Fatalf("%s %s: %v\n%s", m.kind.name, name, err, w.logged())
			}
			want := fmt.Sprintf("✚ generating %[1]s\n► applying %[1]s\n✔ %[1]s %[2]s\n◎ waiting for %[1]s reconciliation\n✔ %[1]s %[3]s is ready\n", m.kind.human, done, name)
			if m.revision == "" { // its default status is taken off; the command does not wait for that
				if _, err := c.poll(m.kind, name, func(o object, _ *status.Result) (bool, error) { return m.kind.observed(o) == 0, nil }); err != nil {
					t.Fatal(err)
				}
			} else {
				verb := "applied"
				if m.kind.source {
					verb = "fetched"
				}
				want += "✔ " + verb + " revision " + m.revision
			}
			if got := c.printed(); !strings.HasPrefix(got, want) {
				t.Errorf("printed\n%s\nwanted\n%s", got, want)
			}
		}
		text, err := c.export(m.kind, name)
		if err != nil {
			t.Error(err)
		}
		w.apply(text, "--force-conflicts")
	}
	for _, cm := range []string{"own", "of-registry", "made"} {
		w.run("get", "configmap", cm, "-n", "shop")
	}
	for i := len(made) - 1; i >= 0; i-- {
		name := made[i].object.GetName()
		if err := c.remove(made[i].kind, name); err != nil {
			t.Error(err)
		}
		is(t, c.printed(), fmt.Sprintf("► deleting %[1]s %[2]s in flux-system namespace\n✔ %[1]s deleted", made[i].kind.human, name))
	}
	sandboxtest.Eventually(t, func(context.Context) error {
		var there []error
		for _, m := range made {
			if _, _, err := c.get(m.kind, m.object.GetName()); !apierrors.IsNotFound(err) {
				there = append(there, fmt.Errorf("%s %s is still there: %v", m.kind.name, m.object.GetName(), err))
			}
		}
		if _, _, err := c.get(helmChart(), "flux-system-made"); !apierrors.IsNotFound(err) {
			there = append(there, fmt.Errorf("the HelmChart of the release is still there: %v", err))
		}
		for _, cm := range []string{"own", "of-registry", "made"} {
			if _, err := c.core.CoreV1().ConfigMaps("shop").Get(t.Context(), cm, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				there = append(there, fmt.Errorf("%s, which was delivered, is still there: %v", cm, err))
			}
		}
		return errors.Join(there...)
	})
}
