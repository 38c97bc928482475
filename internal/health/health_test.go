package health

import (
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

func parse(t testing.TB, data []byte) *unstructured.Unstructured {
	t.Helper()
	data, err := yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return u
}

type verdict struct {
	name            string
	byKind, kstatus app.HealthStatus
	object          *unstructured.Unstructured
}

func verdicts(t testing.TB) []verdict {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/verdicts.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var out []verdict
	for _, f := range archive.Files {
		parts := strings.Split(f.Name, " | ")
		if len(parts) != 3 {
			t.Fatalf("file name %q: want three parts", f.Name)
		}
		status := func(s string) app.HealthStatus { return app.HealthStatus(strings.ReplaceAll(s, "none", "")) }
		out = append(out, verdict{parts[0], status(parts[1]), status(parts[2]), parse(t, f.Data)})
	}
	return out
}

func TestAssess(t *testing.T) {
	for _, v := range verdicts(t) {
		t.Run(v.name, func(t *testing.T) {
			if got := Assess(v.object, app.HealthByKind); got.Status != v.byKind {
				t.Errorf("by kind: %q (%s), want %q", got.Status, got.Message, v.byKind)
			}
			if got := Assess(v.object, app.HealthKstatus); got.Status != v.kstatus {
				t.Errorf("by kstatus: %q (%s), want %q", got.Status, got.Message, v.kstatus)
			}
		})
	}
}

func TestAssessAbsent(t *testing.T) {
	for _, rules := range []app.HealthRules{app.HealthByKind, app.HealthKstatus} {
		if got := Assess(nil, rules); got.Status != app.Missing {
			t.Errorf("%s: an absent object is %q", rules, got.Status)
		}
	}
}

// What Needs says not to depend on the object must be told from its metadata
// as well as from all of it.
func TestNeedsHolds(t *testing.T) {
	for _, v := range verdicts(t) {
		bare := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": v.object.GetAPIVersion(), "kind": v.object.GetKind(), "metadata": v.object.Object["metadata"],
		}}
		for _, rules := range []app.HealthRules{app.HealthByKind, app.HealthKstatus} {
			gk := v.object.GroupVersionKind().GroupKind()
			if Needs(gk, rules) {
				continue
			}
			if full, meta := Assess(v.object, rules), Assess(bare, rules); full != meta {
				t.Errorf("%s by %s: %v from the object, %v from its metadata", v.name, rules, full, meta)
			}
		}
	}
}

func TestNeeds(t *testing.T) {
	tests := []struct {
		group, kind     string
		byKind, kstatus bool
	}{
		{"", "Secret", false, false},
		{"", "ConfigMap", false, false},
		{"", "ServiceAccount", false, false},
		{"", "Namespace", false, false},
		{"rbac.authorization.k8s.io", "ClusterRole", false, false},
		{"networking.k8s.io", "NetworkPolicy", false, false},
		{"networking.k8s.io", "Ingress", true, false},
		{"batch", "CronJob", true, false},
		{"apps", "Deployment", true, true},
		{"", "Service", true, true},
		{"x.example", "Secret", false, true},
		{"argoproj.io", "Application", false, true},
	}
	for _, test := range tests {
		gk := schema.GroupKind{Group: test.group, Kind: test.kind}
		if got := Needs(gk, app.HealthByKind); got != test.byKind {
			t.Errorf("%s by kind: %v", gk, got)
		}
		if got := Needs(gk, app.HealthKstatus); got != test.kstatus {
			t.Errorf("%s by kstatus: %v", gk, got)
		}
	}
}

func TestWorst(t *testing.T) {
	of := func(ref object.Ref, status app.HealthStatus, message string) app.ObjectReport {
		return app.ObjectReport{Ref: ref, Health: app.Health{Status: status, Message: message}}
	}
	deployment := object.Ref{Group: "apps", Kind: "Deployment", Namespace: "n", Name: "a"}
	child := object.Ref{Group: "argoproj.io", Kind: "Application", Namespace: "n", Name: "c"}
	tests := []struct {
		name            string
		objects         []app.ObjectReport
		byKind, kstatus app.HealthStatus
		message         string // by kind
	}{
		{"none", nil, app.Healthy, app.Healthy, ""},
		{"without health", []app.ObjectReport{of(deployment, "", "")}, app.Healthy, app.Healthy, ""},
		{"worst wins", []app.ObjectReport{
			of(deployment, app.Progressing, "1 of 2"), of(deployment, app.Degraded, "dead"), of(deployment, app.Healthy, ""),
		}, app.Degraded, app.Degraded, "Deployment/n/a: dead"},
		{"unknown is worst", []app.ObjectReport{
			of(deployment, app.Degraded, ""), of(deployment, app.HealthLost, ""),
		}, app.HealthLost, app.HealthLost, "Deployment/n/a"},
		{"one is absent", []app.ObjectReport{
			of(deployment, app.Missing, ""), of(deployment, app.Healthy, ""),
		}, app.Healthy, app.Missing, ""},
		{"all are absent", []app.ObjectReport{of(deployment, app.Missing, ""), of(deployment, app.Missing, "")},
			app.Missing, app.Missing, "none of the objects exists"},
		{"child unknown", []app.ObjectReport{of(child, app.HealthLost, ""), of(deployment, app.Suspended, "paused")},
			app.Suspended, app.HealthLost, "Deployment/n/a: paused"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Worst(test.objects, app.HealthByKind)
			if got.Status != test.byKind || got.Message != test.message {
				t.Errorf("by kind: %+v, want %q, %q", got, test.byKind, test.message)
			}
			if got := Worst(test.objects, app.HealthKstatus); got.Status != test.kstatus {
				t.Errorf("by kstatus: %q, want %q", got.Status, test.kstatus)
			}
		})
	}
}

func FuzzAssess(f *testing.F) {
	for _, v := range verdicts(f) {
		data, err := v.object.MarshalJSON()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		u := &unstructured.Unstructured{}
		if u.UnmarshalJSON(data) != nil {
			return
		}
		for _, rules := range []app.HealthRules{app.HealthByKind, app.HealthKstatus} {
			if got := Assess(u, rules); rank(got.Status) == len(badness) {
				t.Errorf("%s: no such state: %q", rules, got.Status)
			}
		}
	})
}
