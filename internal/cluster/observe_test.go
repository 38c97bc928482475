package cluster

import (
	"context"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
	"plumb.dev/plumb/internal/sandbox/faultproxy"
)

// query observes manifests, with a mark.
func (p place) query(predict int, manifests ...string) plan.Query {
	q := plan.Query{Manager: manager, PredictFrom: predict,
		Mark: app.Mark{Labels: map[string]string{"kustomize.toolkit.fluxcd.io/name": "app"}}}
	for _, m := range manifests {
		q.Desired = append(q.Desired, p.object(m))
	}
	return q
}

func (p place) observe(q plan.Query) plan.Facts {
	p.Helper()
	facts, err := p.Self().Observe(p.Context(), q)
	if err != nil {
		p.Fatal(err)
	}
	return facts
}

func TestObserve(t *testing.T) {
	p := newPlace(t)
	mine, absent, foreign := configMap("mine", `a: "1"`), configMap("absent", `a: "1"`), configMap("foreign", `a: "1"`)
	marked := strings.Replace(mine, "namespace: NS", "namespace: NS, labels: {kustomize.toolkit.fluxcd.io/name: app, unseen: x}, annotations: {argocd.argoproj.io/sync-wave: '2'}", 1)
	w := p.apply(marked)
	p.kubectl(foreign, "create", "-f", "-")
	facts := p.observe(p.query(0, marked, absent, foreign))
	live := facts.Live[p.ref("ConfigMap", "mine")]
	if !live.Exists || !live.Marked || live.Owned != w.Owned || live.UID != w.UID || live.ResourceVersion != w.ResourceVersion ||
		live.Annotations["argocd.argoproj.io/sync-wave"] != "2" || len(live.Labels) != 1 || live.Prediction != nil {
		t.Errorf("mine: %+v", live)
	}
	if live, there := facts.Live[p.ref("ConfigMap", "absent")]; there {
		t.Errorf("absent: %+v", live)
	}
	if live := facts.Live[p.ref("ConfigMap", "foreign")]; !live.Exists || live.Marked || live.Owned != "" || live.UID == "" {
		t.Errorf("foreign: %+v", live)
	}
	// From now on it is remembered, whoever owns it.
	p.kubectl("", "annotate", "configmap", "foreign", "argocd.argoproj.io/x=y")
	if live := p.current(p.ref("ConfigMap", "foreign")); live.Annotations["argocd.argoproj.io/x"] != "y" {
		t.Errorf("foreign, later: %+v", live)
	}
	p.kubectl(absent, "create", "-f", "-")
	if live := p.current(p.ref("ConfigMap", "absent")); !live.Exists {
		t.Error("an object that was asked for appeared and was not noticed")
	}
	for _, q := range []plan.Query{
		{Manager: "nobody"},
		{Manager: manager, Mark: app.Mark{Labels: map[string]string{"app.kubernetes.io/instance": "x"}}},
		{Manager: manager, Switches: []app.Switch{{Key: "unknown.example/key"}}},
	} {
		if facts, err := p.Self().Observe(t.Context(), q); err == nil {
			t.Errorf("%+v was answered: %+v", q, facts)
		}
	}
}

// TestMarkedMeanwhile: an object that leaves Git is left to another app only if
// it is that one's now, whatever a watch that lags behind has told.
func TestMarkedMeanwhile(t *testing.T) {
	p, proxy, _ := through(t)
	ref := p.ref("ConfigMap", "cm")
	q := p.query(0)
	w := p.apply(configMap("cm", `a: "1"`))
	q.Recorded = []app.Record{{Ref: ref, Version: "v1", Owned: w.Owned}}
	if live := p.observe(q).Live[ref]; !live.Exists || live.Marked {
		t.Fatalf("at first: %+v", live)
	}
	proxy.Set(faultproxy.Fault{Match: faultproxy.Watches, Do: faultproxy.Hang()})
	proxy.EndWatches()
	p.kubectl("", "label", "configmap", "cm", "kustomize.toolkit.fluxcd.io/name=app")
	if live, _ := p.Live(ref, manager); len(live.Labels) > 0 {
		t.Fatalf("the watch does not lag behind: %+v", live)
	}
	if live := p.observe(q).Live[ref]; !live.Marked {
		t.Errorf("marked meanwhile: %+v", live)
	}
}

