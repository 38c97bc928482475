package flux

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/expr"
	"plumb.dev/plumb/internal/object"
)

// The expressions of one resource, which are read whenever it changes: all of
// them together take tenths of a second at most.
const (
	maxExpressions     = 200
	maxExpressionBytes = 32 << 10
)

// expressions reads spec.healthCheckExprs, and makes sure that they and the
// readyExprs of spec.dependsOn can be parsed.
func expressions(health []healthExpr, dependsOn []dependency) ([]app.HealthExpr, *app.Failure) {
	invalid := func(format string, args ...any) *app.Failure {
		return app.Fail(app.StageSpec, app.ReasonInvalidExpr, "Reconciliation failed terminally due to configuration error: "+format, args...)
	}
	var all []string
	for _, e := range health {
		all = append(all, e.InProgress, e.Failed, e.Current)
	}
	for _, d := range dependsOn {
		all = append(all, d.ReadyExpr)
	}
	all = slices.DeleteFunc(all, func(text string) bool { return text == "" })
	if size := len(strings.Join(all, "")); len(all) > maxExpressions || size > maxExpressionBytes {
		return nil, invalid("%d CEL expressions of %d bytes; a resource may have %d, of %d bytes", len(all), size, maxExpressions, maxExpressionBytes)
	}
	var out []app.HealthExpr
	for i, e := range health {
		gv, err := schema.ParseGroupVersion(e.APIVersion)
		if err != nil || gv.Version == "" {
			return nil, invalid("healthCheckExprs[%d].apiVersion: %q is none", i, e.APIVersion)
		}
		out = append(out, app.HealthExpr{Group: gv.Group, Kind: e.Kind, InProgress: e.InProgress, Failed: e.Failed, Current: e.Current})
	}
	if _, err := expr.ParseHealth(out); err != nil {
		return nil, invalid("%w", err)
	}
	for i, d := range dependsOn {
		if d.ReadyExpr == "" {
			continue
		}
		if _, err := expr.ParseReady(d.ReadyExpr); err != nil {
			return nil, invalid("dependsOn[%d].readyExpr: %w", i, err)
		}
	}
	return out, nil
}

// reference is where a Kustomization is in the cluster.
func reference(id app.ID) object.Ref {
	return object.Ref{Group: KustomizeGroup, Kind: id.Kind, Namespace: id.Namespace, Name: id.Name}
}
