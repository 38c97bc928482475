package plan_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// TestBuild reads testdata/*.txtar: desired objects, what is live and what is
// recorded (a line each), spec and intent as YAML, and compares the plan as a
// person reads it.
func TestBuild(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := text(t, read(t, archive))
			for i, f := range archive.Files {
				if f.Name != "want.plan" {
					continue
				}
				if *update {
					archive.Files[i].Data = []byte(got)
					if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
						t.Fatal(err)
					}
				} else if got != string(f.Data) {
					t.Errorf("plan differs; got:\n%s\nwant:\n%s", got, f.Data)
				}
			}
		})
	}
}

// scenario is what a golden holds.
type scenario struct {
	plan.Input
	deletion bool
	failure  *app.Failure
}

func read(t *testing.T, archive *txtar.Archive) scenario {
	t.Helper()
	var s scenario
	part := map[string]string{}
	for _, f := range archive.Files {
		part[f.Name] = string(f.Data)
	}
	strict(t, part["spec"], &s.Spec)
	strict(t, part["intent"], &s.Intent)
	s.deletion = s.Spec.Deletion != nil
	objects, err := object.Decode("desired.yaml", []byte(part["desired"]))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[schema.GroupKind]plan.Kind{}
	for _, line := range lines(part["kinds"]) {
		kind, scope, _ := strings.Cut(line, " ")
		kinds[schema.ParseGroupKind(kind)] = plan.Kind{Served: true, Namespaced: scope == "namespaced", Owned: true}
	}
	s.Objects, _, s.failure = plan.Prepare(objects, s.Spec, kinds)
	digests := map[object.Ref]string{}
	for _, o := range s.Objects {
		digests[o.Ref()] = o.Digest()
	}
	for _, line := range lines(part["recorded"]) {
		fields := strings.Fields(line)
		ref := parseRef(t, fields[0])
		rec := app.Record{Ref: ref, Version: "v1"}
		for _, f := range fields[1:] {
			switch key, value, _ := strings.Cut(f, "="); {
			case f == "desired=same":
				rec.Desired = digests[ref]
			case key == "desired":
				rec.Desired = value
			case key == "owned":
				rec.Owned = value
			}
		}
		s.Spec.Recorded = append(s.Spec.Recorded, rec)
	}
	s.Facts = plan.Facts{Kinds: kinds, Live: map[object.Ref]plan.Live{}}
	for _, line := range lines(part["live"]) {
		fields := strings.Fields(line)
		live := plan.Live{Exists: true, UID: "u-" + fields[0], Marked: true, Annotations: map[string]string{}}
		for _, f := range fields[1:] {
			key, value, _ := strings.Cut(f, "=")
			switch key {
			case "owned":
				live.Owned = value
			case "unmarked":
				live.Marked = false
			case "deleting":
				live.Deleting = true
			case "inuse":
				live.InUse = true
			case "absent":
				live.Exists = false
			case "predict":
				live.Prediction = prediction(value)
			default:
				live.Annotations[key] = value
			}
		}
		s.Facts.Live[parseRef(t, fields[0])] = live
	}
	return s
}

func prediction(value string) *plan.Prediction {
	switch value {
	case "same":
		return &plan.Prediction{}
	case "changes":
		return &plan.Prediction{Changes: []app.FieldChange{{Path: ".spec.x", From: "1", To: "2"}}}
	}
	return &plan.Prediction{Refused: app.Fail(app.StageApply, app.Reason(value), "refused: %s", value)}
}

func strict(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

func lines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// parseRef reads group/Kind/namespace/name, group and namespace may be empty.
func parseRef(t *testing.T, s string) object.Ref {
	t.Helper()
	f := strings.Split(s, "/")
	if len(f) != 4 {
		t.Fatalf("%q is not group/Kind/namespace/name", s)
	}
	return object.Ref{Group: f[0], Kind: f[1], Namespace: f[2], Name: f[3]}
}

func text(t *testing.T, s scenario) string {
	t.Helper()
	if s.failure != nil {
		return "not deliverable: " + s.failure.Error() + "\n"
	}
	var p plan.Plan
	if s.deletion {
		p = plan.BuildDeletion(s.Spec, s.Facts)
	} else {
		p = plan.Build(s.Input)
	}
	var b strings.Builder
	if p.Refused != nil {
		fmt.Fprintf(&b, "refused (%s): %s\n", p.Refused.Reason, p.Refused)
	}
	for _, g := range p.Groups {
		fmt.Fprintf(&b, "%s\n", g.Name)
		for _, st := range g.Steps {
			step(&b, st)
		}
		for _, r := range g.Await {
			fmt.Fprintf(&b, "  await %s\n", r)
		}
		if g.Gone {
			fmt.Fprintf(&b, "  await gone\n")
		}
	}
	if len(p.Rest) > 0 {
		b.WriteString("nothing to write\n")
	}
	for _, st := range p.Rest {
		step(&b, st)
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w.Message)
	}
	return b.String()
}

func step(b *strings.Builder, s plan.Step) {
	fmt.Fprintf(b, "  %s %s: %s", s.Verb, s.Ref, s.Reason)
	if s.Sync != "" {
		fmt.Fprintf(b, " [%s]", s.Sync)
	}
	if s.Drifted {
		b.WriteString(" drifted")
	}
	if len(s.Write.AdoptFrom) > 0 {
		b.WriteString(" adopting")
	}
	b.WriteString("\n")
}

