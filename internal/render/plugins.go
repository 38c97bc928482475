package render

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// plugins checks generators, transformers and validators: only what is built
// into Kustomize runs, and only with files of the tree.
func (p *preflight) plugins(k kustomizationAt) error {
	for _, list := range []struct {
		field string
		refs  []string
	}{{"generators", k.Generators}, {"transformers", k.Transformers}, {"validators", k.Validators}} {
		for _, ref := range list.refs {
			if isYAMLMapping(ref) {
				if err := p.pluginText(k, k.file, []byte(ref)); err != nil {
					return err
				}
				continue
			}
			inner := k
			inner.plugins = true
			if err := p.base(inner, list.field, ref, true); err != nil {
				return err
			}
		}
	}
	if !k.plugins {
		return nil
	}
	// What is built here becomes the configuration of plugins. If more than
	// plain files took part in that, checking the files would prove nothing.
	plain := *k.Kustomization
	plain.Resources, plain.MetaData, plain.BuildMetadata = nil, nil, nil
	if err := plain.CheckEmpty(); err == nil {
		return p.unsupported(k, "resources", "", "a kustomization of plugin configurations may hold resources only")
	}
	return nil
}

// pluginFile checks a file of plugin configurations.
func (p *preflight) pluginFile(k kustomizationAt, name string) error {
	data, err := p.files.content(name)
	if err != nil {
		return err
	}
	return p.pluginText(k, name, data)
}

func (p *preflight) pluginText(k kustomizationAt, name string, data []byte) error {
	docs, err := object.Values(name, data)
	if err != nil {
		return err
	}
	for _, doc := range docs {
		config, ok := doc.(map[string]any)
		if !ok {
			continue
		}
		kind := fmt.Sprint(config["kind"])
		if config["apiVersion"] != "builtin" || kind == "HelmChartInflationGenerator" {
			return failure(app.ReasonUnsupported, "%s: %s is a plugin; rendering runs nothing but what is built into Kustomize", name, kind).
				WithHint("commit what the plugin generates")
		}
		if ref := namedFile(config, false, isRemote); ref != "" {
			return failure(app.ReasonUnsupported, "%s: %s: remote files are not read: %s", name, kind, hideUserinfo(ref)).
				WithHint("copy it into the repository")
		}
		if ref := namedFile(config, false, func(ref string) bool {
			return repositoryOf(path.Join(k.dir, ref)) != repositoryOf(k.dir)
		}); ref != "" {
			return failure(app.ReasonBuild, "%s: %s: %s leaves the repository", name, kind, ref)
		}
	}
	return nil
}

// fileFields are the fields in which built-in plugins name files.
var fileFields = []string{"path", "paths", "files", "env", "envs"}

// namedFile finds what is bad among the files that the configuration of a
// built-in plugin names, or returns "".
func namedFile(v any, names bool, bad func(string) bool) string {
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			names := slices.ContainsFunc(fileFields, func(f string) bool { return strings.EqualFold(f, key) })
			if ref := namedFile(item, names, bad); ref != "" {
				return ref
			}
		}
	case []any:
		for _, item := range v {
			if ref := namedFile(item, names, bad); ref != "" {
				return ref
			}
		}
	case string:
		if names {
			for _, ref := range []string{v, v[strings.Index(v, "=")+1:]} {
				if bad(ref) {
					return ref
				}
			}
		}
	}
	return ""
}
