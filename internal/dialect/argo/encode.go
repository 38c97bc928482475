package argo

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// EncodeApplication gives the JSON merge patch that brings the Application up
// to the report: its status and, where a request is answered, the removal of
// operation and refresh annotations; once everything is deleted, of the
// finalizers. It is nil if there is nothing to write, so that a look that finds
// nothing new writes nothing.
//
// The patch is for the resource itself, which has no status subresource. One
// that takes something off the resource carries the resourceVersion of old: if
// it conflicts, read the resource again and encode again, so that a request
// made in between is not lost.
func EncodeApplication(r app.Report, old *unstructured.Unstructured, opt Options) map[string]any {
	if r.Deleted {
		return releasePatch(old)
	}
	e := newEncoder(r, old, opt)
	e.write()
	patch, removes := e.answerPatch()
	before, _, _ := unstructured.NestedMap(old.Object, "status")
	e.status = withoutNulls(e.status)
	if status := mergePatch(before, e.status); len(status) > 0 || len(patch) > 0 {
		if r.Phase == app.PhaseDone {
			e.status["reconciledAt"] = stamp(e.reconciled())
			status = mergePatch(before, e.status)
		}
		if len(status) > 0 {
			patch["status"] = status
		}
	}
	if len(patch) == 0 {
		return nil
	}
	if removes {
		metadataOf(patch)["resourceVersion"] = old.GetResourceVersion()
	}
	return patch
}

// encoder rewrites a copy of the old status.
type encoder struct {
	r      app.Report
	old    *unstructured.Unstructured
	opt    Options
	status map[string]any
	// multi: the Application has sources, even if only one; its status then
	// has revisions where it otherwise has a revision.
	multi bool
	spec  applicationSpec
	// fresh is the drift that the old status does not tell of.
	fresh []app.Drift
}

func newEncoder(r app.Report, old *unstructured.Unstructured, opt Options) *encoder {
	e := &encoder{r: r, old: old, opt: opt}
	e.status, _, _ = unstructured.NestedMap(old.Object, "status") // a deep copy
	if e.status == nil {
		e.status = map[string]any{}
	}
	res, _, _ := read(old) // a spec that cannot be read reads as empty
	e.spec = res.Spec
	e.multi = len(res.Spec.Sources) > 0
	return e
}

func (e *encoder) done() bool { return e.r.Phase != app.PhaseRunning }

// automated reports whether syncs happen by themselves.
func (e *encoder) automated() bool {
	return e.spec.SyncPolicy != nil && e.spec.SyncPolicy.Automated.on()
}

func (e *encoder) write() {
	verdict := judge(e.r.Failure)
	e.operationState(verdict)
	if e.done() {
		e.conditions(verdict)
		e.history()
	}
	if e.done() || e.r.Sync != "" {
		e.sync(verdict)
		e.health(verdict)
		e.resources(verdict)
	}
	e.own()
	if ns := e.opt.controlNamespace(); e.done() {
		e.status["controllerNamespace"] = ns
	}
	if kind := e.sourceType(); kind != "" {
		e.status["sourceType"] = kind
	}
	// Health is in resources; a client that finds this set looks elsewhere.
	delete(e.status, "resourceHealthSource")
	if _, ok := e.status["summary"]; !ok && e.done() {
		e.status["summary"] = map[string]any{}
	}
}

func (e *encoder) sync(v verdict) {
	status := e.r.Sync
	if v.blind() || status == "" {
		status = app.Unknown
	}
	out := map[string]any{"status": string(status), "comparedTo": e.comparedTo()}
	e.setRevision(out, e.r.Revision.Commit)
	e.status["sync"] = out
}

// setRevision writes the revision in the form that fits the Application.
func (e *encoder) setRevision(into map[string]any, commit string) {
	switch {
	case commit == "":
	case e.multi:
		into["revisions"] = []any{commit}
	default:
		into["revision"] = commit
	}
}

