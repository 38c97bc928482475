package render

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"time"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/kustomize/kyaml/openapi/kubernetesapi"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// turn lets one build run at a time: Kustomize keeps the OpenAPI schema of the
// running build in package variables. All builds of a process go through build
// below, which is the one place to change once builds run in worker processes.
var turn = make(chan struct{}, 1)

// kustomize builds the kustomization in dir, changed as the app asks.
func (r *rendering) kustomize(dir, file string) ([]object.Object, error) {
	p := r.preflight()
	k, err := p.load(file)
	if err != nil {
		return nil, err
	}
	return r.build(p, k, dir, file)
}

func (r *rendering) preflight() *preflight {
	r.remotes = map[string]Remote{}
	return &preflight{files: r.files, remote: r.spec.Kustomize.AllowRemoteBases, parsed: map[string]*types.Kustomization{},
		remotes: r.remotes, rewritten: map[string]map[string]string{}}
}

// build runs Kustomize on k, which takes the place of the file.
func (r *rendering) build(p *preflight, k *types.Kustomization, dir, file string) ([]object.Object, error) {
	wanted := r.spec.Kustomize
	if wanted.IgnoreMissing {
		wanted.Components = slices.DeleteFunc(slices.Clone(wanted.Components), func(component string) bool {
			_, _, err := r.files.stat(path.Join(dir, component))
			return errors.Is(err, fs.ErrNotExist)
		})
	}
	if err := override(k, wanted, file); err != nil {
		return nil, err
	}
	if err := p.visit(kustomizationAt{Kustomization: k, dir: dir, file: file}); err != nil {
		return nil, err
	}
	if p.missing != nil {
		return nil, p.missing
	}
	//lint:ignore SA1019 users still write it
	if len(k.Vars) > 0 {
		r.warn("%s: vars are deprecated by Kustomize; use replacements", file)
	}
	p.parsed[file] = k
	wantsOrigins := slices.Contains(k.BuildMetadata, types.OriginAnnotations)
	built, inOrder, err := r.builtInOrder(p, k, dir, file)
	if err == nil && inOrder == nil {
		if !wantsOrigins {
			k.BuildMetadata = append(k.BuildMetadata, types.OriginAnnotations)
		}
		built, err = r.run(p, dir, file)
	}
	if err != nil {
		return nil, err
	}
	objects := make([]object.Object, 0, built.Size())
	if built.Size() > r.files.opts.MaxObjects {
		return nil, r.checkSize(make([]object.Object, built.Size()))
	}
	places := newPlacer(r.files, dir)
	for i, resource := range built.Resources() {
		var at object.Origin
		if inOrder != nil {
			at = inOrder[i]
		} else {
			origin, err := resource.GetOrigin()
			if err != nil {
				return nil, fmt.Errorf("%s: origin of %s: %w", file, resource.CurId(), err)
			}
			at = places.origin(origin, resource.GetKind(), resource.GetName())
			if origin != nil && wantsOrigins && len(p.remotes) > 0 {
				nameOrigin(origin, dir)
				if err := resource.SetOrigin(origin); err != nil {
					return nil, fmt.Errorf("%s: origin of %s: %w", file, resource.CurId(), err)
				}
			}
		}
		var content map[string]any
		if err := resource.YNode().Decode(&content); err != nil {
			return nil, fmt.Errorf("%s: %s: %s", file, resource.CurId(), firstLine(err.Error()))
		}
		for key, value := range content {
			if content[key], err = jsonValue(value); err != nil {
				return nil, fmt.Errorf("%s: %s: %s: %w", file, resource.CurId(), key, err)
			}
		}
		if inOrder == nil && !wantsOrigins {
			dropOrigin(content)
		}
		objects = append(objects, object.New(content, at))
	}
	return objects, nil
}

