package flux

import (
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"plumb.dev/plumb/internal/app"
)

// ignoreRules reads the rules of a field.
func ignoreRules(field string, rules []ignoreRule) ([]app.IgnoreRule, *app.Failure) {
	var out []app.IgnoreRule
	for i, r := range rules {
		invalid := func(format string, args ...any) ([]app.IgnoreRule, *app.Failure) {
			return nil, app.Fail(app.StageSpec, app.ReasonInvalidSpec, "%s[%d]: "+format, append([]any{field, i}, args...)...)
		}
		if len(r.Paths) == 0 {
			return invalid("paths are missing")
		}
		for _, p := range r.Paths {
			if !strings.HasPrefix(p, "/") {
				return invalid("%q is no JSON pointer: it must begin with a slash", p)
			}
		}
		target := &app.Selector{}
		if r.Target != nil {
			target = r.Target.app()
		}
		for _, pattern := range []string{target.Group, target.Version, target.Kind, target.Namespace, target.Name} {
			if _, err := regexp.Compile(pattern); err != nil {
				return invalid("target: %w", err)
			}
		}
		for _, selector := range []string{target.LabelSelector, target.AnnotationSelector} {
			if _, err := labels.Parse(selector); err != nil {
				return invalid("target: %w", err)
			}
		}
		out = append(out, app.IgnoreRule{Target: target, Pointers: r.Paths})
	}
	return out, nil
}