func TestPredict(t *testing.T) {
	p := newPlace(t)
	p.kubectl(widgets, "apply", "-f", "-")
	p.apply(configMap("same", `a: "1"`))
	p.apply(configMap("other", `a: "1"`, `gone: x`))
	p.apply(deployment("fixed", "img:1"))
	p.apply(deployment("drifted", "img:1"))
	p.kubectl("", "scale", "deployment", "drifted", "--replicas=3")
	p.kubectl(configMap("foreign", `a: "1"`), "create", "-f", "-")

	definition := strings.NewReplacer("widget", "gizmo", "Widget", "Gizmo", "plumb.test", "gizmos.test").Replace(widgets)
	manifests := map[string]string{
		"ConfigMap/same":      configMap("same", `a: "1"`),
		"ConfigMap/other":     configMap("other", `a: "2"`),
		"ConfigMap/foreign":   configMap("foreign", `a: "2"`),
		"ConfigMap/new":       configMap("new", `a: "1"`),
		"ConfigMap/Bad_Name":  configMap("Bad_Name", `a: "1"`),
		"Deployment/fixed":    strings.ReplaceAll(deployment("fixed", "img:1"), "{app: fixed}", "{app: changed}"),
		"Deployment/drifted":  deployment("drifted", "img:1"),
		"Deployment/invalid":  strings.Replace(deployment("invalid", "img:1"), "replicas: 1", "replicas: -1", 1),
		"Deployment/unknown":  strings.Replace(deployment("unknown", "img:1"), "replicas: 1", "replicsa: 1", 1),
		"ConfigMap/nowhere":   strings.Replace(configMap("nowhere", `a: "1"`), "namespace: NS", "namespace: no-such-namespace", 1),
		"ConfigMap/coming":    strings.Replace(configMap("coming", `a: "1"`), "namespace: NS", "namespace: NS-coming", 1),
		"Namespace/NS-coming": `{apiVersion: v1, kind: Namespace, metadata: {name: NS-coming}}`,
		"Thing/thing":         `{apiVersion: nowhere.example/v1, kind: Thing, metadata: {name: thing, namespace: NS}}`,
		"Deployment/old":      `{apiVersion: apps/v1beta1, kind: Deployment, metadata: {name: old, namespace: NS}}`,
		"Gizmo/one":           `{apiVersion: gizmos.test/v1, kind: Gizmo, metadata: {name: one, namespace: NS}}`,
		"CustomResourceDefinition/gizmos.gizmos.test": definition,
	}
	q := p.query(1)
	q.Mark = app.Mark{}
	for _, m := range manifests {
		q.Desired = append(q.Desired, p.object(m))
	}
	q.Recorded = []app.Record{{Ref: p.ref("Deployment", "drifted"), Version: "v1", Owned: "0123456789abcdef", Desired: "x"}}
	facts := p.observe(q)

	type want struct {
		refused  app.Reason
		deferred string
		changes  string
		exists   bool
		regained string
	}
	for name, w := range map[string]want{
		"ConfigMap/same":      {exists: true},
		"ConfigMap/other":     {exists: true, changes: ".data.a: 1 → 2, .data.gone: x → "},
		"ConfigMap/foreign":   {exists: true, changes: ".data.a: 1 → 2"},
		"ConfigMap/new":       {},
		"ConfigMap/Bad_Name":  {refused: app.ReasonInvalidObject},
		"Deployment/fixed":    {exists: true, refused: app.ReasonImmutable},
		"Deployment/drifted":  {exists: true, changes: ".spec.replicas: 3 → 1", regained: ".spec.replicas by kubectl"},
		"Deployment/invalid":  {refused: app.ReasonInvalidObject},
		"Deployment/unknown":  {refused: app.ReasonInvalidObject},
		"ConfigMap/nowhere":   {refused: app.ReasonNamespaceMissing},
		"ConfigMap/coming":    {deferred: "Namespace/"},
		"Namespace/NS-coming": {},
		"Thing/thing":         {refused: app.ReasonKindUnknown},
		"Deployment/old":      {refused: app.ReasonKindUnknown},
		"Gizmo/one":           {deferred: "CustomResourceDefinition/gizmos.gizmos.test"},
		"CustomResourceDefinition/gizmos.gizmos.test": {},
	} {
		o := p.object(manifests[name])
		live := facts.Live[o.Ref()]
		pr := live.Prediction
		if pr == nil {
			t.Errorf("%s: no prediction", name)
			continue
		}
		var changes, regained []string
		for _, c := range pr.Changes {
			changes = append(changes, c.Path+": "+c.From+" → "+c.To)
		}
		for _, h := range pr.Regained {
			regained = append(regained, h.Path+" by "+h.By)
		}
		var reason app.Reason
		if pr.Refused != nil {
			reason = pr.Refused.Reason
			if !strings.Contains(pr.Refused.Error(), o.Ref().String()) || !strings.Contains(pr.Refused.Error(), "(deploy.yaml:") {
				t.Errorf("%s: the message does not say what and where: %v", name, pr.Refused)
			}
		}
		if live.Exists != w.exists || reason != w.refused || strings.Join(changes, ", ") != w.changes ||
			strings.Join(regained, ", ") != w.regained || (pr.Deferred == "") != (w.deferred == "") || !strings.Contains(pr.Deferred, w.deferred) {
			t.Errorf("%s:\ngot  exists %v, refused %v, deferred %q, changes %v, regained %v\nwant %+v", name, live.Exists, pr.Refused, pr.Deferred, changes, regained, w)
		}
	}

	// Not asked for: one that is in sync, and one that may be tried.
	same := p.object(manifests["ConfigMap/same"])
	q = p.query(1)
	q.Desired, q.Mark = []object.Object{same}, app.Mark{}
	q.Recorded = []app.Record{{Ref: same.Ref(), Version: "v1", Desired: same.Digest(), Owned: facts.Live[same.Ref()].Owned}}
	if facts := p.observe(q); facts.Live[same.Ref()].Prediction != nil {
		t.Error("an object in sync was predicted")
	}
	q.PredictFrom, q.Recorded = 2, nil
	if facts := p.observe(q); facts.Live[same.Ref()].Prediction != nil {
		t.Error("a single object was predicted")
	}

	// What is delivered for the first time is tried by writing it, unless some
	// of it is there already.
	q.Desired, q.First = []object.Object{p.object(manifests["ConfigMap/new"]), p.object(manifests["ConfigMap/Bad_Name"])}, true
	for _, o := range q.Desired {
		if facts := p.observe(q); facts.Live[o.Ref()].Prediction != nil {
			t.Errorf("%s was predicted, and nothing of the app is there", o)
		}
	}
	q.Desired = append(q.Desired, same)
	if facts := p.observe(q); facts.Live[q.Desired[0].Ref()].Prediction == nil {
		t.Error("what is taken over was not predicted")
	}
	q.Desired, q.First = q.Desired[:2], false
	if facts := p.observe(q); facts.Live[q.Desired[1].Ref()].Prediction == nil {
		t.Error("an update that only creates was not predicted")
	}
}

