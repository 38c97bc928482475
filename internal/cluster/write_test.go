package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

func TestApply(t *testing.T) {
	p := newPlace(t)
	ref := p.ref("ConfigMap", "cm")
	p.follow(ref)
	w := p.apply(configMap("cm", `a: "1"`))
	if !w.Created || !w.Changed || w.UID == "" || w.ResourceVersion == "" || w.Owned == "" || w.Regained != nil {
		t.Errorf("created: %+v", w)
	}
	if live, known := p.Live(ref, manager); !known || live.Owned != w.Owned || live.ResourceVersion != w.ResourceVersion || live.UID != w.UID {
		t.Errorf("not remembered at once: %+v, want %+v", live, w)
	}
	again := p.apply(configMap("cm", `a: "1"`))
	if again.Created || again.Changed || again.Owned != w.Owned || again.ResourceVersion != w.ResourceVersion {
		t.Errorf("unchanged: %+v after %+v", again, w)
	}
	other := p.apply(configMap("cm", `a: "2"`))
	if other.Created || !other.Changed {
		t.Errorf("changed: %+v", other)
	}
	dry := p.apply(configMap("cm", `a: "3"`), plan.WriteOptions{DryRun: true})
	if live := p.current(ref); live.ResourceVersion != other.ResourceVersion || dry.Created {
		t.Errorf("a dry run wrote: %+v", live)
	}
	if got := p.events.of(ref); len(got) > 0 {
		t.Errorf("own writes were told as events: %+v", got)
	}
}

// TestExplain: who took what, by which means, and whether the content changed.
func TestExplain(t *testing.T) {
	const container = `.spec.template.spec.containers[name="web"]`
	for _, tc := range []struct {
		name    string
		act     []string
		want    string // path by subresource
		changed bool
	}{
		{"scale", []string{"scale", "deployment", "NAME", "--replicas=3"}, `.spec.replicas by kubectl through scale`, true},
		// A Scale of 0 lacks the field, so the API server notes no owner.
		{"scale to nothing", []string{"scale", "deployment", "NAME", "--replicas=0"}, `.spec.replicas by `, true},
		{"image", []string{"set", "image", "deployment/NAME", "web=img:2"}, container + `.image by kubectl-set`, true},
		{"label", []string{"label", "deployment", "NAME", "app=other", "--overwrite"}, `.metadata.labels.app by kubectl-label`, true},
		{"patched", []string{"patch", "deployment", "NAME", "--type=merge", "-p", `{"spec":{"replicas":0}}`}, `.spec.replicas by kubectl-patch`, true},
		// Nobody owns what was removed; the one who wrote since is named.
		{"env removed", []string{"set", "env", "deployment/NAME", "B-"}, container + `.env[name="B"].value by `, true},
		{"env removed and label set", []string{"patch", "deployment", "NAME", "--field-manager=editor", "--type=strategic", "-p",
			`{"metadata":{"annotations":{"x":"y"}},"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"B","$patch":"delete"}]}]}}}}`},
			container + `.env[name="B"].value by editor`, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPlace(t)
			name := strings.ReplaceAll(tc.name, " ", "-")
			ref := p.ref("Deployment", name)
			p.follow(ref)
			first := p.apply(deployment(name, "img:1"))
			for i := range tc.act {
				tc.act[i] = strings.ReplaceAll(tc.act[i], "NAME", name)
			}
			p.nextSecond(ref)
			p.kubectl("", tc.act...)
			if live := p.current(ref); live.Owned == first.Owned {
				t.Fatal("no drift seen")
			}
			w := p.apply(deployment(name, "img:1"), plan.WriteOptions{Explain: true})
			var got []string
			for _, h := range w.Regained {
				line := h.Path + " by " + h.By
				if h.Subresource != "" {
					line += " through " + h.Subresource
				}
				got = append(got, line)
			}
			if strings.Join(got, "\n") != tc.want || w.Changed != tc.changed {
				t.Errorf("changed %v, regained:\n%s\nwant:\n%s", w.Changed, strings.Join(got, "\n"), tc.want)
			}
			if live := p.current(ref); live.Owned != w.Owned {
				t.Errorf("drift again right after it was undone: %s, %s", live.Owned, w.Owned)
			}
		})
	}
}

// nextSecond waits until the API server would stamp another time than that of
// ref's last write: the order of writes within a second is not recorded.
func (p place) nextSecond(ref object.Ref) {
	p.Helper()
	meta, _, err := p.Self().GetMeta(p.Context(), ref)
	if err != nil {
		p.Fatal(err)
	}
	last := meta.ManagedFields[0].Time.Time
	p.eventually("a second is over", func() bool { return time.Since(last) > time.Second })
}

