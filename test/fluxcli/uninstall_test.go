package fluxcli

import (
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// uninstall is `flux uninstall --silent --keep-namespace`.
func (c *client) uninstall() error {
	resource := func(group, version, name string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: group, Version: version, Resource: name}
	}
	c.printf("► deleting components in %s namespace", c.namespace)
	for _, r := range []struct {
		kind      string
		resource  schema.GroupVersionResource
		namespace string
	}{
		{"Deployment", resource("apps", "v1", "deployments"), c.namespace},
		{"Service", resource("", "v1", "services"), c.namespace},
		{"NetworkPolicy", resource("networking.k8s.io", "v1", "networkpolicies"), c.namespace},
		{"ServiceAccount", resource("", "v1", "serviceaccounts"), c.namespace},
		{"ClusterRole", resource("rbac.authorization.k8s.io", "v1", "clusterroles"), ""},
		{"ClusterRoleBinding", resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings"), ""},
	} {
		if err := c.deleteAll(r.kind, r.resource, r.namespace); err != nil {
			return err
		}
	}
	c.printf("► deleting toolkit.fluxcd.io finalizers in all namespaces")
	for _, k := range kinds() {
		if err := c.dropFinalizers(k); err != nil {
			return err
		}
	}
	c.printf("► deleting toolkit.fluxcd.io custom resource definitions")
	if err := c.deleteAll("CustomResourceDefinition", definitions(), ""); err != nil {
		return err
	}
	c.printf("✔ uninstall finished")
	return nil
}

func (c *client) deleteAll(kind string, resource schema.GroupVersionResource, namespace string) error {
	list, err := c.dynamic.Resource(resource).Namespace(namespace).List(c.t.Context(), metav1.ListOptions{LabelSelector: partOf})
	if err != nil {
		return err
	}
	for _, u := range list.Items {
		if err := c.dynamic.Resource(resource).Namespace(namespace).Delete(c.t.Context(), u.GetName(), metav1.DeleteOptions{}); err != nil {
			return err
		}
		name := u.GetName()
		if namespace != "" {
			name = namespace + "/" + name
		}
		c.printf("✔ %s/%s deleted", kind, name)
	}
	return nil
}

// dropFinalizers writes the objects back as the types of the command hold them,
// without finalizers.
func (c *client) dropFinalizers(k kind) error {
	objects, err := c.list(k, "", metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, o := range objects {
		o.SetFinalizers(nil)
		data, err := json.Marshal(o)
		if err != nil {
			return err
		}
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(data); err != nil {
			return err
		}
		_, err = c.dynamic.Resource(k.resource).Namespace(o.GetNamespace()).Update(c.t.Context(), u, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			c.printf("✗ %s/%s/%s removing finalizers failed", k.name, o.GetNamespace(), o.GetName())
			continue
		}
		if err != nil {
			return fmt.Errorf("%s/%s/%s removing finalizers failed: %w", k.name, o.GetNamespace(), o.GetName(), err)
		}
		c.printf("✔ %s/%s/%s finalizers deleted", k.name, o.GetNamespace(), o.GetName())
	}
	return nil
}
