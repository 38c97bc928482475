package api

import (
	"context"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"sigs.k8s.io/yaml"
)

func load(t *testing.T, name string) *v1.CustomResourceDefinition {
	t.Helper()
	data, err := files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var crd v1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &crd); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return &crd
}

// The API server's own validation accepts every definition, which includes
// that the schemas are structural and the patterns compile.
func TestDefinitionsAreValid(t *testing.T) {
	names, err := fs.Glob(files, "crd/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no definitions: %v", err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			crd := load(t, name)
			v1.SetDefaults_CustomResourceDefinition(crd)
			v1.SetDefaults_CustomResourceDefinitionSpec(&crd.Spec)
			for _, v := range crd.Spec.Versions {
				if v.Storage {
					crd.Status.StoredVersions = []string{v.Name}
				}
			}
			var internal apiextensions.CustomResourceDefinition
			if err := v1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, &internal, nil); err != nil {
				t.Fatal(err)
			}
			for _, e := range validation.ValidateCustomResourceDefinition(context.Background(), &internal) {
				t.Error(e)
			}
		})
	}
}

// A status that Plumb writes is one field of its owner: listed one by one, its
// fields are a good part of what each write costs the API server.
func TestStatusesAreOneField(t *testing.T) {
	others := []string{"ApplicationSet", "AppProject", "ExternalArtifact"} // who writes these
	names, _ := fs.Glob(files, "crd/*.yaml")
	for _, name := range names {
		crd := load(t, name)
		for _, v := range crd.Spec.Versions {
			kind := v.Schema.OpenAPIV3Schema.Properties["status"].XMapType
			if atomic := kind != nil && *kind == "atomic"; atomic == slices.Contains(others, crd.Spec.Names.Kind) {
				t.Errorf("%s %s: the status is one field: %t", crd.Spec.Names.Kind, v.Name, atomic)
			}
		}
	}
}

// The flux command lists, checks, migrates and deletes the definitions with
// these labels; those of Argo CD are none of its business.
func TestLabelsOfFlux(t *testing.T) {
	seen := map[string]bool{}
	for _, doc := range strings.Split("\n"+string(CRDs()), "\n---\n") {
		var crd v1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict([]byte(doc), &crd); err != nil {
			t.Fatal(err)
		}
		if crd.Name == "" {
			continue
		}
		seen[crd.Name] = true
		flux := strings.HasSuffix(crd.Spec.Group, ".fluxcd.io")
		partOf, version := crd.Labels["app.kubernetes.io/part-of"], crd.Labels["app.kubernetes.io/version"]
		if flux != (partOf == "flux") || flux != (version == FluxVersion) || crd.Labels["app.kubernetes.io/managed-by"] != "plumb" {
			t.Errorf("%s: labels %v", crd.Name, crd.Labels)
		}
	}
	if !seen["gitrepositories.source.toolkit.fluxcd.io"] || !seen["applications.argoproj.io"] {
		t.Errorf("definitions %v", seen)
	}
}