// TestRetake: ownership that was lost without a change of value is taken back,
// and that is not called a change.
func TestRetake(t *testing.T) {
	p := newPlace(t)
	ref := p.ref("ConfigMap", "cm")
	p.follow(ref)
	first := p.apply(configMap("cm", `a: "1"`))
	p.kubectl("", "patch", "configmap", "cm", "--type=merge", "-p", `{"data":{"a":"9"}}`)
	p.kubectl("", "patch", "configmap", "cm", "--type=merge", "-p", `{"data":{"a":"1"}}`)
	if live := p.current(ref); live.Owned == first.Owned {
		t.Fatal("no loss of ownership seen")
	}
	w := p.apply(configMap("cm", `a: "1"`), plan.WriteOptions{Explain: true})
	if w.Changed || len(w.Regained) != 1 || w.Regained[0].Path != ".data.a" {
		t.Errorf("retaken: %+v", w)
	}

	// The same where the whole record was wiped, and with what that brings to
	// take over.
	p.kubectl("", "patch", "configmap", "cm", "--type=merge", "-p", `{"metadata":{"managedFields":[{}]}}`)
	if live := p.current(ref); live.Owned != "" {
		t.Fatal("not wiped")
	}
	w = p.apply(configMap("cm", `a: "1"`), plan.WriteOptions{Explain: true, AdoptFrom: []string{"before-first-apply"}})
	if w.Changed || w.Owned == "" {
		t.Errorf("retaken after the record was wiped: %+v", w)
	}
	if live := p.current(ref); live.Owned != w.Owned {
		t.Error("drift again")
	}
}

func TestReplace(t *testing.T) {
	p := newPlace(t)
	ref := p.ref("ConfigMap", "cm")
	p.follow(ref)
	opts := plan.WriteOptions{Manager: manager, Replace: true}
	if w := p.apply(configMap("cm", `a: "1"`, `b: "2"`), opts); !w.Created {
		t.Errorf("replacing what does not exist creates it: %+v", w)
	}
	p.kubectl("", "patch", "configmap", "cm", "--type=merge", "-p", `{"data":{"foreign":"x"}}`)
	w := p.apply(configMap("cm", `a: "1"`, `b: "2"`), opts)
	if !w.Changed || p.data(ref) != "a=1 b=2" {
		t.Errorf("replaced: %+v, data %s", w, p.data(ref))
	}
	// What a replacement wrote, a later apply can still remove.
	p.apply(configMap("cm", `a: "1"`))
	if got := p.data(ref); got != "a=1" {
		t.Errorf("after an apply without b: %s", got)
	}
}

// data shows a ConfigMap's data on one line.
func (p place) data(ref object.Ref) string {
	p.Helper()
	u, err := p.Get(p.Context(), ref)
	if err != nil || u == nil {
		p.Fatalf("get %s: %v, %v", ref, u, err)
	}
	data, _ := u.Object["data"].(map[string]any)
	text := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(data), "map["), "]")
	return strings.ReplaceAll(text, ":", "=")
}

