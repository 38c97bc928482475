package flux

import (
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
)

// What a tenant writes is bounded before it is read.
func TestExpressionsAreBounded(t *testing.T) {
	many := func(n int, text string) []dependency {
		out := make([]dependency, n)
		for i := range out {
			out[i].ReadyExpr = text
		}
		return out
	}
	health := []healthExpr{{APIVersion: "v1", Kind: "A", Current: "true"}}
	for name, c := range map[string]struct {
		depends []dependency
		refused bool
	}{
		"as many as may be":      {many(maxExpressions-1, "self.a == dep.a"), false},
		"one more":               {many(maxExpressions, "self.a == dep.a"), true},
		"without an expression":  {many(maxExpressions*100, ""), false},
		"a long one":             {many(1, "true"+strings.Repeat("||true", maxExpressionBytes/6)), true},
		"all together long ones": {many(100, "true"+strings.Repeat("||true", maxExpressionBytes/600)), true},
	} {
		_, failure := expressions(health, c.depends)
		if refused := failure != nil; refused != c.refused {
			t.Errorf("%s: %v", name, failure)
		}
		if failure != nil && (failure.Reason != app.ReasonInvalidExpr || len(failure.Error()) > 500) {
			t.Errorf("%s: %s", name, failure)
		}
	}
}
