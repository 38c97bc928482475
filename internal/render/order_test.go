package render

import (
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"

	"plumb.dev/plumb/internal/app"
)

const orderBase = `
-- base/kustomization.yaml --
resources: [one.yaml, more, two.yaml]
configMapGenerator:
- {name: settings, literals: [A=1]}
-- base/one.yaml --
# a comment of its own
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
data:
  text: |
    kind: Secret
    metadata: {name: no}
---
apiVersion: v1
kind: Service
metadata: {labels: {name: x}, name: a}
---
-- base/two.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a-b}
-- base/more/kustomization.yaml --
resources: [three.yaml]
secretGenerator:
- {name: hidden, literals: [A=1]}
namePrefix: pre-
-- base/more/three.yaml --
metadata:
    name: a
kind: ConfigMap
apiVersion: v1
`

// What the order tells of the places of objects is what Kustomize tells of
// them, and it tells where it can.
func TestOrder(t *testing.T) {
	for name, c := range map[string]struct {
		files string
		tells bool
	}{
		"plain":      {"-- kustomization.yaml --\nresources: [base]\n", true},
		"changed":    {"-- kustomization.yaml --\nresources: [base]\nnamespace: nn\nnamePrefix: x-\nnameSuffix: -y\nlabels: [{pairs: {a: b}, includeSelectors: true}]\ncommonAnnotations: {c: d}\nimages: [{name: a, newTag: b}]\n", true},
		"patched":    {"-- kustomization.yaml --\nresources: [base]\npatches:\n- patch: |-\n    {apiVersion: v1, kind: ConfigMap, metadata: {name: a-b}, data: {x: y}}\n", true},
		"generators": {"-- kustomization.yaml --\nsecretGenerator: [{name: s, literals: [A=1]}]\nconfigMapGenerator: [{name: s, literals: [A=1]}, {name: q, literals: [A=1]}]\nresources: [base]\n", true},
		"component": {"-- kustomization.yaml --\nresources: [base/two.yaml]\ncomponents: [extra]\nconfigMapGenerator: [{name: s, literals: [A=1]}]\n" +
			"-- extra/kustomization.yaml --\nkind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\nresources: [e.yaml]\nsecretGenerator: [{name: g, literals: [A=1]}]\n" +
			"-- extra/e.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: e}\n", true},
		"replacement": {"-- kustomization.yaml --\nresources: [base]\nreplacements:\n- source: {kind: Service, name: a, fieldPath: metadata.name}\n  targets: [{select: {name: a-b}, fieldPaths: [data.x], options: {create: true}}]\n", true},

		"retyped":   {"-- kustomization.yaml --\nresources: [base]\npatches:\n- target: {kind: Service}\n  options: {allowKindChange: true}\n  patch: |-\n    - {op: replace, path: /kind, value: Servant}\n", false},
		"dropped":   {"-- kustomization.yaml --\nresources: [base]\npatches:\n- patch: |-\n    $patch: delete\n    apiVersion: v1\n    kind: Service\n    metadata: {name: a}\n", false},
		"local":     {"-- kustomization.yaml --\nresources: [base, l.yaml]\n-- l.yaml --\napiVersion: v1\nkind: Service\nmetadata:\n  name: l\n  annotations: {config.kubernetes.io/local-config: \"true\"}\n", false},
		"renamed":   {"-- kustomization.yaml --\nresources: [base]\npatches:\n- target: {kind: Service}\n  options: {allowNameChange: true}\n  patch: |-\n    - {op: replace, path: /metadata/name, value: z}\n", true},
		"merged":    {"-- kustomization.yaml --\nresources: [base]\nconfigMapGenerator: [{name: settings, behavior: merge, literals: [B=2]}]\n", false},
		"list":      {"-- kustomization.yaml --\nresources: [l.yaml]\n-- l.yaml --\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: l}}\n- {apiVersion: v1, kind: Service, metadata: {name: m}}\n", false},
		"json":      {"-- kustomization.yaml --\nresources: [l.json]\n-- l.json --\n{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": \"l\"}}\n", false},
		"sorted":    {"-- kustomization.yaml --\nresources: [base]\nsortOptions: {order: legacy}\n", false},
		"plugin":    {"-- kustomization.yaml --\nresources: [base]\ntransformers:\n- |-\n  {apiVersion: builtin, kind: PrefixSuffixTransformer, metadata: {name: p}, prefix: q-, fieldSpecs: [{path: metadata/name}]}\n", false},
		"annotated": {"-- kustomization.yaml --\nresources: [base]\nbuildMetadata: [managedByLabel]\n", false},
		"empty":     {"-- kustomization.yaml --\nnamespace: x\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for _, f := range txtar.Parse([]byte(c.files + orderBase)).Files {
				tree[f.Name] = &fstest.MapFile{Data: f.Data}
			}
			spec := app.Render{Mode: app.RenderKustomize}
			got, err := Render(t.Context(), tree, spec)
			if err != nil {
				t.Fatal(err)
			}
			spec.Kustomize.Origins = true
			want, err := Render(t.Context(), tree, spec)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Objects) != len(want.Objects) || len(got.Objects) == 0 && name != "empty" {
				t.Fatalf("%d objects, asked for origins %d", len(got.Objects), len(want.Objects))
			}
			for i, o := range got.Objects {
				if w := want.Objects[i]; o.Ref() != w.Ref() || o.Origin != w.Origin || c.tells && o.Origin.Line == 0 {
					t.Errorf("%s at %s, asked for origins %s at %s", o.Ref(), o.Origin, w.Ref(), w.Origin)
				}
				if noted := o.Annotation("config.kubernetes.io/origin") + o.Annotation("alpha.config.kubernetes.io/transformations"); noted != "" {
					t.Errorf("%s is annotated with %s", o.Ref(), noted)
				}
			}

			r := &rendering{files: newFiles(t.Context(), tree, Options{}.withDefaults())}
			p := r.preflight()
			k, err := p.load("kustomization.yaml")
			if err == nil {
				err = p.visit(kustomizationAt{Kustomization: k, dir: ".", file: "kustomization.yaml"})
			}
			if err != nil {
				t.Fatal(err)
			}
			before := r.files.count
			_, places, err := r.builtInOrder(p, k, ".", "kustomization.yaml")
			if err != nil || (places != nil) != c.tells {
				t.Errorf("the order tells %v, %v", places, err)
			}
			if places == nil && r.files.count != before {
				t.Errorf("files that are to be read again were counted: %d, before %d", r.files.count, before)
			}
		})
	}
}