// TestAdopt: a field that another tool wrote and Git no longer holds vanishes
// with the next apply once the object is taken over. Metadata that is to be
// stripped goes.
func TestAdopt(t *testing.T) {
	const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
	before, after := configMap("cm", `a: "1"`, `old: x`), configMap("cm", `a: "1"`)
	for _, tc := range []struct {
		name  string
		write func(p place)
		to    string
		from  []string
		strip []string
	}{
		{"kubectl apply", func(p place) { p.kubectl(before, "apply", "-f", "-") }, manager, []string{"kubectl*"}, []string{lastApplied}},
		// kubectl owns its note as it owns the rest.
		{"kubectl apply not stripped", func(p place) { p.kubectl(before, "apply", "-f", "-") }, manager, []string{"kubectl-client-side-apply"}, nil},
		{"note without an owner", func(p place) {
			p.kubectl(before, "apply", "--server-side", "-f", "-")
			p.kubectl("", "annotate", "configmap", "cm", lastApplied+"={}", "--field-manager=x")
			p.kubectl("", "patch", "configmap", "cm", "--type=merge", "-p", `{"metadata":{"managedFields":[{}]}}`)
			p.apply(before)
		}, manager, []string{"before-first-apply"}, []string{lastApplied}},
		{"ownership wiped", func(p place) {
			p.apply(before)
			p.kubectl("", "patch", "configmap", "cm", "--type=merge", "-p", `{"metadata":{"managedFields":[{}]}}`)
		}, manager, []string{"before-first-apply"}, nil},
		{"kubectl apply server-side", func(p place) { p.kubectl(before, "apply", "--server-side", "-f", "-") }, manager, []string{"kubectl"}, []string{lastApplied}},
		{"kubectl create and edit", func(p place) {
			p.kubectl(after, "create", "-f", "-")
			p.kubectl("", "patch", "configmap", "cm", "--type=merge", "-p", `{"data":{"old":"x"}}`)
		}, manager, []string{"kubectl-*"}, nil},
		{"argocd client-side", func(p place) {
			p.kubectl(before, "apply", "--field-manager=argocd-controller", "-f", "-")
		}, "argocd-controller", []string{"argocd-controller", "kubectl-client-side-apply"}, []string{lastApplied}},
		{"from argocd client-side to flux", func(p place) {
			p.kubectl(before, "apply", "--field-manager=argocd-controller", "-f", "-")
		}, manager, []string{"argocd-controller"}, []string{lastApplied}},
		{"from flux to argocd", func(p place) { p.apply(before) }, "argocd-controller", []string{manager}, nil},
		{"from argocd to flux", func(p place) { p.apply(before, plan.WriteOptions{Manager: "argocd-controller"}) }, manager, []string{"argocd-controller"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, watched := range []bool{false, true} {
				p := newPlace(t)
				ref := p.ref("ConfigMap", "cm")
				if watched {
					p.follow(ref)
				}
				tc.write(p)
				if watched {
					p.current(ref)
				}
				if got := p.data(ref); got != "a=1 old=x" {
					t.Fatal("before:", got)
				}
				opts := plan.WriteOptions{Manager: tc.to, AdoptFrom: tc.from, Strip: tc.strip}
				w := p.apply(after, opts)
				if got := p.data(ref); got != "a=1" || !w.Changed {
					t.Errorf("watched %v: after taking over: %s, %+v", watched, got, w)
				}
				meta, _, err := p.Self().GetMeta(t.Context(), ref)
				if err != nil {
					t.Fatal(err)
				}
				if _, left := meta.Annotations[lastApplied]; left {
					t.Errorf("watched %v: the note of kubectl is left", watched)
				}
				for _, e := range meta.ManagedFields {
					if e.Manager != tc.to {
						t.Errorf("watched %v: %s still owns %s", watched, e.Manager, e.FieldsV1)
					}
				}
				p.follow(ref)
				if again := p.apply(after, opts); again.Changed || again.Owned != w.Owned {
					t.Errorf("watched %v: taken over again: %+v after %+v", watched, again, w)
				}
				if live := p.current(ref); !strings.HasPrefix(tc.to, "argocd") && live.Owned != w.Owned {
					t.Errorf("watched %v: drift after taking over", watched)
				}
			}
		})
	}
}

