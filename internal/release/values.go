package release

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	goyaml "go.yaml.in/yaml/v2"
	"helm.sh/helm/v4/pkg/strvals"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
)

// Fetched is what was found under one of a release's ReleaseValues.
type Fetched struct {
	From app.ReleaseValues
	Data []byte
	// Missing: the object, or the key, does not exist.
	Missing bool
}

// Compose merges values: from in its order, then inline over them, then those
// of from that have a target path. Nothing handed in is changed. The error is an
// app.Failure that names what is wrong, and no value.
func Compose(inline map[string]any, from []Fetched) (map[string]any, error) {
	values := map[string]any{}
	for _, f := range from {
		if f.Missing && !f.From.Optional {
			return nil, app.Fail(app.StageFetch, app.ReasonValues, "values of %s: there is no such object, or it has no such key", f.From.Describe())
		}
		if f.Missing || f.From.TargetPath != "" {
			continue
		}
		var part map[string]any
		if err := yaml.Unmarshal(f.Data, &part); err != nil {
			return nil, app.Fail(app.StageFetch, app.ReasonValues, "values of %s are no YAML mapping%s", f.From.Describe(), yamlLine(err))
		}
		values = merge(values, part)
	}
	plain, err := plainJSON(inline)
	if err != nil {
		return nil, app.Fail(app.StageSpec, app.ReasonValues, "the inline values are no JSON object: %v", err)
	}
	values = merge(values, plain)
	for _, f := range from {
		if f.Missing || f.From.TargetPath == "" {
			continue
		}
		if err := set(values, f); err != nil {
			return nil, app.Fail(app.StageFetch, app.ReasonValues, "the value of %s cannot be set at %q", f.From.Describe(), f.From.TargetPath).
				WithHint("targetPath is a path as helm --set takes it; a text with commas, braces or brackets needs literal: true.")
		}
	}
	return values, nil
}

// plainJSON gives values as Helm's own reader does: numbers are float64, and
// nothing is shared with what was handed in.
func plainJSON(values map[string]any) (plain map[string]any, err error) {
	if len(values) == 0 {
		return nil, nil
	}
	data, err := json.Marshal(values)
	if err == nil {
		err = json.Unmarshal(data, &plain)
	}
	return plain, err
}

// yamlLine says where a YAML error is; the rest of it quotes values.
func yamlLine(err error) string {
	if m := yamlLineNumber.FindStringSubmatch(err.Error()); m != nil {
		return ": line " + m[1]
	}
	return ""
}

var yamlLineNumber = regexp.MustCompile(`\bline (\d+)\b`)

// merge lays over on base: mappings are merged, all else is replaced. Neither is
// changed.
func merge(base, over map[string]any) map[string]any {
	out := make(map[string]any, len(base)+len(over))
	for k, v := range base {
		out[k] = v
	}
	for k, v := range over {
		was, wasMap := out[k].(map[string]any)
		now, isMap := v.(map[string]any)
		if wasMap && isMap {
			v = merge(was, now)
		}
		out[k] = v
	}
	return out
}

// strvalsSyntax is what the text of a value means to helm --set.
var strvalsSyntax = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `[`, `\[`, `]`, `\]`, `{`, `\{`, `}`, `\}`)

// set sets one value at its target path, by the rules of Flux: literal text is
// taken as it is, quoted text is a string, other text what helm --set makes of
// it.
func set(values map[string]any, f Fetched) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("the path cannot be followed")
		}
	}()
	path, text := f.From.TargetPath, string(f.Data)
	if f.From.Literal {
		return strvals.ParseIntoString(path+"="+strvalsSyntax.Replace(text), values)
	}
	for _, quote := range []string{`'`, `"`} {
		if strings.HasPrefix(text, quote) && strings.HasSuffix(text, quote) {
			return strvals.ParseIntoString(path+"="+strings.Trim(text, `'"`), values)
		}
	}
	return strvals.ParseInto(path+"="+text, values)
}

// ConfigDigest identifies values, whatever the order of their keys, as Flux
// does: what it remembered compares.
func ConfigDigest(values map[string]any) string {
	hash := sha256.New()
	if len(values) > 0 {
		sorted := yaml.JSONObjectToYAMLObject(values)
		sortKeys(sorted)
		if err := goyaml.NewEncoder(hash).Encode(sorted); err != nil {
			return "" // of what is no YAML, as of no values: never equal to a digest
		}
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}

func sortKeys(v any) {
	switch v := v.(type) {
	case goyaml.MapSlice:
		slices.SortFunc(v, func(a, b goyaml.MapItem) int { return strings.Compare(fmt.Sprint(a.Key), fmt.Sprint(b.Key)) })
		for _, item := range v {
			sortKeys(item.Value)
		}
	case []any:
		for _, item := range v {
			sortKeys(item)
		}
	}
}
