package fluxcli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// partOf selects what belongs to an installation.
const partOf = "app.kubernetes.io/part-of=flux"

func definitions() schema.GroupVersionResource {
	return apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")
}

func (c *client) crds() ([]apiextensionsv1.CustomResourceDefinition, error) {
	list, err := c.dynamic.Resource(definitions()).List(c.t.Context(), metav1.ListOptions{LabelSelector: partOf})
	if err != nil {
		return nil, err
	}
	var out apiextensionsv1.CustomResourceDefinitionList
	err = runtime.DefaultUnstructuredConverter.FromUnstructured(list.UnstructuredContent(), &out)
	return out.Items, err
}

// distribution is what the labels of one definition say of the installation.
func (c *client) distribution() (name string, bootstrapped bool, err error) {
	crd, err := c.dynamic.Resource(definitions()).Get(c.t.Context(), "gitrepositories.source.toolkit.fluxcd.io", metav1.GetOptions{})
	if err != nil {
		return "", false, err
	}
	l := crd.GetLabels()
	_, bootstrapped = l["kustomize.toolkit.fluxcd.io/namespace"]
	return l["app.kubernetes.io/part-of"] + "-" + l["app.kubernetes.io/version"], bootstrapped, nil
}

// check is `flux check`.
func (c *client) check() error {
	ok := true
	entry := func(good bool, format string, args ...any) {
		mark := "✔"
		if !good {
			mark, ok = "✗", false
		}
		c.printf(mark+" "+format, args...)
	}
	c.printf("► checking prerequisites")
	served, err := c.core.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	constraint, err := semver.NewConstraint(">=1.33.0-0")
	if err != nil {
		return err
	}
	version, err := semver.NewVersion(served.String())
	if err != nil {
		return fmt.Errorf("error parsing kubernetes version: %w", err)
	}
	entry(constraint.Check(version), "Kubernetes %s >=1.33.0-0", version)

	c.printf("► checking version in cluster")
	distribution, bootstrapped, err := c.distribution()
	if err != nil {
		return err
	}
	entry(true, "distribution: %s", distribution)
	entry(true, "bootstrapped: %t", bootstrapped)

	c.printf("► checking controllers")
	deployments, err := c.deployments()
	if err != nil {
		return err
	}
	if len(deployments) == 0 {
		entry(false, "no controllers found in the '%s' namespace with the label selector '%s'", c.namespace, partOf)
	}
	for _, d := range deployments {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&d)
		if err != nil {
			return err
		}
		content["apiVersion"], content["kind"] = "apps/v1", "Deployment"
		result, err := status.Compute(&unstructured.Unstructured{Object: content})
		if err != nil {
			return err
		}
		entry(result.Status == status.CurrentStatus, "%s: deployment %s", d.Name, map[bool]string{true: "ready", false: result.Message}[result.Status == status.CurrentStatus])
		for _, container := range d.Spec.Template.Spec.Containers {
			c.printf("► %s", container.Image)
		}
	}

	c.printf("► checking crds")
	crds, err := c.crds()
	if err != nil {
		return err
	}
	if len(crds) == 0 {
		entry(false, "no crds found with the label selector '%s'", partOf)
	}
	for _, crd := range crds {
		if n := len(crd.Status.StoredVersions); n > 0 {
			entry(true, "%s/%s", crd.Name, crd.Status.StoredVersions[n-1])
		} else {
			entry(false, "no stored versions for %s", crd.Name)
		}
	}
	if !ok {
		return errors.New("check failed")
	}
	c.printf("✔ all checks passed")
	return nil
}

