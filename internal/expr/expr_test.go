package expr

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
)

func parsed(t *testing.T, text string) map[string]any {
	t.Helper()
	u := &unstructured.Unstructured{}
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return u.Object
}

func TestHealth(t *testing.T) {
	h, err := ParseHealth([]app.HealthExpr{
		{Group: "example.com", Current: "true"},
		{Group: "example.com", Kind: "Database",
			InProgress: "has(status.phase) && status.phase == 'Creating'",
			Failed:     "status.conditions.exists(c, c.type == 'Failed' && c.status == 'True')",
			Current:    "status.conditions.filter(c, c.type == 'Ready').all(c, c.status == 'True')"},
		{Group: "", Kind: "ConfigMap", Current: "data.?state.orValue('') == 'done'", Failed: "size(data) > 1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ object, want string }{
		{"{kind: Other, status: {phase: Creating}}", "Healthy expression current holds"},
		{"{kind: Database, status: {phase: Creating}}", "Progressing expression inProgress holds"},
		{"{kind: Database, status: {phase: Up, conditions: [{type: Failed, status: 'True'}]}}", "Degraded expression failed holds"},
		{"{kind: Database, status: {conditions: [{type: Ready, status: 'True'}]}}", "Healthy expression current holds"},
		{"{kind: Database, status: {conditions: [{type: Ready, status: 'False'}]}}", "Progressing none of the expressions holds"},
		{"{kind: Database, metadata: {generation: 2}, status: {observedGeneration: 1, conditions: []}}", "Progressing the status is of an older generation"},
		{"{kind: Database, status: {phase: Up}}", "Progressing expression failed: no such key: conditions"},
		{"{kind: Database}", "Progressing expression inProgress: no such attribute(s): status.phase"},
		{"{kind: Database, metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}}", "Progressing Pending deletion"},
		{"{apiVersion: v1, kind: ConfigMap, data: {state: done}}", "Healthy expression current holds"},
		{"{apiVersion: v1, kind: ConfigMap, data: {a: b, c: d}}", "Degraded expression failed holds"},
		{"{apiVersion: v1, kind: ConfigMap, data: {}}", "Progressing none of the expressions holds"},
	} {
		content := parsed(t, c.object)
		if content["apiVersion"] == nil {
			content["apiVersion"] = "example.com/v7"
		}
		got := h.Assess(t.Context(), &unstructured.Unstructured{Object: content})
		if text := string(got.Status) + " " + got.Message; text != c.want {
			t.Errorf("%s: %s, want %s", c.object, text, c.want)
		}
	}
	for kind, want := range map[string]bool{"Database.example.com": true, "Any.example.com": true, "Secret": false, "ConfigMap": true} {
		if h.Has(schema.ParseGroupKind(kind)) != want || (*Health)(nil).Has(schema.ParseGroupKind(kind)) {
			t.Errorf("Has(%s) is not %v", kind, want)
		}
	}
}

func TestHealthErrors(t *testing.T) {
	for text, want := range map[string]string{
		"foo.": "healthCheckExprs[0].current: failed to parse the CEL expression 'foo.': ERROR: <input>:1:5: Syntax error",
		"":     "healthCheckExprs[0]: current is missing",
	} {
		if _, err := ParseHealth([]app.HealthExpr{{Current: text}}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	// No boolean, and one that takes too long: not healthy, and it says why.
	numbers := "[0,1,2,3,4,5,6,7,8,9]"
	long := numbers + ".all(a, " + numbers + ".all(b, " + numbers + ".all(c, " + numbers + ".all(d, " + numbers + ".all(e, " + numbers + ".all(f, " + numbers + ".all(g, a+b+c+d+e+f+g >= 0)))))))"
	for text, want := range map[string]string{"'yes'": "gives no boolean", long: "cost"} {
		h, err := ParseHealth([]app.HealthExpr{{Kind: "ConfigMap", Current: text}})
		if err != nil {
			t.Fatal(err)
		}
		got := h.Assess(t.Context(), &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"}})
		if got.Status != app.Progressing || !strings.Contains(got.Message, want) {
			t.Errorf("%.20s: %v", text, got)
		}
	}
}

func TestReady(t *testing.T) {
	self := parsed(t, "{kind: Kustomization, metadata: {name: web, labels: {version: v2}}}")
	dep := parsed(t, "{kind: Kustomization, metadata: {name: db, labels: {version: v2}}, status: {conditions: [{type: Ready, status: 'True'}]}}")
	for text, want := range map[string]string{
		"dep.metadata.labels['version'] == self.metadata.labels['version']":               "true",
		"dep.status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'False')":  "false",
		"dep.status.conditions.exists(e, e.type == 'Ready') && has(dep.metadata.missing)": "false",
		"dep.status.phase == 'Up'": "error: no such key: phase",
	} {
		r, err := ParseReady(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := "false"
		holds, err := r.Holds(t.Context(), self, dep)
		if holds {
			got = "true"
		}
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"self.generation == deps.generation": "undeclared reference to 'deps'",
		"dep.metadata.name + 'x'":            "not a boolean",
		"'text'":                             "gives string, not a boolean",
		"(":                                  "Syntax error",
	} {
		if _, err := ParseReady(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	long := "a" + strings.Repeat(" || a", 500) // each of which is an issue, with the line
	if _, err := ParseReady(long); err == nil || !strings.Contains(err.Error(), "undeclared reference to 'a'") || len(err.Error()) > len(long)+maxIssues+100 {
		t.Errorf("%d bytes of %v", len(err.Error()), err)
	}
}

// FuzzParse: no expression makes it panic or run on.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"true", "self.a.b", "dep.x.all(y, y > 1)", "[1,2].map(x, x*2) == []", "'a'.matches('(a+)+$')", "a ? b : c", "{'a': 1}.a"} {
		f.Add(seed)
	}
	object := map[string]any{"a": map[string]any{"b": "text", "list": []any{int64(1), "x", nil}}}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1000 {
			return
		}
		if r, err := ParseReady(text); err == nil {
			_, _ = r.Holds(t.Context(), object, object)
		}
		if e, err := parse(text); err == nil {
			_, _ = e.eval(t.Context(), object)
		}
	})
}
