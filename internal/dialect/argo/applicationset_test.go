package argo

import (
	"os"
	"strings"
	"testing"
	"time"
)

// The fragment that guides show is accepted, and told what it lacks.
func TestAssessApplicationSet(t *testing.T) {
	data, err := os.ReadFile("testdata/inputs/argo-preview-appset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	u := parse(t, string(data))
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	patch := AssessApplicationSet(u, at)
	if patch == nil {
		t.Fatal("no status")
	}
	applyMergePatch(u.Object, patch)
	want := map[string]string{"ErrorOccurred": "True", "ParametersGenerated": "False", "ResourcesUpToDate": "False"}
	for _, c := range objects(u.Object, "status", "conditions") {
		if want[text(c, "type")] != text(c, "status") {
			t.Errorf("%s is %s", text(c, "type"), text(c, "status"))
		}
		delete(want, text(c, "type"))
		for _, part := range []string{
			"spec.template.spec.project is missing (add 'project: default')",
			"spec.template.spec.source is missing",
			"spec.template.spec.destination.server is missing",
			"spec.generators[0].pullRequest.requeueAfterSeconds",
			"does not run ApplicationSet generators in this version",
			"for pullRequest",
		} {
			if !strings.Contains(text(c, "message"), part) {
				t.Errorf("%s does not say %q: %s", text(c, "type"), part, text(c, "message"))
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	if again := AssessApplicationSet(u, at.Add(time.Hour)); again != nil {
		t.Errorf("a second time: %v", again)
	}
}

func TestAssessCompleteApplicationSet(t *testing.T) {
	u := parse(t, `{kind: ApplicationSet, spec: {generators: [{list: {elements: []}}], template: {metadata: {name: a}, spec: {
		project: default, source: {repoURL: a, path: b}, destination: {name: in-cluster}}}}}`)
	for _, c := range objects(AssessApplicationSet(u, time.Time{}), "status", "conditions") {
		if strings.Contains(text(c, "message"), "incomplete") {
			t.Error(text(c, "message"))
		}
	}
}
