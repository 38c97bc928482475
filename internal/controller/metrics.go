package controller

import "strings"

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
	for key, k := range c.latest {
		kind := kinds[key.resource.GroupResource().String()]
		if kind == "" || !c.share.Owns(shareKey(kind, key.namespace, key.name)) {
			continue
		}
		out = append(out, FluxResource{Kind: kind, Namespace: key.namespace, Name: key.name, Suspended: k.suspended(), Conditions: k.conditions()})
	}
	return out
}
