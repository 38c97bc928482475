package controller

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// FluxResource is what the metrics of Flux tell of a custom resource.
type FluxResource struct {
	Kind, Namespace, Name string
	Suspended             bool
	Conditions            map[string]string // status by type
}

// FluxResources lists the resources of Flux' kinds that this replica works on.
func (c *Controller) FluxResources() []FluxResource {
	kinds := map[string]string{} // by group and resource
	for _, d := range c.divided() {
		if strings.HasSuffix(d.resource.Group, ".fluxcd.io") {
			kinds[d.resource.GroupResource().String()] = d.kind
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []FluxResource
	for key, u := range c.latest {
		kind := kinds[key.resource.GroupResource().String()]
		if kind == "" || !c.share.Owns(shareKey(kind, key.namespace, key.name)) {
			continue
		}
		suspended, _, _ := unstructured.NestedBool(u.Object, "spec", "suspend")
		out = append(out, FluxResource{Kind: kind, Namespace: key.namespace, Name: key.name, Suspended: suspended, Conditions: conditionsOf(u)})
	}
	return out
}

func conditionsOf(u *unstructured.Unstructured) map[string]string {
	out := map[string]string{}
	list, _ := statusOf(u)["conditions"].([]any)
	for _, item := range list {
		if cond, ok := item.(map[string]any); ok {
			kind, _ := cond["type"].(string)
			status, _ := cond["status"].(string)
			out[kind] = status
		}
	}
	return out
}
