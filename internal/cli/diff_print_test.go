package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

func TestShowPlan(t *testing.T) {
	desired := func(name string) object.Object {
		return object.New(map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": "shop"},
		}, object.Origin{Path: "shop/" + name + ".yaml", Line: 3})
	}
	step := func(verb plan.Verb, name, uid string, sync app.SyncStatus) plan.Step {
		o := desired(name)
		return plan.Step{Verb: verb, Ref: o.Ref(), Version: "v1", Object: o, UID: uid, Sync: sync, Reason: "because"}
	}
	changed := step(plan.Apply, "changed", "u1", app.OutOfSync)
	changed.Changes = []app.FieldChange{
		{Path: ".data.color", From: "red", To: "green"},
		{Path: ".data.size", FromAbsent: true, To: "big"},
		{Path: ".data.age", From: "", ToAbsent: true},
	}
	gone := plan.Step{Verb: plan.Prune, Ref: desired("gone").Ref(), Version: "v1", UID: "u2", Sync: app.OutOfSync, Reason: "removed from Git"}
	everything := plan.Plan{
		Groups: []plan.Group{
			{Steps: []plan.Step{step(plan.Create, "new", "", app.OutOfSync), changed}},
			{Steps: []plan.Step{gone, step(plan.Apply, "retaken", "u3", app.Synced)}},
		},
		Rest: []plan.Step{
			step(plan.Keep, "same", "u4", app.Synced), step(plan.Skip, "left", "u5", app.OutOfSync),
			step(plan.Report, "reported", "u6", app.OutOfSync),
		},
		Warnings: []app.Warning{{Field: "spec.x", Message: "odd"}},
	}
	p := &program{}
	id := app.ID{Kind: "Kustomization", Namespace: "flux-system", Name: "shop"}
	rev := app.Revision{Commit: "4508cd1f0a3c6a2d8ab07d3a53d2a0fb6d2f1c11", Ref: "main"}

	var out, errs bytes.Buffer
	err := p.showPlan(&out, &errs, "", id, rev, everything)
	if v := explain(err); v.code != ExitNo || v.message != "" {
		t.Errorf("got %+v", v)
	}
	const want = `+ ConfigMap/shop/new  (shop/new.yaml:3)  because
~ ConfigMap/shop/changed  (shop/changed.yaml:3)  because
    .data.color: red → green
    .data.size: + big
    .data.age: - ` + `
- ConfigMap/shop/gone  removed from Git
~ ConfigMap/shop/reported  (shop/reported.yaml:3)  because
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
	if !strings.Contains(errs.String(), "warning: spec.x: odd") {
		t.Errorf("stderr %q", errs.String())
	}

	out.Reset()
	if err := p.showPlan(&out, &errs, "json", id, rev, everything); explain(err).code != ExitNo {
		t.Errorf("got %v", err)
	}
	var got diffOutput
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	var verbs []string
	for _, c := range got.Changes {
		verbs = append(verbs, c.Verb+" "+c.Name)
	}
	if text := strings.Join(verbs, ", "); text != "create new, change changed, delete gone, change reported" || !got.Differs {
		t.Errorf("changes: %s", text)
	}
	if f := got.Changes[1].Fields; len(f) != 3 || f[1].From != nil || *f[1].To != "big" || f[2].To != nil || *f[2].From != "" {
		t.Errorf("fields %+v", f)
	}

	out.Reset()
	if err := p.showPlan(&out, &errs, "", id, rev, plan.Plan{Rest: []plan.Step{step(plan.Keep, "same", "u", app.Synced)}}); err != nil || out.Len() > 0 {
		t.Errorf("%v: %s", err, out.String())
	}
	refused := plan.Plan{Refused: app.Fail(app.StagePlan, app.ReasonEmpty, "all would be deleted").WithHint("allow it")}
	if v := explain(p.showPlan(&out, &errs, "", id, rev, refused)); v.code != ExitContent || v.message != "all would be deleted" || v.hint != "allow it" {
		t.Errorf("got %+v", v)
	}
}