// run builds dir, alone in the process, with the kustomization that was parsed
// from file and changed in its place.
func (r *rendering) run(p *preflight, dir, file string) (resmap.ResMap, error) {
	overlay := map[string][]byte{}
	for _, name := range append(slices.Sorted(maps.Keys(p.rewritten)), file) {
		changed := *p.parsed[name]
		changed.Resources = rewrite(changed.Resources, p.rewritten[name])
		changed.Components = rewrite(changed.Components, p.rewritten[name])
		text, err := yaml.Marshal(changed)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		overlay[name] = text
	}
	select {
	case turn <- struct{}{}:
	case <-r.files.ctx.Done():
		return nil, r.files.alive()
	}
	defer func() {
		// A build that asked for a schema of its own leaves it behind for the
		// next one. Otherwise the built-in schema stays, parsed once for the
		// process: parsing costs more than twenty ordinary builds.
		if openapi.GetSchemaVersion() != kubernetesapi.DefaultOpenAPI {
			openapi.ResetOpenAPI()
		}
		<-turn
	}()
	built, err := krusty.MakeKustomizer(&krusty.Options{
		Reorder: krusty.ReorderOptionNone,
		// A base beside the overlay is as good as one below it: the tree is
		// the border, and there is nothing else in this file system.
		LoadRestrictions: types.LoadRestrictionsNone,
		PluginConfig:     types.DisabledPluginConfig(),
	}).Run(confined{files: r.files, overlay: overlay}, path.Join("/", dir))
	if err == nil {
		err = r.files.alive()
	}
	if err != nil {
		return nil, r.diagnose(p, file, err)
	}
	return built, nil
}

// dropOrigin removes the annotation that build asked for.
func dropOrigin(content map[string]any) {
	meta, _ := content["metadata"].(map[string]any)
	notes, _ := meta["annotations"].(map[string]any)
	delete(notes, "config.kubernetes.io/origin")
	if notes != nil && len(notes) == 0 {
		delete(meta, "annotations")
	}
}

var errNoJSON = errors.New("JSON has no infinity and no not-a-number")

// jsonValue gives what the YAML library decoded the types that JSON text would
// have, which is what Kustomize prints.
func jsonValue(v any) (_ any, err error) {
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			if v[key], err = jsonValue(item); err != nil {
				return nil, err
			}
		}
	case map[any]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			if out[fmt.Sprint(key)], err = jsonValue(item); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		for i, item := range v {
			if v[i], err = jsonValue(item); err != nil {
				return nil, err
			}
		}
	case int:
		return int64(v), nil
	case uint64:
		return float64(v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, errNoJSON
		}
		if math.Abs(v) < 1e21 {
			if i, err := strconv.ParseInt(strconv.FormatFloat(v, 'f', -1, 64), 10, 64); err == nil {
				return i, nil
			}
		}
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	}
	return v, nil
}

// generated builds dir as if it had a kustomization that lists all manifests
// below it, as Flux does: a directory with a kustomization of its own counts as
// a unit. A file that is no manifest is an error.
func (r *rendering) generated(dir string) ([]object.Object, error) {
	k := &types.Kustomization{TypeMeta: types.TypeMeta{APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind}}
	var scan func(from, below string) error
	scan = func(from, below string) error {
		entries, err := r.files.list(from)
		if err != nil {
			return err
		}
		r.files.ahead(namesToScan(from, entries))
		for _, entry := range entries {
			name, ref := path.Join(from, entry.Name()), path.Join(below, entry.Name())
			if !entry.IsDir() {
				if ext := path.Ext(name); ext != ".yaml" && ext != ".yml" {
					continue
				}
				data, err := r.files.content(name)
				if err != nil {
					return fmt.Errorf("%s: %s", name, cause(err))
				}
				if _, err := object.Decode(name, data); err != nil {
					return failure(app.ReasonBuild, "%w", err).
						WithHint("%s", noManifest(name, "every .yaml file below a path without kustomization.yaml must be a manifest; add a kustomization.yaml that lists what is one"))
				}
				k.Resources = append(k.Resources, ref)
				continue
			}
			unit, err := r.files.kustomizationFile(name)
			if err != nil {
				return err
			}
			if unit != "" {
				k.Resources = append(k.Resources, ref)
			} else if err := scan(name, ref); err != nil {
				return err
			}
		}
		return nil
	}
	if err := scan(dir, ""); err != nil {
		return nil, err
	}
	return r.build(r.preflight(), k, dir, path.Join(dir, kustomizationNames[0]))
}

// namesToScan are what generated looks at in a directory.
func namesToScan(dir string, entries []fs.DirEntry) []string {
	var names []string
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		if entry.IsDir() {
			names = appendKustomizationFiles(names, name)
		} else if ext := path.Ext(name); ext == ".yaml" || ext == ".yml" {
			names = append(names, name)
		}
	}
	return names
}