// TestImpersonation: writes, deletions and predictions happen with the rights
// of the service account, and no others.
func TestImpersonation(t *testing.T) {
	p := newPlace(t)
	p.kubectl("", "create", "serviceaccount", "tenant")
	p.kubectl("", "create", "role", "writer", "--resource=configmaps", "--verb=create,patch,delete")
	p.kubectl("", "create", "rolebinding", "writer", "--role=writer", "--serviceaccount="+p.namespace+":tenant")
	tenant, err := p.As(p.namespace + "/tenant")
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := p.As(p.namespace + "/tenant"); again != tenant {
		t.Error("the same identity has two writers")
	}
	allowed, secret := p.object(configMap("cm", `a: "1"`)), p.object(`{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: NS}, data: {a: aHVudGVyMg==}}`)
	q := p.query(1)
	q.Desired, q.Mark = []object.Object{allowed, secret}, app.Mark{}
	facts, err := tenant.Observe(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if pr := facts.Live[allowed.Ref()].Prediction; pr == nil || pr.Refused != nil {
		t.Errorf("allowed: %+v", pr)
	}
	if pr := facts.Live[secret.Ref()].Prediction; pr == nil || pr.Refused == nil || pr.Refused.Reason != app.ReasonForbidden ||
		!strings.Contains(pr.Refused.Error(), p.namespace+":tenant") && !strings.Contains(pr.Refused.Error(), "<redacted>") {
		t.Errorf("forbidden: %+v", pr.Refused)
	}
	if _, err := tenant.Apply(t.Context(), allowed, plan.WriteOptions{Manager: manager}); err != nil {
		t.Error(err)
	}
	if _, err := tenant.Apply(t.Context(), secret, plan.WriteOptions{Manager: manager}); app.AsFailure(err, "").Reason != app.ReasonForbidden {
		t.Error(err)
	}
	if _, err := tenant.Delete(t.Context(), secret.Ref(), "v1", "", ""); app.AsFailure(err, "").Reason != app.ReasonForbidden {
		t.Error(err)
	}
	if _, err := tenant.Delete(t.Context(), allowed.Ref(), "v1", "", ""); err != nil {
		t.Error(err)
	}
}

// TestConfig: a client of other make acts as the writer, and as nobody else.
func TestConfig(t *testing.T) {
	p := newPlace(t)
	p.kubectl("", "create", "serviceaccount", "tenant")
	tenant, err := p.As(p.namespace + "/tenant")
	if err != nil {
		t.Fatal(err)
	}
	whoami := func(config *rest.Config) (string, error) {
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return "", err
		}
		review, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		return review.Status.UserInfo.Username, err
	}
	config, err := tenant.Config()
	if err != nil {
		t.Fatal(err)
	}
	want := "system:serviceaccount:" + p.namespace + ":tenant"
	if got, err := whoami(config); got != want || err != nil {
		t.Errorf("it acts as %q (%v), want %s", got, err, want)
	}
	for name, widen := range map[string]func(*rest.Config){
		"another user":      func(c *rest.Config) { c.Impersonate.UserName = "admin" },
		"credentials":       func(c *rest.Config) { c.BearerToken = "x" },
		"user and password": func(c *rest.Config) { c.Username, c.Password = "x", "y" },
	} {
		wide := rest.CopyConfig(config)
		widen(wide)
		if got, err := whoami(wide); err == nil {
			t.Errorf("%s: it acts as %q", name, got)
		}
	}
}

