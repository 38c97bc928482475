package argo

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
)

// parseReport reads a report as the goldens write it: the fields of app.Report,
// with the failure spelled out.
func parseReport(t *testing.T, text string) app.Report {
	t.Helper()
	var raw map[string]any
	if err := yaml.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatal(err)
	}
	var failure *app.Failure
	if f, ok := raw["failure"].(map[string]any); ok {
		field := func(key string) string { s, _ := f[key].(string); return s }
		failure = &app.Failure{Stage: app.Stage(field("stage")), Reason: app.Reason(field("reason")),
			Hint: field("hint"), Err: errors.New(field("error"))}
	}
	delete(raw, "failure")
	data, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	r := app.Report{Phase: app.PhaseDone}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	r.Failure = failure
	if r.Attempt != nil && !r.Attempt.Succeeded && !r.Attempt.Running {
		r.Attempt.Failure = failure
	}
	return r
}

// applyMergePatch is RFC 7386.
func applyMergePatch(target, patch map[string]any) {
	for key, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(target, key)
		case map[string]any:
			sub, ok := target[key].(map[string]any)
			if !ok {
				sub = map[string]any{}
				target[key] = sub
			}
			applyMergePatch(sub, v)
		default:
			target[key] = v
		}
	}
}

func TestEncode(t *testing.T) {
	golden(t, "encode", func(t *testing.T, in map[string]string) []txtar.File {
		old := parse(t, in["old.yaml"])
		before := old.DeepCopy()
		r := parseReport(t, in["report.yaml"])
		if r.Answered != nil && r.Answered.Token == "" {
			spec, _ := DecodeApplication(old, Options{})
			if spec.Request != nil {
				r.Answered.Token = spec.Request.Token
			}
		}
		events := Events(r, old, Options{})
		patch := EncodeApplication(r, old, Options{})
		if show(before.Object) != show(old.Object) {
			t.Error("the resource was changed")
		}
		text := []byte("nothing to write\n")
		if patch != nil {
			var err error
			if text, err = yaml.Marshal(patch); err != nil {
				t.Fatal(err)
			}
		}
		var lines strings.Builder
		for _, e := range events {
			kind := "Normal"
			if e.Warning {
				kind = "Warning"
			}
			lines.WriteString(kind + " " + e.Reason + " " + e.Message + "\n")
		}

		// A later look that finds nothing new writes and tells nothing.
		if patch != nil && !r.Deleted && r.Phase == app.PhaseDone {
			applyMergePatch(old.Object, patch)
			quiet := r
			quiet.At, quiet.Started = r.At.Add(time.Hour), r.At.Add(time.Hour)
			quiet.Attempt, quiet.Answered, quiet.RetryAt = nil, nil, time.Time{}
			for i := range quiet.Drift {
				quiet.Drift[i].At = quiet.At // of a deletion, the time it is seen is all there is
			}
			quiet.Drift = slices.DeleteFunc(quiet.Drift, func(d app.Drift) bool { return d.Restored })
			if r.RetryAt.IsZero() { // one that is to be retried will tell
				if again := EncodeApplication(quiet, old, Options{}); again != nil {
					t.Errorf("a quiet look writes %v", again)
				}
				if again := Events(quiet, old, Options{}); len(again) > 0 {
					t.Errorf("a quiet look tells %v", again)
				}
			}
		}
		return []txtar.File{{Name: "want.patch", Data: text}, {Name: "want.events", Data: []byte(lines.String())}}
	})
}
