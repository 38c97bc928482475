package fluxcli

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	cliobject "github.com/fluxcd/cli-utils/pkg/object"
	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"
)

// released are the objects of a HelmRelease, as `flux tree` finds them: in the
// Secret where Helm keeps the release, and the definitions that came along.
func (c *client) released(name string) ([]cliobject.ObjMetadata, error) {
	o, _, err := c.get(helmRelease(), name)
	if err != nil {
		return nil, err
	}
	hr := o.(*helmv2.HelmRelease)
	latest := hr.Status.History.Latest()
	if hr.Spec.KubeConfig != nil || latest == nil {
		return nil, nil
	}
	secret, err := c.core.CoreV1().Secrets(hr.Status.StorageNamespace).Get(c.t.Context(), fmt.Sprintf("sh.helm.release.v1.%s.v%d", latest.Name, latest.Version), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	manifest, err := manifestOf(secret.Data["release"])
	if err != nil {
		return nil, fmt.Errorf("the release in Secret %s: %w", secret.Name, err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.core.Discovery()))
	var out []cliobject.ObjMetadata
	for _, doc := range strings.Split(manifest, "\n---") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			return nil, err
		}
		if u.GetKind() == "" {
			continue
		}
		mapping, err := mapper.RESTMapping(u.GroupVersionKind().GroupKind())
		if err != nil {
			return nil, err
		}
		if u.GetNamespace() == "" && mapping.Scope.Name() == apimeta.RESTScopeNameNamespace {
			u.SetNamespace(latest.Namespace)
		}
		out = append(out, cliobject.UnstructuredToObjMetadata(u))
	}
	if hr.GetInstall().CRDs != helmv2.Skip || hr.GetUpgrade().CRDs != helmv2.Skip {
		list, err := c.dynamic.Resource(definitions()).List(c.t.Context(), metav1.ListOptions{
			LabelSelector: fmt.Sprintf("helm.toolkit.fluxcd.io/name=%s,helm.toolkit.fluxcd.io/namespace=%s", hr.Name, hr.Namespace)})
		if err != nil {
			return nil, err
		}
		for _, crd := range list.Items {
			if id := cliobject.UnstructuredToObjMetadata(&crd); !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	return out, nil
}

// manifestOf reads what Helm wrote: base64 of zipped JSON.
func manifestOf(release []byte) (string, error) {
	data, err := base64.StdEncoding.DecodeString(string(release))
	if err != nil {
		return "", err
	}
	zipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	defer zipped.Close()
	if data, err = io.ReadAll(zipped); err != nil {
		return "", err
	}
	var stored struct {
		Manifest string `json:"manifest"`
	}
	err = json.Unmarshal(data, &stored)
	return stored.Manifest, err
}