// TestUnreadableKind: a kind that may not be listed everywhere is an error, and
// not a kind without objects. It says which right is missing.
func TestUnreadableKind(t *testing.T) {
	p := newPlace(t)
	p.kubectl("", "create", "serviceaccount", "blind")
	p.kubectl("", "create", "rolebinding", "blind", "--clusterrole=cluster-admin", "--serviceaccount="+p.namespace+":blind") // in this namespace
	config := *p.config
	config.Impersonate.UserName = "system:serviceaccount:" + p.namespace + ":blind"
	config.Impersonate.Groups = []string{"system:authenticated"}
	blind, err := Connect(&config, Options{Managers: managers})
	if err != nil {
		t.Fatal(err)
	}
	defer blind.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	facts, err := blind.Self().Observe(ctx, p.query(0, configMap("cm", `a: "1"`)))
	f := app.AsFailure(err, "")
	if f == nil || f.Reason != app.ReasonForbidden || f.Stage != app.StageObserve || !strings.Contains(f.Hint, "list and watch this kind in all namespaces") ||
		!strings.Contains(f.Error(), `cannot list resource "configmaps" in API group "" at the cluster scope`) {
		t.Errorf("got %+v, %v", facts, err)
	}
}

// TestUnwatched: which kinds no watch tells of.
func TestUnwatched(t *testing.T) {
	p := newPlace(t)
	seen := object.Ref{Kind: "ComponentStatus", Name: "etcd-0"} // can be listed, and not watched
	refs := []object.Ref{p.ref("ConfigMap", "a"), seen, {Group: "nowhere.example", Kind: "Thing", Name: "a"}}
	if got := p.Unwatched(refs); len(got) > 0 {
		t.Errorf("before anything was asked: %v", got)
	}
	p.follow(refs...)
	if got := p.Unwatched(refs); len(got) != 1 || got[0] != seen {
		t.Errorf("got %v", got)
	}
	p.discovery.noteUnrecorded(refs[0].GroupKind()) // as a write does of which no owner was recorded
	if got := p.Unwatched(refs); len(got) != 2 {
		t.Errorf("of a kind without owners: %v", got)
	}
	p.discovery.invalidate("")
	p.follow(refs...)
	if got := p.Unwatched(refs); len(got) != 2 {
		t.Errorf("forgotten with the next discovery: %v", got)
	}
	facts := p.observe(plan.Query{Manager: manager, Recorded: []app.Record{{Ref: seen, Version: "v1"}}})
	if facts.Kinds[seen.GroupKind()].Owned || !facts.Live[seen].Exists {
		t.Errorf("observed %+v", facts)
	}
}
