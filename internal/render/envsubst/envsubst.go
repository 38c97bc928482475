// Package envsubst replaces ${variables} in built objects, as Flux does after
// a build: on the YAML text of each object, which is parsed again, so that a
// value may change the type of what it stands in. The grammar is that of
// github.com/fluxcd/pkg/envsubst.
//
// It is pure and bounded: what an object would grow to, and what that costs,
// is known before anything is replaced. It must not know where values come
// from. No error quotes a value.
package envsubst

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	grammar "github.com/fluxcd/pkg/envsubst"
	"github.com/fluxcd/pkg/envsubst/parse"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Options say how variables are replaced.
type Options struct {
	// Lenient makes a variable that is not set the empty string; otherwise it
	// is an error, unless a default is given where it is used.
	Lenient bool
	// SkipKey is a label or annotation that takes an object out when its value
	// is "disabled", in any case.
	SkipKey string
}

// The bounds of one object.
const (
	maxExpansions = 50_000   // dollar signs
	maxText       = 16 << 20 // bytes that it may grow to
	maxWork       = 1 << 26  // steps, about
)

// names are what a variable may be called.
var names = regexp.MustCompile(`^[_[:alpha:]][_[:alpha:][:digit:]]*$`)

// Replace returns objects with their variables replaced by values, from which
// line breaks are removed. Objects without variables are returned as they are.
// Every error is an *app.Failure that names the object, the place it comes
// from, the field and the variable.
func Replace(objects []object.Object, values map[string]string, opts Options) ([]object.Object, error) {
	vars := make(map[string]string, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !names.MatchString(name) {
			return nil, fail("%q cannot be the name of a variable: only letters, digits and _ are allowed, and no digit first", name).
				WithHint("rename the key in spec.postBuild, or in the ConfigMap or Secret that it comes from")
		}
		vars[name] = strings.ReplaceAll(values[name], "\n", "")
	}
	r := replacer{values: vars, lenient: opts.Lenient}
	out := make([]object.Object, 0, len(objects))
	for _, o := range objects {
		if !skipped(o, opts.SkipKey) {
			replaced, err := r.object(o)
			if err != nil {
				return nil, err
			}
			o = replaced
		}
		out = append(out, o)
	}
	return out, nil
}

func skipped(o object.Object, key string) bool {
	u := o.Unstructured()
	return key != "" && (strings.EqualFold(u.GetLabels()[key], "disabled") || strings.EqualFold(u.GetAnnotations()[key], "disabled"))
}

type replacer struct {
	values  map[string]string
	lenient bool
}

func (r replacer) object(o object.Object) (object.Object, error) {
	text, err := yaml.Marshal(o.Unstructured().Object)
	if err != nil {
		return object.Object{}, fail("%s (%s): %w", o, o.Origin, err)
	}
	if !strings.Contains(string(text), "$") {
		return o, nil
	}
	replaced, wrong := r.text(string(text))
	if wrong != nil {
		where, why := r.locate("", o.Unstructured().Object)
		if why == nil {
			where, why = "", wrong // only the whole text is too much
		}
		return object.Object{}, fail("%s (%s): %s%s", o, o.Origin, where, why.what).WithHint("%s", why.hint)
	}
	if replaced == string(text) {
		return o, nil
	}
	parsed, err := object.Decode(o.Origin.Path, []byte(replaced))
	if err != nil || len(parsed) != 1 {
		// What is wrong with it may quote a value.
		return object.Object{}, fail("%s (%s): with its variables replaced it is no manifest any more", o, o.Origin).
			WithHint("a value may hold quotes, colons or braces that mean something in YAML; quote it where it is set")
	}
	return object.New(parsed[0].Unstructured().Object, o.Origin), nil
}

// problem is what is wrong with a text, free of values.
type problem struct{ what, hint string }

// text replaces the variables of one text.
func (r replacer) text(text string) (result string, wrong *problem) {
	if strings.Count(text, "$") > maxExpansions {
		return "", &problem{fmt.Sprintf("it has more than the %d variables allowed", maxExpansions), "split it"}
	}
	tree, err := parse.Parse(text)
	if err != nil {
		return "", &problem{fmt.Sprintf("a ${…} that makes no sense: %s", err), "write $${ where the text ${ itself is meant"}
	}
	if size, work := r.cost(tree.Root); size > maxText || work > maxWork {
		return "", &problem{"replacing its variables would take too much: its values are too long for what is done with them", "use shorter values"}
	}
	missing := ""
	defer func() {
		// The library panics on offsets that overflow.
		if recover() != nil {
			result, wrong = "", &problem{"a ${…} with an offset or length that makes no sense", "correct it"}
		}
	}()
	result, err = grammar.Eval(text, func(name string) (string, bool) {
		value, set := r.values[name]
		if !set {
			missing = name // the last one before an error is the one behind it
		}
		return value, set || r.lenient
	})
	if err != nil {
		return "", &problem{fmt.Sprintf("variable %q is not set", missing),
			"set it in spec.postBuild, give it a default as in ${" + missing + ":=default}, or write $${ where the text ${ itself is meant"}
	}
	return result, nil
}

// locate finds the field whose text cannot be replaced.
func (r replacer) locate(path string, v any) (string, *problem) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if where, wrong := r.locate(path+"."+key, v[key]); wrong != nil {
				return where, wrong
			}
		}
	case []any:
		for i, item := range v {
			if where, wrong := r.locate(fmt.Sprintf("%s[%d]", path, i), item); wrong != nil {
				return where, wrong
			}
		}
	case string:
		if !strings.Contains(v, "$") {
			return "", nil
		}
		_, wrong := r.text(v)
		return path + ": ", wrong
	}
	return "", nil
}

// cost bounds from above what a node gives, in bytes, and what that takes.
func (r replacer) cost(node parse.Node) (size, work int) {
	const enough = maxWork + 1 // sums of it cannot overflow
	switch n := node.(type) {
	case *parse.TextNode:
		return len(n.Value), len(n.Value)
	case *parse.ListNode:
		for _, inner := range n.Nodes {
			s, w := r.cost(inner)
			size, work = min(size+s, enough), min(work+w, enough)
		}
	case *parse.FuncNode:
		value, args := len(r.values[n.Param]), 0
		for _, inner := range n.Args {
			s, w := r.cost(inner)
			args, work = min(args+s, enough), min(work+w, enough)
		}
		size, work = value+args, min(work+value+args, enough)
		switch {
		case strings.HasPrefix(n.Name, "/"):
			size = min((value+1)*(args+1), enough)
			work = min(work+size, enough)
		case len(n.Args) > 0 && (n.Name[0] == '#' || n.Name[0] == '%'):
			// Each beginning, or end, of the value is matched against a pattern.
			work = min(work+min(value*value, enough)*max(args, 1), enough)
		case n.Name == "^^" || n.Name == ",,":
			size *= 3 // letters may become longer
		}
	}
	return size, work
}

func fail(format string, args ...any) *app.Failure {
	return app.Fail(app.StageRender, app.ReasonBuild, format, args...)
}