func TestDecide(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ok := &app.Attempt{Revision: "a", SpecHash: "h", Finished: now.Add(-time.Minute), Succeeded: true}
	failed := &app.Attempt{Revision: "a", SpecHash: "h", Finished: now.Add(-time.Minute), Retries: 1}
	healed := &app.Attempt{Revision: "a", SpecHash: "h", Finished: now.Add(-time.Second), Succeeded: true, Heals: 2}
	healedLater := &app.Attempt{Revision: "a", SpecHash: "h", Finished: now.AddDate(1, 0, 0), Succeeded: true, Heals: 2}
	failedLater := &app.Attempt{Revision: "a", SpecHash: "h", Finished: now.AddDate(1, 0, 0), Retries: 1}
	failedSkewed := &app.Attempt{Revision: "a", SpecHash: "h", Finished: now.Add(10 * time.Second), Retries: 1}
	calm := &app.Attempt{Revision: "a", SpecHash: "h", Finished: now.Add(-time.Hour), Succeeded: true, Heals: 7}
	argo := app.Policy{Mode: app.ModeEnforce, Prune: true, RetryLimit: 5,
		Retry:       app.Backoff{Initial: 5 * time.Second, Factor: 2, Max: 3 * time.Minute},
		HealBackoff: app.Backoff{Initial: 2 * time.Second, Factor: 3, Max: 5 * time.Minute}}
	with := func(p app.Policy, mode app.Mode) app.Policy { p.Mode = mode; return p }
	flux := app.Policy{Mode: app.ModeEnforce, Prune: true, RetryInterval: time.Minute}
	for _, c := range []struct {
		name    string
		policy  app.Policy
		request *app.Request
		last    *app.Attempt
		rev     string
		cause   app.Cause
		want    plan.Intent
	}{
		{"first time", argo, nil, nil, "a", app.CauseStart, plan.Intent{Apply: true, Prune: true}},
		{"manual never applies", with(argo, app.ModeManual), nil, nil, "a", app.CauseRevision, plan.Intent{Prune: true}},
		{"manual on request", with(argo, app.ModeManual), &app.Request{Sync: true, By: "eve"}, nil, "a", app.CauseRequest,
			plan.Intent{Apply: true, By: "eve"}},
		{"request without prune does not prune", argo, &app.Request{Sync: true, By: "eve"}, ok, "a", app.CauseRequest,
			plan.Intent{Apply: true, By: "eve"}},
		{"new revision", with(argo, app.ModeOnChange), nil, ok, "b", app.CauseRevision, plan.Intent{Apply: true, Prune: true}},
		{"on change leaves drift", with(argo, app.ModeOnChange), nil, ok, "a", app.CauseDrift, plan.Intent{Prune: true}},
		{"enforce heals at once the first time", argo, nil, ok, "a", app.CauseDrift, plan.Intent{Apply: true, Heal: true, Prune: true}},
		{"enforce backs off the third time", argo, nil, healed, "a", app.CauseDrift,
			plan.Intent{Apply: true, Heal: true, Heals: 2, Prune: true, NotBefore: now.Add(5 * time.Second)}},
		{"calm forgets the backoff", argo, nil, calm, "a", app.CauseDrift, plan.Intent{Apply: true, Heal: true, Prune: true}},
		{"failed is retried with backoff", argo, nil, failed, "a", app.CauseRetry,
			plan.Intent{Apply: true, Retry: 2, Prune: true, NotBefore: now.Add(-40 * time.Second)}},
		{"failed at a fixed interval, the timer", flux, nil, failed, "a", app.CauseRetry, plan.Intent{Apply: true, Retry: 2, Prune: true}},
		{"failed at a fixed interval, drift waits", flux, nil, failed, "a", app.CauseDrift,
			plan.Intent{Apply: true, Retry: 2, Prune: true, NotBefore: now}},
		{"what stood against it has come about: no wait", flux, nil, failed, "a", app.CauseDepends, plan.Intent{Apply: true, Retry: 1, Prune: true}},
		{"the same with a backoff", argo, nil, failed, "a", app.CauseDepends, plan.Intent{Apply: true, Retry: 1, Prune: true}},
		{"healed in the future", argo, nil, healedLater, "a", app.CauseDrift, plan.Intent{Apply: true, Heal: true, Heals: 2, Prune: true}},
		{"failed in the future", argo, nil, failedLater, "a", app.CauseStart, plan.Intent{Apply: true, Retry: 2, Prune: true}},
		{"failed in the future, fixed interval", flux, nil, failedLater, "a", app.CauseDrift, plan.Intent{Apply: true, Retry: 2, Prune: true}},
		{"clocks may differ by a little", argo, nil, failedSkewed, "a", app.CauseStart,
			plan.Intent{Apply: true, Retry: 2, Prune: true, NotBefore: now.Add(30 * time.Second)}},
		{"no backoff heals at once always", flux, nil, healed, "a", app.CauseDrift, plan.Intent{Apply: true, Heal: true, Prune: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := plan.Decide(app.Spec{Policy: c.policy, Request: c.request},
				plan.Situation{Cause: c.cause, Revision: c.rev, SpecHash: "h", LastSync: c.last, Now: now})
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
	exhausted := *failed
	exhausted.Retries = 5
	got := plan.Decide(app.Spec{Policy: argo}, plan.Situation{Cause: app.CauseRetry, Revision: "a", SpecHash: "h", LastSync: &exhausted, Now: now})
	if got.Apply || got.Refused == nil || !got.Refused.Retry.Never {
		t.Errorf("tries are used up: got %+v", got)
	}
	got = plan.Decide(app.Spec{Policy: argo}, plan.Situation{Cause: app.CauseDepends, Revision: "a", SpecHash: "h", LastSync: &exhausted, Now: now})
	if !got.Apply || got.Refused != nil || got.Retry != 5 {
		t.Errorf("tries are used up, but what was missing has come: got %+v", got)
	}
}
