package sops

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Object opens what is encrypted in a built object: the object itself, where
// its file was not opened as one (it came by an inline patch, or from
// elsewhere), and files of sops among the values of a Secret. An object that
// was built upon is not what was encrypted any more, so that its integrity
// cannot be verified as a whole; each value's, and its place, is.
func (k *Keys) Object(o object.Object, spec app.Decrypt) (object.Object, error) {
	if spec.SkipKey != "" && strings.EqualFold(o.Annotation(spec.SkipKey), "disabled") {
		return o, nil
	}
	fail := func(what string, err error) (object.Object, error) {
		return object.Object{}, app.Fail(app.StageRender, app.ReasonBuild, "%s (%s)%s cannot be decrypted: %w", o, o.Origin, what, err).
			WithHint("check spec.decryption, and that it was encrypted for a key of its Secret")
	}
	content := o.Unstructured().Object
	if meta, ok := content["sops"].(map[string]any); ok && meta["mac"] != nil {
		plain, err := k.content(content)
		if err != nil {
			return fail("", err)
		}
		return object.New(plain, o.Origin), nil
	}
	if !object.IsSecret(content) {
		return o, nil
	}
	data, ok := content["data"].(map[string]any)
	if !ok {
		return o, nil
	}
	opened := false
	values := maps.Clone(data)
	for _, key := range slices.Sorted(maps.Keys(data)) {
		text, _ := data[key].(string)
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !maybeEncrypted(raw) {
			continue // what is no base64 is told of when it is applied
		}
		plain, encrypted, err := k.Decrypt(raw, sniff(key, raw))
		if err != nil {
			return fail(": data."+key, err)
		}
		if encrypted {
			values[key], opened = base64.StdEncoding.EncodeToString(plain), true
		}
	}
	if !opened {
		return o, nil
	}
	out := maps.Clone(content)
	out["data"] = values
	return object.New(out, o.Origin), nil
}

// sniff tells the format of a value by its key, if it is written in that, and
// otherwise by how it looks.
func sniff(key string, raw []byte) Format {
	format := FormatOf(key)
	switch json.Valid(raw) {
	case true:
		if format != JSON {
			return Binary
		}
	case false:
		switch {
		case strings.Contains(string(raw), "\nsops_mac="):
			return Dotenv
		case strings.Contains(string(raw), "\n[sops]\n"):
			return INI
		case format == JSON || format == Binary:
			return YAML
		}
	}
	return format
}

// content opens an object that is encrypted as such.
func (k *Keys) content(content map[string]any) (map[string]any, error) {
	text, err := yaml.Marshal(content)
	if err != nil {
		return nil, errNoYAML
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, errNoYAML
	}
	meta, err := cut(&doc)
	if err != nil {
		return nil, err
	}
	if meta == nil {
		return content, nil
	}
	w, err := k.walker(meta)
	if err != nil {
		return nil, err
	}
	if w.rule.comments {
		return nil, errors.New("comments choose what is encrypted in it, and what was built has none: keep it in a file of its own, or use encrypted_regex")
	}
	if err := w.document(&doc); err != nil {
		return nil, err
	}
	plain, err := yaml.Marshal(&doc)
	if err != nil {
		return nil, errNoYAML
	}
	objects, err := object.Decode("", plain)
	if err != nil || len(objects) != 1 {
		return nil, errNoYAML
	}
	return objects[0].Unstructured().Object, nil
}