// setSource writes the source as the spec, or the operation, has it.
func (e *encoder) setSource(into map[string]any, from ...string) {
	for _, key := range []string{"source", "sources"} {
		v, ok, _ := unstructured.NestedFieldCopy(e.old.Object, append(slices.Clone(from), key)...)
		if ok && v != nil && (key == "sources") == e.multi {
			into[key] = v
		}
	}
}

func (e *encoder) comparedTo() map[string]any {
	out := map[string]any{}
	e.setSource(out, "spec")
	for _, key := range []string{"destination", "ignoreDifferences"} {
		if v, ok, _ := unstructured.NestedFieldCopy(e.old.Object, "spec", key); ok && v != nil {
			out[key] = v
		}
	}
	if _, ok := out["destination"]; !ok {
		out["destination"] = map[string]any{}
	}
	return out
}

func (e *encoder) health(v verdict) {
	was, _ := e.status["health"].(map[string]any)
	h := e.r.Health
	switch {
	case v.condition == conditionInvalidSpec:
		h = app.Health{Status: app.HealthLost}
	case e.r.Failure != nil && e.r.Failure.Reason == app.ReasonClusterDown && len(e.r.Objects) == 0:
		// Nobody knows; what each object was last seen to be stays with it.
		h = app.Health{Status: app.HealthLost, Message: e.r.Failure.Error()}
	case v.blind() && len(e.r.Objects) == 0 && text(was, "status") != "":
		return // nothing was looked at: what was known stands
	case h.Status == app.HealthNone:
		h.Status = app.Healthy
	}
	out := map[string]any{"status": string(h.Status)}
	set(out, "message", h.Message)
	since := text(was, "lastTransitionTime")
	if text(was, "status") != string(h.Status) || since == "" {
		since = stamp(e.r.At)
	}
	out["lastTransitionTime"] = since
	e.status["health"] = out
}

func (e *encoder) resources(v verdict) {
	if len(e.r.Objects) == 0 && v.blind() && !e.moved() {
		for _, item := range objects(e.status, "resources") {
			if text(item, "status") != "" {
				item["status"] = string(app.Unknown)
			}
		}
		return
	}
	reports := slices.Clone(e.r.Objects)
	slices.SortFunc(reports, func(x, y app.ObjectReport) int { return x.Ref.Compare(y.Ref) })
	list := []any{}
	for _, o := range reports {
		if o.Sync == "" {
			continue // pruned, or left alone
		}
		item := map[string]any{"kind": o.Ref.Kind, "name": o.Ref.Name, "status": string(o.Sync)}
		set(item, "group", o.Ref.Group)
		set(item, "version", o.Version)
		set(item, "namespace", o.Ref.Namespace)
		if o.Health.Status != app.HealthNone {
			health := map[string]any{"status": string(o.Health.Status)}
			set(health, "message", o.Health.Message)
			item["health"] = health
		}
		if o.RequiresPrune {
			item["requiresPruning"] = true
		}
		if o.Wave != 0 {
			item["syncWave"] = int64(o.Wave)
		}
		list = append(list, item)
	}
	if len(list) == 0 {
		delete(e.status, "resources")
		return
	}
	e.status["resources"] = list
}

// sourceType is known where the spec says it or something was rendered.
func (e *encoder) sourceType() string {
	mode := e.r.Rendered
	if mode == app.RenderAuto {
		mode = e.explicitMode()
	}
	switch mode {
	case app.RenderKustomize, app.RenderGenerated:
		return "Kustomize"
	case app.RenderDirectory:
		return "Directory"
	}
	return ""
}

func (e *encoder) explicitMode() app.RenderMode {
	source := e.spec.Source
	if e.multi {
		source = &e.spec.Sources[0]
	}
	if source == nil {
		return app.RenderAuto
	}
	d := decoder{spec: &app.Spec{}, opt: e.opt}
	return d.render("", *source).Mode
}

// reconciled is the time of this comparison. Clients wait for it to be at or
// after the end of the last operation.
func (e *encoder) reconciled() time.Time {
	if finished := moment(e.status, "operationState", "finishedAt"); finished.After(e.r.At) {
		return finished
	}
	return e.r.At
}
