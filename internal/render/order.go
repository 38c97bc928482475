package render

import (
	"slices"

	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"

	"plumb.dev/plumb/internal/object"
)

// Kustomize can note in each object which file it came from, but once asked to
// it also notes each change that it makes, and parses and writes these notes
// anew each time: that is two fifths of an ordinary build. Where nothing adds,
// drops or sorts objects, they come in the order in which files list them, and
// that is enough to tell. Where something may, or the two do not agree, it is
// asked (see build).

// listed is what a kustomization puts at the end of the objects: the documents
// of a file, or what a generator makes.
type listed struct {
	file string
	kind string // of what a generator makes; "" for the documents of the file
}

// list notes a file among the resources of k. Those of bases are noted when
// these are visited, in between.
func (p *preflight) list(k kustomizationAt, file string) {
	if !k.plugins {
		p.order = append(p.order, listed{file: file})
	}
}

// listGenerators follows the resources of k, and comes before its components.
func (p *preflight) listGenerators(k kustomizationAt) {
	if k.plugins {
		return
	}
	if len(k.Generators)+len(k.Transformers) > 0 || k.SortOptions != nil {
		p.disordered = true
	}
	add := func(kind string, g types.GeneratorArgs) {
		// One that merges or replaces changes an object that is there.
		p.disordered = p.disordered || !slices.Contains([]string{"", "create"}, g.Behavior)
		p.order = append(p.order, listed{k.file, kind})
	}
	for _, g := range k.ConfigMapGenerator {
		add("ConfigMap", g.GeneratorArgs)
	}
	for _, g := range k.SecretGenerator {
		add("Secret", g.GeneratorArgs)
	}
}

// builtInOrder builds without asking Kustomize for origins, where they are not
// wanted as such, and gives the place of each object; none if it must be built
// again to learn them.
func (r *rendering) builtInOrder(p *preflight, k *types.Kustomization, dir, file string) (resmap.ResMap, []object.Origin, error) {
	if len(k.BuildMetadata)+len(p.remotes) > 0 || p.disordered || len(p.order) == 0 {
		return nil, nil, nil
	}
	count, bytes := r.files.count, r.files.bytes
	built, err := r.run(p, dir, file)
	if err != nil {
		return nil, nil, err
	}
	places, known := newPlacer(r.files, dir).inOrder(p.order, built)
	if !known {
		r.files.count, r.files.bytes = count, bytes // what is read again counts once
		return nil, nil, nil
	}
	return built, places, nil
}

// inOrder gives the place of each object that was built, by the order in which
// they were listed; false if that does not tell.
func (p *placer) inOrder(order []listed, built resmap.ResMap) ([]object.Origin, bool) {
	resources := built.Resources()
	places := make([]object.Origin, 0, len(resources))
	for _, l := range order {
		file := p.real(l.file)
		if l.kind != "" {
			if len(places) == len(resources) || resources[len(places)].GetKind() != l.kind {
				return nil, false
			}
			places = append(places, object.Origin{Path: file, Line: lineOfGenerator(p.files.peek(file), l.kind, resources[len(places)].GetName())})
			continue
		}
		for _, document := range p.documents(file) {
			if len(places) == len(resources) {
				return nil, false
			}
			if document.kind != resources[len(places)].GetKind() {
				return nil, false // a list, JSON, a kind that a patch changed
			}
			places = append(places, object.Origin{Path: file, Line: document.line})
		}
	}
	return places, len(places) == len(resources)
}