// TestTakenOverAtOnce: the mark of another app is on an object until the one of
// the app that takes it over is, also if that is refused half way.
func TestTakenOverAtOnce(t *testing.T) {
	const theirs, ours = "argocd.argoproj.io/tracking-id", "kustomize.toolkit.fluxcd.io/name"
	p := newPlace(t)
	ref := p.ref("ConfigMap", "cm")
	p.follow(ref)
	manifest := func(meta, value string) string {
		return "{apiVersion: v1, kind: ConfigMap, metadata: {name: cm, namespace: NS, " + meta + "}, immutable: true, data: {a: " + value + "}}"
	}
	p.apply(manifest("annotations: {"+theirs+": argo}", "one"), plan.WriteOptions{Manager: "argocd-controller"})
	marks := func() string {
		t.Helper()
		meta, _, err := p.Self().GetMeta(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		return meta.Annotations[theirs] + meta.Labels[ours]
	}
	opts := plan.WriteOptions{Manager: manager, AdoptFrom: []string{"argocd-controller"}, Strip: []string{theirs}}
	if _, err := p.Self().Apply(t.Context(), p.object(manifest("labels: {"+ours+": flux}", "two")), opts); err == nil {
		t.Fatal("what is immutable was changed")
	}
	if got := marks(); got != "argo" {
		t.Errorf("after a refusal the marks are %q", got)
	}
	p.apply(manifest("labels: {"+ours+": flux}", "one"), opts)
	if got := marks(); got != "flux" {
		t.Errorf("taken over, the marks are %q", got)
	}
	// One that somebody else holds, too, goes as well.
	p.kubectl("", "annotate", "configmap", "cm", theirs+"=argo", "--field-manager=someone")
	p.current(ref)
	p.apply(manifest("labels: {"+ours+": flux}", "one"), opts)
	if got := marks(); got != "flux" {
		t.Errorf("with a mark that someone set by hand: %q", got)
	}
}

// TestAdoptAcrossVersions: an entry in a version that the manager does not
// apply in is taken over too.
func TestAdoptAcrossVersions(t *testing.T) {
	p := newPlace(t)
	ref := p.ref("HorizontalPodAutoscaler", "hpa")
	p.follow(ref)
	p.kubectl(`{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, metadata: {name: hpa, annotations: {old: x}}, spec: {maxReplicas: 3, minReplicas: 2, targetCPUUtilizationPercentage: 50, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: x}}}`,
		"apply", "--server-side", "-f", "-")
	p.apply(`{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: hpa, namespace: NS, annotations: {mine: x}}, spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: x}}}`)
	p.current(ref)
	p.apply(`{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: hpa, namespace: NS}, spec: {maxReplicas: 4, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: x}}}`,
		plan.WriteOptions{AdoptFrom: []string{"kubectl"}})
	u, err := p.Get(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if spec := u.Object["spec"].(map[string]any); len(u.GetAnnotations()) > 0 || spec["minReplicas"] != int64(1) {
		t.Errorf("left over: annotations %v, spec %v", u.GetAnnotations(), spec)
	}
}

func TestDelete(t *testing.T) {
	p := newPlace(t)
	ref := p.ref("ConfigMap", "cm")
	p.follow(ref)
	w := p.apply(configMap("cm", `a: "1"`))
	_, err := p.Self().Delete(t.Context(), ref, "v1", "00000000-0000-0000-0000-000000000000", "")
	if f := app.AsFailure(err, ""); f == nil || f.Reason != app.ReasonConflict || f.Stage != app.StagePrune {
		t.Errorf("deleting another uid: %v", err)
	}
	if live := p.current(ref); !live.Exists {
		t.Fatal("another object's deletion deleted it")
	}
	if _, err := p.Self().Delete(t.Context(), ref, "v1", w.UID, ""); err != nil {
		t.Fatal(err)
	}
	if err := p.WaitGone(t.Context(), []object.Ref{ref}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Self().Delete(t.Context(), ref, "v1", w.UID, ""); err != nil {
		t.Error("deleting what does not exist:", err)
	}
	p.apply(configMap("cm", `a: "1"`))
	if _, err := p.Self().Delete(t.Context(), ref, "v1", "", ""); err != nil {
		t.Fatal(err)
	}
	if live, known := p.Live(ref, manager); !known || live.Exists {
		t.Errorf("still remembered after its deletion: %+v", live)
	}
	p.current(ref)
	if got := p.events.of(ref); len(got) > 0 {
		t.Errorf("own deletions were told as events: %+v", got)
	}
	p.apply(configMap("cm", `a: "1"`))
	p.kubectl("", "delete", "configmap", "cm")
	p.eventually("someone's deletion is told", func() bool {
		got := p.events.of(ref)
		return len(got) == 1 && got[0].Deleted
	})

	// What is not gone at once is on its way, and waited for.
	w = p.apply(strings.Replace(configMap("cm", `a: "1"`), "namespace: NS", "namespace: NS, finalizers: [plumb.test/wait]", 1))
	if _, err := p.Self().Delete(t.Context(), ref, "v1", w.UID, app.Foreground); err != nil {
		t.Fatal(err)
	}
	if live, _ := p.Live(ref, manager); !live.Exists || !live.Deleting {
		t.Errorf("on its way out: %+v", live)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = p.WaitGone(ctx, []object.Ref{ref})
	if f := app.AsFailure(err, ""); f == nil || f.Reason != app.ReasonTimeout || !strings.Contains(f.Hint, "plumb.test/wait") {
		t.Errorf("waiting for what is held up: %v", err)
	}
	p.kubectl("", "patch", "configmap", "cm", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	if err := p.WaitGone(t.Context(), []object.Ref{ref}); err != nil {
		t.Error(err)
	}
}

func TestRecreate(t *testing.T) {
	p := newPlace(t)
	manifest := func(selector string) string {
		return strings.ReplaceAll(strings.ReplaceAll(deployment("web", "img:1"), "{app: web}", "{app: "+selector+"}"), "labels: {app: "+selector+"}}\nspec:\n  replicas", "labels: {app: x}}\nspec:\n  replicas")
	}
	first := p.apply(manifest("one"))
	_, err := p.Self().Apply(t.Context(), p.object(manifest("two")), plan.WriteOptions{Manager: manager})
	if f := app.AsFailure(err, ""); f == nil || f.Reason != app.ReasonImmutable || f.Hint == "" {
		t.Fatalf("changing a selector: %v", err)
	}
	w, err := p.Self().Recreate(t.Context(), p.object(manifest("two")), plan.WriteOptions{Manager: manager})
	if err != nil || w.UID == first.UID || !w.Created {
		t.Fatalf("recreated: %+v, %v", w, err)
	}
	if live := p.current(p.ref("Deployment", "web")); live.UID != w.UID || live.Owned != w.Owned {
		t.Errorf("remembered after: %+v", live)
	}
}
