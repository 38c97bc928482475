package flux

import (
	"bytes"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"sigs.k8s.io/yaml"

	crds "plumb.dev/plumb/api"
	"plumb.dev/plumb/internal/app"
)

// validators gives, for each version of a kind, the validation that the API
// server does.
func validators(t *testing.T, kind string, versions int) map[string]validation.SchemaValidator {
	t.Helper()
	out := map[string]validation.SchemaValidator{}
	for _, doc := range bytes.Split(crds.CRDs(), []byte("---\n")) {
		var crd v1.CustomResourceDefinition
		if err := yaml.Unmarshal(doc, &crd); err != nil {
			t.Fatal(err)
		}
		if crd.Spec.Names.Kind != kind {
			continue
		}
		for _, v := range crd.Spec.Versions {
			var props apiextensions.JSONSchemaProps
			if err := v1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, &props, nil); err != nil {
				t.Fatal(err)
			}
			validator, _, err := validation.NewSchemaValidator(&props)
			if err != nil {
				t.Fatal(err)
			}
			out[v.Name] = validator
		}
	}
	if len(out) != versions {
		t.Fatalf("%s has %d versions", kind, len(out))
	}
	return out
}

// Whatever is reported, the API server takes the status.
func TestStatusFitsSchema(t *testing.T) {
	check := func(name string, all map[string]validation.SchemaValidator, status map[string]any) {
		t.Helper()
		for version, v := range all {
			// Of the rest of the resource nothing matters here.
			errs := validation.ValidateCustomResource(nil, map[string]any{"status": status}, v)
			for _, err := range errs {
				t.Errorf("%s, %s: %v", name, version, err)
			}
		}
	}
	kustomizations := validators(t, KindKustomization, 3)
	for name, steps := range lives() {
		old := never()
		for _, s := range steps {
			old = EncodeKustomization(s.report, specFor(s), old)
			check(name+", "+s.name, kustomizations, old)
		}
	}
	repositories := validators(t, KindGitRepository, 3)
	look := app.SourceReport{Generation: 1, Revision: rev1, At: noon}
	status := EncodeGitRepository(look, nil, never())
	check("found", repositories, status)
	look.Failure = app.Fail(app.StageFetch, app.ReasonUnreachable, "no route to host")
	check("unreachable", repositories, EncodeGitRepository(look, nil, status))

	for kind, looks := range map[string][]sourceLook{KindHelmRepository: helmRepositoryLooks(), KindHelmChart: helmChartLooks()} {
		all, k, old := validators(t, kind, 3), kindOf(t, kind), never()
		for _, s := range looks {
			old = k.Encode(s.report, nil, old)
			check(kind+", "+s.name, all, old)
		}
	}

	artifacts := validators(t, KindOCIRepository, 2)
	look = ociLooks()[0].report
	status = EncodeOCIRepository(look, nil, never())
	check("artifact found", artifacts, status)
	look.Failure = app.Fail(app.StageFetch, app.ReasonUnverified, "no signatures found")
	check("artifact not verified", artifacts, EncodeOCIRepository(look, nil, status))
}

// The manifests of a guide are accepted by the schema of their versions.
func TestClassicGuideFitsSchema(t *testing.T) {
	for _, u := range guide(t) {
		v := validators(t, u.GetKind(), 3)[u.GroupVersionKind().Version]
		if errs := validation.ValidateCustomResource(nil, u.Object, v); len(errs) > 0 {
			t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), errs)
		}
	}
}
