package app

import "slices"

// StandIn says whose place Plumb takes in the cluster that it serves. Git may
// still hold the tool that Plumb has taken over from: delivering that to the
// letter would start it beside Plumb, and put its definitions of the custom
// resources in the place of Plumb's, which hold more.
type StandIn struct {
	// Idle are Deployments that are delivered with no replicas, whatever their
	// manifests say: Plumb does their work.
	Idle []Workload
	// Definitions are the names of the CustomResourceDefinitions that Plumb
	// brings itself. No app replaces them by others, and none prunes them.
	// Plumb's own carry the label OwnLabel with the value OwnValue, and are
	// delivered like anything else.
	Definitions        map[string]bool
	OwnLabel, OwnValue string
}

// Workload tells Deployments by their labels app.kubernetes.io/part-of and
// app.kubernetes.io/component; the name of the Deployment stands in for a
// component that is not labelled.
type Workload struct {
	PartOf, Component string
}

// The labels by which workloads are told.
const (
	LabelName      = "app.kubernetes.io/name"
	LabelPartOf    = "app.kubernetes.io/part-of"
	LabelComponent = "app.kubernetes.io/component"
)

// ComponentOf is what the Deployment of a name and labels does.
func ComponentOf(name string, labels map[string]string) string {
	if c := labels[LabelComponent]; c != "" {
		return c
	}
	return name
}

// IsIdle reports whether the Deployment of a name and labels is among Idle.
// Plumb itself never is, whatever else it calls itself.
func (s *StandIn) IsIdle(name string, labels map[string]string) bool {
	if s == nil || labels[LabelName] == "plumb" {
		return false
	}
	return slices.Contains(s.Idle, Workload{PartOf: labels[LabelPartOf], Component: ComponentOf(name, labels)})
}
