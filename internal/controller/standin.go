package controller

import (
	"plumb.dev/plumb/api"
	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
)

// newStandIn is whose place Plumb takes in the cluster that it serves.
func newStandIn() *app.StandIn {
	s := &app.StandIn{Idle: flux.Replaced(), Definitions: map[string]bool{}, OwnLabel: api.OwnLabel, OwnValue: api.OwnValue}
	for _, name := range api.Names() {
		s.Definitions[name] = true
	}
	return s
}

// standIn adds that to an app which goes there. In other clusters, the tools
// that Plumb replaces may well run.
func (c *Controller) standIn(spec app.Spec) app.Spec {
	if spec.Target.Cluster == "" {
		spec.StandIn = c.inPlaceOf
	}
	return spec
}