// What Names reads without decoding is what the definitions are called, and all
// carry the label that tells them from those of others.
func TestNames(t *testing.T) {
	files, err := fs.Glob(files, "crd/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, file := range files {
		crd := load(t, file)
		want = append(want, crd.Name)
		if crd.Labels[OwnLabel] != OwnValue {
			t.Errorf("%s lacks the label %s=%s", crd.Name, OwnLabel, OwnValue)
		}
	}
	if got := Names(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// schemas gives validator and structural schema of a version.
func schemas(t *testing.T, crd *v1.CustomResourceDefinition, version string) (schemavalidation.SchemaValidator, *structural.Structural) {
	t.Helper()
	for _, v := range crd.Spec.Versions {
		if v.Name != version {
			continue
		}
		var props apiextensions.JSONSchemaProps
		if err := v1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, &props, nil); err != nil {
			t.Fatal(err)
		}
		validator, _, err := schemavalidation.NewSchemaValidator(&props)
		if err != nil {
			t.Fatal(err)
		}
		s, err := structural.NewStructural(&props)
		if err != nil {
			t.Fatal(err)
		}
		return validator, s
	}
	t.Fatalf("%s has no version %s", crd.Name, version)
	return nil, nil
}

func TestFluxSchemas(t *testing.T) {
	git, ks, oci := "crd/flux-gitrepositories.yaml", "crd/flux-kustomizations.yaml", "crd/flux-ocirepositories.yaml"
	tests := []struct {
		name, file, versions, object string
		wantError                    string // "" for none
	}{
		{"repository", git, "v1 v1beta2 v1beta1", `{spec: {url: "https://h/r", interval: 5m, ref: {branch: main}}}`, ""},
		{"repository without interval, old", git, "v1beta2 v1beta1", `{spec: {url: "https://h/r"}}`, ""},
		{"repository without interval, v1", git, "v1", `{spec: {url: "https://h/r"}}`, "spec.interval"},
		{"scp-like address", git, "v1 v1beta2", `{spec: {url: "git@h:r", interval: 5m}}`, "spec.url"},
		{"hours in a timeout", git, "v1", `{spec: {url: "https://h/r", interval: 5m, timeout: 1h}}`, "spec.timeout"},
		{"provider", git, "v1", `{spec: {url: "https://h/r", interval: 5m, provider: gitlab}}`, "spec.provider"},
		{"unknown fields are kept", git, "v1 v1beta2 v1beta1",
			`{spec: {url: "https://h/r", interval: 5m, frob: 1, ref: {brunch: main}, secretRef: {name: a, key: b}}, status: {other: 1}}`, ""},
		{"artifact", oci, "v1 v1beta2", `{spec: {url: "oci://h/r", interval: 5m, ref: {tag: a}}}`, ""},
		{"artifact without interval", oci, "v1 v1beta2", `{spec: {url: "oci://h/r"}}`, "spec.interval"},
		{"artifact at another address", oci, "v1", `{spec: {url: "https://h/r", interval: 5m}}`, "spec.url"},
		{"operation", oci, "v1", `{spec: {url: "oci://h/r", interval: 5m, layerSelector: {operation: move}}}`, "spec.layerSelector.operation"},
		{"provider of signatures", oci, "v1", `{spec: {url: "oci://h/r", interval: 5m, verify: {provider: gpg}}}`, "spec.verify.provider"},
		{"unknown fields are kept", oci, "v1 v1beta2",
			`{spec: {url: "oci://h/r", interval: 5m, frob: 1, ref: {frob: a}, layerSelector: {frob: 1}, secretRef: {name: a, key: b}, accessFrom: {a: 1},
			  verify: {provider: cosign, frob: 1, matchOIDCIdentity: [{issuer: a, subject: b, frob: 1}]}}, status: {other: 1}}`, ""},
		{"kustomization", ks, "v1 v1beta2 v1beta1",
			`{spec: {interval: 5m, prune: true, path: ./a, sourceRef: {kind: GitRepository, name: a}, dependsOn: [{name: b}]}}`, ""},
		{"kustomization without interval, old", ks, "v1beta2 v1beta1", `{spec: {prune: true, sourceRef: {kind: GitRepository, name: a}}}`, ""},
		{"kustomization without interval, v1", ks, "v1", `{spec: {prune: true, sourceRef: {kind: GitRepository, name: a}}}`, "spec.interval"},
		{"kustomization without prune", ks, "v1 v1beta2", `{spec: {interval: 5m, sourceRef: {kind: GitRepository, name: a}}}`, "spec.prune"},
		{"kind of source", ks, "v1", `{spec: {interval: 5m, prune: true, sourceRef: {kind: HelmChart, name: a}}}`, "spec.sourceRef.kind"},
		{"selfHeal of any type", ks, "v1 v1beta2", `{spec: {interval: 5m, prune: true, selfHeal: "yes", sourceRef: {kind: Bucket, name: a}}}`, ""},
		{"patches of old versions", ks, "v1 v1beta2",
			`{spec: {interval: 5m, prune: true, sourceRef: {kind: Bucket, name: a},
			  patchesStrategicMerge: [{kind: Deployment, spec: {replicas: 2}}],
			  patchesJson6902: [{patch: [{op: add, path: /a, value: [1]}], target: {kind: Deployment}}]}}`, ""},
		{"unknown fields are kept", ks, "v1 v1beta2 v1beta1",
			`{spec: {interval: 5m, prune: true, frob: {a: 1}, sourceRef: {kind: Bucket, name: a, frob: 1},
			  dependsOn: [{name: a, frob: 1}], images: [{name: a, frob: 1}], patches: [{patch: a, target: {frob: b}}],
			  postBuild: {frob: 1}, decryption: {provider: sops, frob: 1, secretRef: {name: a, frob: 1}}}}`, ""},
	}
	for _, test := range tests {
		for _, version := range strings.Fields(test.versions) {
			t.Run(test.file+"/"+test.name+"/"+version, func(t *testing.T) {
				validator, s := schemas(t, load(t, test.file), version)
				var object map[string]any
				if err := yaml.Unmarshal([]byte(test.object), &object); err != nil {
					t.Fatal(err)
				}
				errs := schemavalidation.ValidateCustomResource(nil, object, validator)
				switch {
				case test.wantError == "" && len(errs) > 0:
					t.Errorf("refused: %v", errs)
				case test.wantError != "" && (len(errs) != 1 || errs[0].Field != test.wantError):
					t.Errorf("errors %v, want one at %s", errs, test.wantError)
				}
				dropped := pruning.PruneWithOptions(object, s, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
				if len(dropped) > 0 {
					t.Errorf("dropped %v", dropped)
				}
			})
		}
	}
}
