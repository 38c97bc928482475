package fluxcli

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	cliobject "github.com/fluxcd/cli-utils/pkg/object"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"
)

// built makes of what kustomize built what `flux build kustomization` prints:
// with variables replaced, and the labels of the Kustomization.
func (c *client) built(name, text string, variables map[string]string) ([]*unstructured.Unstructured, error) {
	if _, _, err := c.get(kustomization(), name); err != nil {
		return nil, fmt.Errorf("failed to get kustomization object: %w", err)
	}
	for key, value := range variables {
		text = strings.ReplaceAll(text, "${"+key+"}", value)
	}
	var out []*unstructured.Unstructured
	for _, doc := range strings.Split(text, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			return nil, err
		}
		labels := maps.Clone(u.GetLabels())
		if labels == nil {
			labels = map[string]string{}
		}
		labels["kustomize.toolkit.fluxcd.io/name"] = name
		labels["kustomize.toolkit.fluxcd.io/namespace"] = c.namespace
		u.SetLabels(labels)
		if plain, ok := u.Object["stringData"].(map[string]any); ok { // as the command prepares it
			data := map[string]any{}
			for key, value := range plain {
				data[key] = base64.StdEncoding.EncodeToString([]byte(value.(string)))
			}
			delete(u.Object, "stringData")
			u.Object["data"] = data
		}
		out = append(out, u)
	}
	return out, nil
}

// diff is `flux diff kustomization`: a dry run of applying what was built, as
// the field manager of Flux. changed is the exit code 1.
func (c *client) diff(name string, objects []*unstructured.Unstructured) (changed bool, err error) {
	o, _, err := c.get(kustomization(), name)
	if err != nil {
		return false, err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.core.Discovery()))
	var built []string
	for _, u := range objects {
		gvk := u.GroupVersionKind()
		mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			return changed, err
		}
		if mapping.Scope.Name() == apimeta.RESTScopeNameRoot {
			u.SetNamespace("")
		}
		built = append(built, cliobject.UnstructuredToObjMetadata(u).String())
		subject := strings.Join(slices.DeleteFunc([]string{u.GetKind(), u.GetNamespace(), u.GetName()}, func(s string) bool { return s == "" }), "/")
		resource := c.dynamic.Resource(mapping.Resource).Namespace(u.GetNamespace())
		live, err := resource.Get(c.t.Context(), u.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			c.printf("► %s created", subject)
			changed = true
			continue
		}
		if err != nil {
			return changed, err
		}
		data, err := json.Marshal(u)
		if err != nil {
			return changed, err
		}
		force := true
		merged, err := resource.Patch(c.t.Context(), u.GetName(), types.ApplyPatchType, data,
			metav1.PatchOptions{FieldManager: "kustomize-controller", Force: &force, DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return changed, err
		}
		if !same(live, merged) {
			c.printf("► %s drifted", subject)
			changed = true
		}
	}
	k := o.(*kustomizev1.Kustomization)
	if k.Spec.Prune && k.Status.Inventory != nil {
		for _, entry := range k.Status.Inventory.Entries {
			if !slices.Contains(built, entry.ID) {
				id, err := cliobject.ParseObjMetadata(entry.ID)
				if err != nil {
					return changed, err
				}
				c.printf("► %s/%s/%s deleted", id.GroupKind.Kind, id.Namespace, id.Name)
			}
		}
	}
	return changed, nil
}

// same compares labels, annotations, and all but metadata and status.
func same(a, b *unstructured.Unstructured) bool {
	content := func(u *unstructured.Unstructured) map[string]any {
		out := maps.Clone(u.Object)
		delete(out, "metadata")
		delete(out, "status")
		return out
	}
	return reflect.DeepEqual(a.GetLabels(), b.GetLabels()) && reflect.DeepEqual(a.GetAnnotations(), b.GetAnnotations()) && reflect.DeepEqual(content(a), content(b))
}