func (c *client) deployments() ([]appsv1.Deployment, error) {
	list, err := c.core.AppsV1().Deployments(c.namespace).List(c.t.Context(), metav1.ListOptions{LabelSelector: partOf})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// version is `flux version`.
func (c *client) version() error {
	distribution, _, err := c.distribution()
	if err != nil {
		return err
	}
	c.printf("distribution: %s", distribution)
	deployments, err := c.deployments()
	if err != nil {
		return err
	}
	if len(deployments) == 0 {
		return fmt.Errorf("no deployments found in %s namespace", c.namespace)
	}
	for _, d := range deployments {
		for _, container := range d.Spec.Template.Spec.Containers {
			name, tag, found := strings.Cut(container.Image[strings.LastIndex(container.Image, "/")+1:], ":")
			if !found {
				return fmt.Errorf("missing image tag in image %s", container.Image)
			}
			c.printf("%s: %s", name, tag)
		}
	}
	return nil
}

// logPods are the pods whose logs `flux logs` reads: one of each Deployment.
func (c *client) logPods() ([]corev1.Pod, error) {
	deployments, err := c.deployments()
	if err != nil {
		return nil, err
	}
	var out []corev1.Pod
	for _, d := range deployments {
		pods, err := c.core.CoreV1().Pods(c.namespace).List(c.t.Context(), metav1.ListOptions{LabelSelector: labels.SelectorFromSet(d.Spec.Template.Labels).String()})
		if err != nil {
			return nil, err
		}
		if len(pods.Items) > 0 {
			out = append(out, pods.Items[0])
		}
	}
	return out, nil
}

// migrate is `flux migrate`: every object is written once in the version that
// is stored, and that alone is then on record.
func (c *client) migrate() error {
	crds, err := c.crds()
	if err != nil {
		return err
	}
	for _, crd := range crds {
		storage := ""
		for _, v := range crd.Spec.Versions {
			if v.Storage {
				storage = v.Name
			}
		}
		resource := schema.GroupVersionResource{Group: crd.Spec.Group, Version: storage, Resource: crd.Spec.Names.Plural}
		list, err := c.dynamic.Resource(resource).List(c.t.Context(), metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("failed to list resources for CRD %s: %w", crd.Name, err)
		}
		for _, item := range list.Items {
			if err := c.rewrite(resource, &item); err != nil {
				return fmt.Errorf("%s/%s/%s failed to migrate: %w", item.GetKind(), item.GetNamespace(), item.GetName(), err)
			}
			c.printf("✔ %s/%s/%s migrated to version %s", item.GetKind(), item.GetNamespace(), item.GetName(), storage)
		}
		if len(crd.Status.StoredVersions) != 1 || crd.Status.StoredVersions[0] != storage {
			patch := fmt.Sprintf(`{"metadata":{"resourceVersion":%q},"status":{"storedVersions":[%q]}}`, crd.ResourceVersion, storage)
			if _, err := c.dynamic.Resource(definitions()).Patch(c.t.Context(), crd.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
				return err
			}
			c.printf("✔ %s migrated to storage version %s", crd.Name, storage)
		}
	}
	return nil
}

// rewrite brings an object, and what is recorded of its managers, to a version.
func (c *client) rewrite(resource schema.GroupVersionResource, u *unstructured.Unstructured) error {
	wanted := resource.GroupVersion().String()
	entries, changed := u.GetManagedFields(), false
	for i := range entries {
		if entries[i].APIVersion != wanted && strings.HasPrefix(entries[i].APIVersion, resource.Group+"/") {
			entries[i].APIVersion, changed = wanted, true
		}
	}
	kind, patch := types.MergePatchType, []byte(`{}`)
	if changed {
		u.SetManagedFields(entries)
		value, err := json.Marshal(u.Object["metadata"].(map[string]any)["managedFields"])
		if err != nil {
			return err
		}
		kind = types.JSONPatchType
		patch = fmt.Appendf(nil, `[{"op":"replace","path":"/metadata/managedFields","value":%s},{"op":"replace","path":"/metadata/resourceVersion","value":%q}]`, value, u.GetResourceVersion())
	}
	_, err := c.dynamic.Resource(resource).Namespace(u.GetNamespace()).Patch(c.t.Context(), u.GetName(), kind, patch, metav1.PatchOptions{})
	return err
}
