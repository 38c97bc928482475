package api

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"sigs.k8s.io/yaml"
)

// check validates an object against a definition's schema and tells what the
// API server would drop.
func check(t *testing.T, file string, object map[string]any) (errs, dropped []string) {
	t.Helper()
	validator, s := schemas(t, load(t, file), "v1alpha1")
	for _, e := range schemavalidation.ValidateCustomResource(nil, object, validator) {
		errs = append(errs, e.Error())
	}
	dropped = pruning.PruneWithOptions(object, s, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	return errs, dropped
}

func argoFile(kind string) string {
	return map[string]string{
		"Application":    "crd/argo-applications.yaml",
		"ApplicationSet": "crd/argo-applicationsets.yaml",
		"AppProject":     "crd/argo-appprojects.yaml",
	}[kind]
}

// What users arrive with is accepted as it stands, and nothing of it is lost.
func TestArgoInputs(t *testing.T) {
	names, err := filepath.Glob("../internal/dialect/argo/testdata/inputs/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no inputs: %v", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range strings.Split(string(data), "\n---\n") {
			var object map[string]any
			if err := yaml.Unmarshal([]byte(doc), &object); err != nil {
				t.Fatal(err)
			}
			errs, dropped := check(t, argoFile(object["kind"].(string)), object)
			if len(errs)+len(dropped) > 0 {
				t.Errorf("%s: refused %v, dropped %v", name, errs, dropped)
			}
		}
	}
}

func TestArgoSchemas(t *testing.T) {
	for _, c := range []struct {
		name, kind, object string
		wantError          string // in the one error, "" for none
	}{
		{"unknown fields are kept", "Application", `{spec: {frob: 1, source: {repoURL: a, frob: 1, kustomize: {frob: 1, patches: [{frob: 1, target: {frob: 1}}]},
			directory: {frob: 1}}, destination: {frob: 1}, syncPolicy: {frob: 1, automated: {frob: 1}, retry: {frob: 1, backoff: {frob: 1}}},
			ignoreDifferences: [{kind: a, frob: 1}]}, operation: {frob: 1, sync: {frob: 1}}, status: {frob: 1, sync: {frob: 1}, history: [{id: 0, frob: 1}]}}`, ""},
		{"counts of both sorts", "Application", `{spec: {source: {repoURL: a, kustomize: {replicas: [{name: a, count: 1}, {name: b, count: "2"}]}}}}`, ""},
		{"wrong type", "Application", `{spec: {syncPolicy: {automated: {prune: "yes"}}}}`, "spec.syncPolicy.automated.prune"},
		{"no repository", "Application", `{spec: {source: {path: a}}}`, "spec.source.repoURL"},
		{"no spec", "Application", `{}`, "spec"},
		{"policy of a set", "ApplicationSet", `{spec: {syncPolicy: {applicationsSync: never}}}`, "spec.syncPolicy.applicationsSync"},
		{"project", "AppProject", `{spec: {frob: 1, destinations: [{server: "*", frob: 1}], namespaceResourceWhitelist: [], roles: [{name: a, policies: [b]}]}}`, ""},
		{"kind without group", "AppProject", `{spec: {clusterResourceWhitelist: [{kind: a}]}}`, "group"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var object map[string]any
			if err := yaml.Unmarshal([]byte(c.object), &object); err != nil {
				t.Fatal(err)
			}
			errs, dropped := check(t, argoFile(c.kind), object)
			switch {
			case c.wantError == "" && len(errs) > 0:
				t.Errorf("refused: %v", errs)
			case c.wantError != "" && (len(errs) != 1 || !strings.Contains(errs[0], c.wantError)):
				t.Errorf("errors %v, want one at %s", errs, c.wantError)
			}
			if len(dropped) > 0 {
				t.Errorf("dropped %v", dropped)
			}
		})
	}
}

// Clients write an Application's status and operation with ordinary updates;
// an ApplicationSet's status has its own endpoint.
func TestArgoSubresources(t *testing.T) {
	for kind, want := range map[string]bool{"Application": false, "ApplicationSet": true, "AppProject": false} {
		crd := load(t, argoFile(kind))
		for _, v := range crd.Spec.Versions {
			if got := v.Subresources != nil && v.Subresources.Status != nil; got != want {
				t.Errorf("%s %s: status subresource %v, want %v", kind, v.Name, got, want)
			}
		}
	}
}
