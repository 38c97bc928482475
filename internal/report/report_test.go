package report_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
	"plumb.dev/plumb/internal/report"
)

var (
	noon  = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	later = noon.Add(3 * time.Second)
	ref   = object.Ref{Kind: "ConfigMap", Namespace: "ns", Name: "a"}
	// old is what was recorded of the object, fresh what a write makes of it.
	old   = app.Record{Ref: ref, Version: "v1", Desired: "d1", Owned: "o1"}
	fresh = plan.Written{Owned: "o2", Changed: true}
)

func manifest() object.Object {
	return object.New(map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "a", "namespace": "ns"}}, object.Origin{Path: "a.yaml", Line: 1})
}

func record(r app.Record) string {
	if r == (app.Record{}) {
		return "-"
	}
	return fmt.Sprintf("%s/%s", orDash(r.Desired), orDash(r.Owned))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// TestSteps holds what becomes of one object: each verb, not carried out,
// done, and failed, with and without an older record.
func TestSteps(t *testing.T) {
	const (
		planned = iota
		done
		failed
	)
	// want is: sync action record-desired/record-owned [prune], "-" for none
	// and "absent" for an object that the report does not show.
	for _, c := range []struct {
		verb    plan.Verb
		outcome int
		known   bool
		sync    app.SyncStatus
		want    string
	}{
		{plan.Create, planned, false, app.OutOfSync, "OutOfSync - -"},
		{plan.Create, done, false, app.OutOfSync, "Synced created d2/o2"},
		{plan.Create, failed, false, app.OutOfSync, "OutOfSync failed -/-"}, // it may have landed
		{plan.Create, failed, true, app.OutOfSync, "OutOfSync failed d1/o1"},
		{plan.Apply, planned, true, app.OutOfSync, "OutOfSync - d1/o1"},
		{plan.Apply, planned, true, app.Synced, "Synced - d1/o1"},
		{plan.Apply, done, true, app.OutOfSync, "Synced configured d2/o2"},
		{plan.Apply, failed, true, app.OutOfSync, "OutOfSync failed d1/o1"},
		{plan.Apply, failed, false, app.OutOfSync, "OutOfSync failed -/-"},
		{plan.Replace, done, true, app.OutOfSync, "Synced configured d2/o2"},
		{plan.Recreate, done, true, app.OutOfSync, "Synced configured d2/o2"},
		{plan.Recreate, failed, true, app.OutOfSync, "OutOfSync failed d1/o1"},
		{plan.Prune, planned, true, app.OutOfSync, "OutOfSync - d1/o1 prune"},
		{plan.Prune, done, true, app.OutOfSync, "- deleted -"},
		{plan.Prune, failed, true, app.OutOfSync, "OutOfSync failed d1/o1"},
		{plan.Keep, planned, true, app.Synced, "Synced - d1/o1"},
		{plan.Skip, planned, true, "", "- skipped d1/o1"},
		{plan.Skip, planned, false, app.Synced, "Synced skipped -/-"},
		{plan.Leave, planned, true, app.OutOfSync, "OutOfSync - d1/o1 prune"},
		{plan.Report, planned, true, app.OutOfSync, "OutOfSync - d1/o1"},
		{plan.Report, planned, false, app.OutOfSync, "OutOfSync - -"},
	} {
		name := fmt.Sprintf("%s %s known=%t", c.verb, []string{"planned", "done", "failed"}[c.outcome], c.known)
		t.Run(name, func(t *testing.T) {
			s := plan.Step{Verb: c.verb, Ref: ref, Version: "v1", Desired: "d2", Sync: c.sync, Reason: "why", Wave: 3}
			if c.verb != plan.Prune && c.verb != plan.Leave {
				s.Object = manifest()
			}
			if c.known {
				s.Recorded = old
			}
			in := report.Input{Now: noon, Planned: true}
			res := plan.Result{Step: s, At: later}
			switch c.outcome {
			case done:
				res.Written = fresh
				res.Action = map[plan.Verb]app.Action{plan.Create: app.ActionCreated, plan.Prune: app.ActionPruned}[c.verb]
				if res.Action == "" {
					res.Action = app.ActionConfigured
				}
			case failed:
				res.Failure = app.Fail(app.StageApply, app.ReasonForbidden, "it may not")
				res.Action, res.Message = app.ActionFailed, "it may not"
				in.Failure = res.Failure
			}
			if s.Verb.Writes() {
				in.Plan.Groups = []plan.Group{{Steps: []plan.Step{s}}}
			} else {
				in.Plan.Rest = []plan.Step{s}
			}
			if c.outcome != planned {
				in.Executed, in.Outcome.Results = true, []plan.Result{res}
			}
			rep := report.Compose(in)
			var got string
			switch len(rep.Objects) {
			case 0:
				got = "absent"
			default:
				o := rep.Objects[0]
				if o.Ref != ref || o.Wave != 3 || o.Reason != "why" || (c.outcome == failed) != (o.Message != "") {
					t.Errorf("object is %+v", o)
				}
				got = orDash(string(o.Sync)) + " " + orDash(string(o.Action)) + " "
				defer func(prune bool) {
					if prune != strings.HasSuffix(c.want, " prune") {
						t.Errorf("requires prune: %t", prune)
					}
				}(o.RequiresPrune)
			}
			switch len(rep.Records) {
			case 0:
				got += "-"
			case 1:
				got += record(rep.Records[0])
			default:
				t.Errorf("records: %v", rep.Records)
			}
			if want := strings.TrimSuffix(c.want, " prune"); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if c.outcome == done && c.verb != plan.Prune && rep.Sync != app.Synced {
				t.Errorf("the app is %s", rep.Sync)
			}
		})
	}
}

// namespaceStep is the step of a namespace that the policy asks for.
func namespaceStep(t *testing.T) plan.Step {
	t.Helper()
	spec := app.Spec{Target: app.Target{Namespace: "made"}, Policy: app.Policy{CreateNamespace: true}}
	p := plan.Build(plan.Input{Spec: spec})
	steps := p.Steps()
	if len(steps) != 1 || !steps[0].OfNamespace() {
		t.Fatalf("plan is %+v", p)
	}
	return steps[0]
}

func TestNamespaceOfThePolicyIsInNoInventory(t *testing.T) {
	s := namespaceStep(t)
	for name, res := range map[string]plan.Result{
		"done":   {Step: s, Action: app.ActionCreated, Written: fresh},
		"failed": {Step: s, Action: app.ActionFailed, Failure: app.Fail(app.StageApply, app.ReasonForbidden, "no")},
	} {
		in := report.Input{Planned: true, Executed: true, Failure: res.Failure,
			Plan: plan.Plan{Groups: []plan.Group{{Steps: []plan.Step{s}}}}, Outcome: plan.Outcome{Results: []plan.Result{res}}}
		if rep := report.Compose(in); len(rep.Records) != 0 {
			t.Errorf("%s: records are %v", name, rep.Records)
		}
	}
}

func TestDrift(t *testing.T) {
	held := []plan.Holding{
		{Path: ".spec.replicas", By: "kubectl", Subresource: "scale", At: noon.Add(-time.Minute).Unix()},
		{Path: ".data.x"},
	}
	for _, c := range []struct {
		name string
		step plan.Step
		res  *plan.Result
		want string // "" for no drift
	}{
		{"undone", plan.Step{Verb: plan.Apply, UID: "u"}, &plan.Result{Written: plan.Written{Changed: true, Regained: held}},
			"kubectl/scale .spec.replicas,.data.x restored 11:59:00"},
		{"an equal value retaken", plan.Step{Verb: plan.Apply, UID: "u"}, &plan.Result{Written: plan.Written{Regained: held}}, ""},
		{"deleted and made again", plan.Step{Verb: plan.Create}, &plan.Result{Written: plan.Written{Created: true, Changed: true}},
			"/  deleted restored 12:00:00"},
		{"reported only", plan.Step{Verb: plan.Report, UID: "u", Sync: app.OutOfSync, Held: held},
			nil, "kubectl/scale .spec.replicas,.data.x 11:59:00"},
		{"a deletion reported only", plan.Step{Verb: plan.Report, Sync: app.OutOfSync}, nil, "/  deleted 12:00:00"},
		{"an equal value reported only", plan.Step{Verb: plan.Report, UID: "u", Sync: app.Synced, Held: held}, nil, ""},
		{"not undone, refused", plan.Step{Verb: plan.Apply, UID: "u", Sync: app.OutOfSync, Held: held},
			&plan.Result{Failure: app.Fail(app.StageApply, app.ReasonForbidden, "no")}, "kubectl/scale .spec.replicas,.data.x 11:59:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.step.Ref, c.step.Drifted = ref, true
			in := report.Input{Planned: true, Now: noon, Plan: plan.Plan{Rest: []plan.Step{c.step}}}
			if c.res != nil {
				c.res.Step, c.res.At = c.step, later
				in.Outcome.Results = []plan.Result{*c.res}
			}
			got := ""
			for _, d := range report.Compose(in).Drift {
				got += d.By + "/" + d.Subresource + " " + strings.Join(d.Fields, ",")
				if d.Deleted {
					got += " deleted"
				}
				if d.Restored {
					got += " restored"
				}
				if d.Restored && !d.RestoredAt.Equal(later) {
					t.Errorf("restored at %s", d.RestoredAt)
				}
				got += " " + d.At.UTC().Format("15:04:05")
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	// What nobody drifted is no drift, whoever held it.
	in := report.Input{Planned: true, Plan: plan.Plan{Rest: []plan.Step{{Verb: plan.Report, Ref: ref, Sync: app.OutOfSync, Held: held}}}}
	if d := report.Compose(in).Drift; len(d) != 0 {
		t.Errorf("drift without drift: %v", d)
	}
}

func TestAttemptAndWhatIsRemembered(t *testing.T) {
	rev := func(c string) app.Revision { return app.Revision{Commit: c} }
	before := &app.Attempt{Revision: "a", SpecHash: "h", Succeeded: true, Finished: noon.Add(-time.Hour)}
	tried := &app.Attempt{Revision: "b", SpecHash: "h", Retries: 1, Finished: noon.Add(-time.Hour)}
	write := []plan.Group{{Steps: []plan.Step{{Verb: plan.Apply, Ref: ref, Sync: app.OutOfSync}}}}
	synced := []plan.Step{{Verb: plan.Keep, Ref: ref, Sync: app.Synced}}
	result := []plan.Result{{Step: write[0].Steps[0], Action: app.ActionConfigured}}
	broken := app.Fail(app.StageApply, app.ReasonForbidden, "no")
	superseded := app.Fail(app.StageHealth, app.ReasonSuperseded, "a newer revision takes over")
	for _, c := range []struct {
		name string
		in   report.Input
		want string // attempt; last sync; applied
	}{
		{"delivered", report.Input{Executed: true, Intent: plan.Intent{Apply: true}, Plan: plan.Plan{Groups: write}, Outcome: plan.Outcome{Results: result}},
			"ok 1 of 1 objects written; b ok; b"},
		{"failed", report.Input{Executed: true, Intent: plan.Intent{Apply: true, Retry: 2}, Plan: plan.Plan{Groups: write}, Failure: broken},
			"failed no retry 2; b failed retry 2; a"},
		{"failed for want of a cluster: no try is used up", report.Input{Executed: true, Intent: plan.Intent{Apply: true, Retry: 2},
			Plan: plan.Plan{Groups: write}, Failure: app.Fail(app.StageApply, app.ReasonClusterDown, "away")}, "failed away retry 1; b failed retry 1; a"},
		{"refused", report.Input{Intent: plan.Intent{Apply: true, Retry: 1}, Plan: plan.Plan{Refused: broken}, Failure: broken},
			"failed no retry 1; b failed retry 1; a"},
		{"refused before it is time to try again", report.Input{Early: true, Intent: plan.Intent{Apply: true, Retry: 1}, Plan: plan.Plan{Refused: broken},
			Failure: broken, Spec: app.Spec{LastSync: tried}}, "none; b failed retry 1; a"},
		{"refused, of an app that nobody asked to sync", report.Input{Plan: plan.Plan{Refused: broken}, Failure: broken}, "none; a ok; a"},
		{"pre-empted", report.Input{Executed: true, Intent: plan.Intent{Apply: true}, Plan: plan.Plan{Groups: write}, Outcome: plan.Outcome{Results: result}, Failure: superseded},
			"failed a newer revision takes over; a ok; a"},
		{"a heal", report.Input{Executed: true, Intent: plan.Intent{Apply: true, Heal: true, Heals: 1}, Plan: plan.Plan{Groups: write, Partial: true}, Outcome: plan.Outcome{Results: result}},
			"ok 1 of 1 objects written heal 2 partial; b ok heal 2; b"},
		{"a user's selection", report.Input{Executed: true, Intent: plan.Intent{Apply: true, By: "eve"}, Plan: plan.Plan{Groups: write, Partial: true}, Outcome: plan.Outcome{Results: result}},
			"ok 1 of 1 objects written partial by eve; a ok; a"},
		{"a user's dry run", report.Input{Intent: plan.Intent{Apply: true, DryRun: true, By: "eve"}, Plan: plan.Plan{Groups: write}},
			"ok 0 of 1 objects written dry by eve; a ok; a"},
		{"asked for, with nothing to do", report.Input{Intent: plan.Intent{Apply: true, By: "eve"}, Plan: plan.Plan{Rest: synced}},
			"ok 0 of 1 objects written by eve; b ok; b"},
		{"nothing to do", report.Input{Intent: plan.Intent{Apply: true}, Plan: plan.Plan{Rest: synced}}, "none; b ok; b"},
		{"nothing to do but what is left in the cluster", report.Input{Intent: plan.Intent{Apply: true},
			Plan: plan.Plan{Rest: append(slices.Clone(synced), plan.Step{Verb: plan.Leave, Ref: object.Ref{Name: "left"}, Sync: app.OutOfSync})}}, "none; b ok; b"},
		{"out of sync, and nobody asked", report.Input{Plan: plan.Plan{Groups: write}}, "none; a ok; a"},
		{"a prune that nobody asked for", report.Input{Plan: plan.Plan{Rest: synced,
			Groups: []plan.Group{{Steps: []plan.Step{{Verb: plan.Prune, Ref: object.Ref{Name: "gone"}, Sync: app.OutOfSync}}}}}}, "none; a ok; a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := c.in
			in.Planned, in.Now, in.Started, in.SpecHash, in.Revision, in.Applied = true, later, noon, "h", rev("b"), rev("a")
			if in.Spec.LastSync == nil {
				in.Spec.LastSync = before
			}
			rep := report.Compose(in)
			got := "none"
			if a := rep.Attempt; a != nil {
				got = okay(a.Succeeded) + " " + a.Message + counts(a.Attempt)
				for word, is := range map[string]bool{" dry": a.DryRun, " partial": a.Partial} {
					if is {
						got += word
					}
				}
				if a.By != "" {
					got += " by " + a.By
				}
				if a.Revision != "b" || a.SpecHash != "h" || !a.Started.Equal(noon) || !a.Finished.Equal(later) {
					t.Errorf("attempt is %+v", a)
				}
			}
			last := rep.LastSync
			got += "; " + last.Revision + " " + okay(last.Succeeded) + counts(*last) + "; " + rep.Applied.Commit
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func okay(ok bool) string {
	if ok {
		return "ok"
	}
	return "failed"
}

func counts(a app.Attempt) string {
	out := ""
	if a.Retries > 0 {
		out += fmt.Sprint(" retry ", a.Retries)
	}
	if a.Heals > 0 {
		out += fmt.Sprint(" heal ", a.Heals)
	}
	return out
}

func TestWhatDidNotComeToAPlanKeepsItsRecords(t *testing.T) {
	asked := &app.Request{Token: "now"}
	broken := app.Fail(app.StageFetch, app.ReasonUnreachable, "the repository does not answer")
	last := &app.Attempt{Revision: "a", Succeeded: true}
	rep := report.Compose(report.Input{Spec: app.Spec{Recorded: []app.Record{old}, LastSync: last, Request: asked,
		Warnings: []app.Warning{{Message: "of the resource"}}}, Failure: broken, Now: noon,
		Applied: app.Revision{Commit: "a"}, Warnings: []app.Warning{{Message: "of the run"}}})
	switch {
	case !slices.Equal(rep.Records, []app.Record{old}), rep.LastSync != last, rep.Applied.Commit != "a":
		t.Errorf("what was known is lost: %+v", rep)
	case rep.Sync != app.Unknown, rep.Health.Status != app.HealthLost, rep.Attempt != nil, len(rep.Objects) > 0:
		t.Errorf("something is said of what nobody looked at: %+v", rep)
	case rep.Failure != broken, rep.Stage != app.StageFetch, rep.Phase != app.PhaseDone:
		t.Errorf("the failure is not told: %+v", rep)
	case rep.Handled != "now", rep.Answered != asked:
		t.Errorf("the request is not answered: %+v", rep)
	case len(rep.Warnings) != 2:
		t.Errorf("warnings: %v", rep.Warnings)
	}
}

func TestADeletionThatDidNotEndForgetsNothing(t *testing.T) {
	s := plan.Step{Verb: plan.Prune, Ref: ref, Recorded: old}
	in := report.Input{Planned: true, Executed: true, Now: noon,
		Spec:    app.Spec{Deletion: &app.Deletion{Prune: true, Wait: true}, Recorded: []app.Record{old}},
		Plan:    plan.Plan{Groups: []plan.Group{{Steps: []plan.Step{s}, Gone: true}}},
		Outcome: plan.Outcome{Results: []plan.Result{{Step: s, Action: app.ActionPruned}}}}
	if rep := report.Compose(in); len(rep.Records) != 0 {
		t.Errorf("all is gone, and recorded are %v", rep.Records)
	}
	in.Failure = app.Fail(app.StageDelete, app.ReasonTimeout, "a finalizer holds it")
	if rep := report.Compose(in); !slices.Equal(rep.Records, []app.Record{old}) {
		t.Errorf("it is not gone yet, and recorded are %v", rep.Records)
	}
}

func TestRunningTellsWhatWillBe(t *testing.T) {
	created := plan.Step{Verb: plan.Create, Ref: object.Ref{Kind: "ConfigMap", Namespace: "ns", Name: "new"}, Version: "v1", Object: manifest(), Sync: app.OutOfSync}
	kept := plan.Step{Verb: plan.Keep, Ref: ref, Recorded: old, Sync: app.Synced, Object: manifest()}
	in := report.Input{Now: noon, Started: noon, Spec: app.Spec{Recorded: []app.Record{old}, Request: &app.Request{Token: "t"}},
		Revision: app.Revision{Commit: "b"}, Plan: plan.Plan{Groups: []plan.Group{{Steps: []plan.Step{created}}}, Rest: []plan.Step{kept}},
		Failure: &app.Failure{Err: errors.New("of an earlier stage")}}
	rep := report.Running(in, in.Plan.Creates())
	var names []string
	for _, r := range rep.Records {
		names = append(names, r.Ref.Name+" "+record(r))
	}
	if want := []string{"a d1/o1", "new -/-"}; !slices.Equal(names, want) {
		t.Errorf("recorded are %q, want %q", names, want)
	}
	if rep.Phase != app.PhaseRunning || rep.Handled != "" || rep.Answered != nil || rep.Failure != nil || !rep.Attempt.Running {
		t.Errorf("it runs, and the report is %+v", rep)
	}
	if len(rep.Objects) != 2 || rep.Sync != app.OutOfSync || rep.Health.Status != app.Progressing {
		t.Errorf("objects %v, %s, %s", rep.Objects, rep.Sync, rep.Health.Status)
	}
}
