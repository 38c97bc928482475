package argo

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// AssessApplicationSet gives the merge patch for the status subresource of an
// ApplicationSet, nil if it says all that already. This version of Plumb runs
// no generators: a set is accepted, and its conditions say so and what it
// lacks. No Application is created, changed or deleted.
func AssessApplicationSet(u *unstructured.Unstructured, at time.Time) map[string]any {
	message := "Plumb does not run ApplicationSet generators in this version: no Application is created, changed or deleted"
	if kinds := generatorKinds(u); len(kinds) > 0 {
		message += " for " + strings.Join(kinds, ", ")
	}
	if lacks := missingInSet(u); len(lacks) > 0 {
		message = "the ApplicationSet is incomplete: " + strings.Join(lacks, "; ") + ". " + message
	}
	was := map[string]map[string]any{}
	for _, c := range objects(u.Object, "status", "conditions") {
		was[text(c, "type")] = c
	}
	var list []any
	changed := false
	for _, c := range []struct{ kind, status, reason string }{
		{"ErrorOccurred", "True", "ApplicationGenerationFromParamsError"},
		{"ParametersGenerated", "False", "ErrorOccurred"},
		{"ResourcesUpToDate", "False", "ErrorOccurred"},
	} {
		old := was[c.kind]
		since := text(old, "lastTransitionTime")
		if text(old, "status") != c.status || since == "" {
			since = stamp(at)
		}
		if text(old, "status") != c.status || text(old, "reason") != c.reason || text(old, "message") != message {
			changed = true
		}
		list = append(list, map[string]any{"type": c.kind, "status": c.status, "reason": c.reason,
			"message": message, "lastTransitionTime": since})
	}
	if !changed {
		return nil
	}
	return map[string]any{"status": map[string]any{"conditions": list}}
}

// generatorKinds lists the generators that the set uses, each once.
func generatorKinds(u *unstructured.Unstructured) []string {
	kinds := map[string]bool{}
	for _, g := range objects(u.Object, "spec", "generators") {
		for kind := range g {
			if kind != "selector" {
				kinds[kind] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(kinds))
}

// missingInSet says what must be added before the set can generate anything
// that runs, and how.
func missingInSet(u *unstructured.Unstructured) []string {
	var out []string
	miss := func(path, how string) { out = append(out, fmt.Sprintf("%s is missing (%s)", path, how)) }
	if len(objects(u.Object, "spec", "generators")) == 0 {
		miss("spec.generators", "name at least one generator")
	}
	template, _, _ := unstructured.NestedMap(u.Object, "spec", "template")
	if text(template, "metadata", "name") == "" {
		miss("spec.template.metadata.name", "a name with a parameter in it, such as 'app-{{number}}'")
	}
	spec := mapAt(template, "spec")
	if text(spec, "project") == "" {
		miss("spec.template.spec.project", "add 'project: default'")
	}
	if mapAt(spec, "source") == nil && len(objects(spec, "sources")) == 0 && mapAt(spec, "sourceHydrator") == nil {
		miss("spec.template.spec.source", "add repoURL, path and targetRevision")
	}
	dest := mapAt(spec, "destination")
	if text(dest, "server") == "" && text(dest, "name") == "" {
		miss("spec.template.spec.destination.server", "add 'server: "+localServer+"'")
	}
	for i, g := range objects(u.Object, "spec", "generators") {
		for _, kind := range []string{"pullRequest", "scmProvider"} {
			if config := mapAt(g, kind); config != nil && number(config, "requeueAfterSeconds") == 0 {
				miss(fmt.Sprintf("spec.generators[%d].%s.requeueAfterSeconds", i, kind), "without it new requests are seen after up to 30 minutes; add 'requeueAfterSeconds: 60'")
			}
		}
	}
	return out
}
