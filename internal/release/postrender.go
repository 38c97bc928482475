package release

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/postrenderer"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/kio"
	"sigs.k8s.io/kustomize/kyaml/yaml"

	"plumb.dev/plumb/internal/app"
)

// maxManifests bounds what a chart renders, in bytes. What Helm stores of it,
// compressed, may have no more than 1 MiB.
const maxManifests = 64 << 20

// postRenderer is what Helm hands rendered manifests to before it writes them.
func (s *session) postRenderer() (postrenderer.PostRenderer, action.PostRenderStrategy) {
	strategy := action.PostRenderStrategyCombined
	switch s.r.PostRenderStrategy {
	case app.PostRenderSeparate:
		strategy = action.PostRenderStrategySeparate
	case app.PostRenderNoHooks:
		strategy = action.PostRenderStrategyNoHooks
	}
	if len(s.r.PostRenderers)+len(s.r.Origin)+len(s.r.Labels)+len(s.r.Annotations) == 0 {
		return nil, strategy
	}
	return renderers{s}, strategy
}

// renderers are the post renderers of a release, one after the other, and then
// the metadata of all objects.
type renderers struct{ s *session }

func (p renderers) Run(manifests *bytes.Buffer) (*bytes.Buffer, error) {
	data := manifests.Bytes()
	if len(data) > maxManifests {
		return nil, fmt.Errorf("the chart renders to %d bytes, more than the %d that it may", len(data), maxManifests)
	}
	r := p.s.r
	for i, one := range r.PostRenderers {
		var err error
		if data, err = kustomize(data, one); err != nil {
			return nil, fmt.Errorf("postRenderers[%d]: %w", i, err)
		}
	}
	labels := maps.Clone(r.Origin)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, r.Labels)
	data, err := describe(data, labels, r.Annotations)
	if err == nil {
		p.s.rendered.Store(true)
	}
	return bytes.NewBuffer(data), err
}

// kustomize patches manifests as a kustomization would whose only resource they
// are. It reaches nothing else.
func kustomize(manifests []byte, p app.PostRenderer) ([]byte, error) {
	const input = "manifests.yaml"
	k := types.Kustomization{
		TypeMeta:  types.TypeMeta{APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind},
		Resources: []string{input},
	}
	for _, i := range p.Images {
		k.Images = append(k.Images, types.Image{Name: i.Name, NewName: i.NewName, NewTag: i.NewTag, Digest: i.Digest})
	}
	for _, patch := range p.Patches {
		if patch.Path != "" {
			return nil, fmt.Errorf("a patch in a file, %s: only inline patches are possible", patch.Path)
		}
		k.Patches = append(k.Patches, types.Patch{Patch: patch.Patch, Target: target(patch.Target), Options: options(patch.Options)})
	}
	text, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	files := filesys.MakeFsInMemory()
	if err := files.WriteFile(input, manifests); err != nil {
		return nil, err
	}
	if err := files.WriteFile("kustomization.yaml", text); err != nil {
		return nil, err
	}
	built, err := krusty.MakeKustomizer(&krusty.Options{
		LoadRestrictions: types.LoadRestrictionsRootOnly, PluginConfig: types.DisabledPluginConfig(),
	}).Run(files, ".")
	if err != nil {
		return nil, err
	}
	return built.AsYaml()
}

func target(s *app.Selector) *types.Selector {
	if s == nil {
		return nil
	}
	t := &types.Selector{LabelSelector: s.LabelSelector, AnnotationSelector: s.AnnotationSelector}
	t.Group, t.Version, t.Kind, t.Name, t.Namespace = s.Group, s.Version, s.Kind, s.Name, s.Namespace
	return t
}

func options(in map[string]bool) *types.PatchArgs {
	if len(in) == 0 {
		return nil
	}
	return &types.PatchArgs{AllowNameChange: in["allowNameChange"], AllowKindChange: in["allowKindChange"]}
}

// describe sets labels and annotations on every object.
func describe(manifests []byte, labels, annotations map[string]string) ([]byte, error) {
	if len(labels)+len(annotations) == 0 {
		return manifests, nil
	}
	nodes, err := kio.FromBytes(manifests)
	if err != nil {
		return nil, err
	}
	for _, node := range nodes {
		if err := describeObject(node, labels, annotations); err != nil {
			return nil, err
		}
	}
	text, err := kio.StringAll(nodes)
	return []byte(text), err
}

func describeObject(node *yaml.RNode, labels, annotations map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if err := node.PipeE(yaml.SetLabel(k, labels[k])); err != nil {
			return err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(annotations)) {
		if err := node.PipeE(yaml.SetAnnotation(k, annotations[k])); err != nil {
			return err
		}
	}
	return nil
}
