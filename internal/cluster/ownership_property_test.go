package cluster

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

var (
	propertySeed  = flag.Uint64("ownership.seed", 0, "seed of TestOwnershipIsComparison; 0 takes another one each time")
	propertySteps = flag.Int("ownership.steps", 50, "changes that TestOwnershipIsComparison makes to each object")
)

// edit is a change to part of an object, and what it may be set to; %s stands
// for the value, null removes.
type edit struct {
	patch  string
	values []string
}

// subject is an object that others work on.
type subject struct {
	manifest string
	edits    []edit
	scale    bool   // has a scale subresource
	status   string // a patch of the status, "" for none
}

func subjects() []subject {
	label := edit{`{"metadata":{"labels":{"app":%s}}}`, []string{`"x"`, `"y"`, "null"}}
	note := edit{`{"metadata":{"annotations":{"note":%s}}}`, []string{`"1"`, `"2"`, "null"}}
	container := func(part string, values ...string) edit {
		return edit{`{"spec":{"template":{"spec":{"containers":[{"name":"web",` + part + `}]}}}}`, values}
	}
	return []subject{
		{`{apiVersion: v1, kind: ConfigMap, metadata: {name: it, namespace: NS, labels: {app: x}, annotations: {owned: a}}, data: {a: "1", b: "2"}}`, []edit{
			label, note, {`{"metadata":{"annotations":{"owned":%s}}}`, []string{`"a"`, `"b"`, "null"}},
			{`{"data":{"a":%s}}`, []string{`"1"`, `"9"`, `""`, "null"}}, {`{"data":{"c":%s}}`, []string{`"3"`, `"4"`, "null"}},
			{`{"data":{"a":%s,"b":"2"}}`, []string{`"1"`, `"9"`}}}, false, ""},
		{`{apiVersion: v1, kind: Secret, metadata: {name: it, namespace: NS, labels: {app: x}}, stringData: {password: one}}`, []edit{
			label, note, {`{"data":{"password":%s}}`, []string{`"b25l"`, `"dHdv"`, "null"}}, {`{"data":{"user":%s}}`, []string{`"dHdv"`, "null"}}}, false, ""},
		{`{apiVersion: v1, kind: Service, metadata: {name: it, namespace: NS, labels: {app: x}}, spec: {selector: {app: x}, ports: [{port: 80, targetPort: 8080}]}}`, []edit{
			label, note, {`{"spec":{"selector":{"app":%s}}}`, []string{`"x"`, `"y"`}}, {`{"spec":{"selector":{"tier":%s}}}`, []string{`"z"`, "null"}},
			{`{"spec":{"ports":[{"port":80,"protocol":"TCP","targetPort":%s}]}}`, []string{"8080", "8081"}},
			{`{"spec":{"sessionAffinity":%s}}`, []string{`"None"`, `"ClientIP"`}}}, false, ""},
		{`{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: it, namespace: NS, labels: {app: x}}, rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]}`, []edit{
			label, note, {`{"rules":%s}`, []string{`[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]`, `[{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}]`, `[]`}}}, false, ""},
		{`{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: it, namespace: NS, labels: {app: x}}, spec: {podSelector: {}, policyTypes: [Ingress]}}`, []edit{
			label, note, {`{"spec":{"podSelector":{"matchLabels":{"a":%s}}}}`, []string{`"b"`, `"c"`, "null"}}}, false, ""},
		{`{apiVersion: plumb.test/v1, kind: Widget, metadata: {name: it, namespace: NS, labels: {app: x}}, spec: {size: 1, list: [a], deep: {er: {v: 1}}}}`, []edit{
			label, note, {`{"spec":{"size":%s}}`, []string{"1", "2", "null"}}, {`{"spec":{"list":%s}}`, []string{`["a"]`, `["a","b"]`, `[]`, "null"}},
			{`{"spec":{"color":%s}}`, []string{`"red"`, `"blue"`, "null"}}, {`{"spec":{"deep":{"er":%s}}}`, []string{`{"v":1}`, `{"v":2}`, `{"w":1}`, "null"}}}, false, `{"status":{"ready":%s}}`},
		{strings.NewReplacer("web-app", "it", "labels: {app: web-app}}\nspec", "labels: {app: x}}\nspec").Replace(deployment("web-app", "img:1")), []edit{
			{`{"metadata":{"labels":{"app":%s}}}`, []string{`"it"`, `"y"`, "null"}}, note,
			{`{"spec":{"replicas":%s}}`, []string{"0", "1", "2", "null"}}, {`{"spec":{"paused":%s}}`, []string{"true", "false"}},
			container(`"image":%s`, `"img:1"`, `"img:2"`), container(`"env":[{"name":"A","value":%s}]`, `"1"`, `"9"`), container(`"env":[{"name":"C","value":%s}]`, `"1"`, `"9"`),
			container(`"resources":{"requests":{"cpu":%s}}`, `"1"`, `"1000m"`, `"2"`), container(`"tty":%s`, "true", "false"),
			{`{"spec":{"template":{"metadata":{"annotations":{"restarted":%s}}}}}`, []string{`"1"`, `"2"`, "null"}},
			{`{"spec":{"template":{"spec":{"containers":[{"name":"side","image":%s}]}}}}`, []string{`"side:1"`, `"side:2"`}}}, true, `{"status":{"observedGeneration":%s}}`},
	}
}

// TestOwnershipIsComparison: whatever others do to an object, in any order, the
// ownership digest says that it drifted just when an apply would change
// something. The exceptions are those of the design: once a field was taken, or
// the record of who owns what was, the digest differs even if every value is
// back where it was; and then an apply reports no change.
func TestOwnershipIsComparison(t *testing.T) {
	p := newPlace(t)
	p.kubectl(widgets, "apply", "-f", "-")
	if err := p.AwaitKinds(t.Context(), widgetKinds); err != nil {
		t.Fatal(err)
	}
	seed := *propertySeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("again with: -run TestOwnershipIsComparison -ownership.seed=%d -ownership.steps=%d", seed, *propertySteps)
	client, err := dynamic.NewForConfig(sandboxtest.RESTConfig(t, sandboxtest.Cluster(t)))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range subjects() {
		desired := p.object(s.manifest)
		t.Run(desired.Ref().Kind, func(t *testing.T) {
			t.Parallel()
			p := p
			p.TB = t
			info, _, err := p.lookup(t.Context(), desired.Ref().GroupKind())
			if err != nil {
				t.Fatal(err)
			}
			w := &world{place: p, subject: s, desired: desired, ref: desired.Ref(), rand: rand.New(rand.NewPCG(seed, uint64(i))),
				client: client.Resource(info.gvr(desired.Ref().Group, "")).Namespace(p.namespace)}
			p.follow(w.ref)
			w.heal()
			defer func() { t.Logf("%+v", w.counts) }()
			for range *propertySteps {
				w.step()
				if t.Failed() {
					t.Fatalf("the steps since it was as it should be:\n%s\n%s", strings.Join(w.done, "\n"), w.owners())
				}
			}
		})
	}
}

// world is an object, and those who change it.
type world struct {
	place
	subject
	desired object.Object
	ref     object.Ref
	client  dynamic.ResourceInterface
	rand    *rand.Rand

	owned   string // the digest when it was last applied
	applied int64  // Unix seconds of that
	taken   bool   // an exception may hold since
	done    []string
	counts  struct{ drifted, differed, refused, healed int }
}

// step lets somebody do something, and compares the verdicts.
func (w *world) step() {
	w.done = append(w.done, w.act())
	differs := w.differs()
	live := w.current(w.ref)
	drifted := !live.Exists || live.Owned != w.owned
	switch {
	case differs && !drifted:
		w.Errorf("an apply would change something, and the digest is the same")
	case drifted && !differs && !w.taken:
		w.Errorf("the digest differs, and an apply would change nothing")
	}
	if w.Failed() {
		return
	}
	w.taken = w.taken || differs
	if drifted {
		w.counts.drifted++
	}
	if differs {
		w.counts.differed++
	}
	if drifted && w.rand.IntN(3) == 0 {
		w.counts.healed++
		// A controller may write between the read and the apply of an explained
		// write, whose work is told then too.
		if told := w.heal(); told != differs && !(told && w.scale) {
			w.Errorf("the apply reports a change: %v, want %v", told, differs)
		}
	}
}

// owners shows the object with its record of who owns what.
func (w *world) owners() string {
	u, err := w.client.Get(w.Context(), w.ref.Name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	text, err := json.Marshal(u.Object)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// heal applies the object and reports whether that is told to have changed it.
func (w *world) heal() bool {
	w.Helper()
	written, err := w.Self().Apply(w.Context(), w.desired, plan.WriteOptions{Manager: manager, Explain: true})
	if err != nil {
		w.Fatal(err)
	}
	w.owned, w.taken, w.done, w.applied = written.Owned, false, nil, time.Now().Unix()
	if w.differs() {
		w.Error("an apply right after an apply would change something")
	}
	return written.Changed
}

// differs tells by comparing: whether an apply would change the object.
func (w *world) differs() bool {
	w.Helper()
	for range 20 {
		before, err := w.client.Get(w.Context(), w.ref.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true
		}
		if err != nil {
			w.Fatal(err)
		}
		payload, err := w.desired.Payload()
		if err != nil {
			w.Fatal(err)
		}
		after, err := w.client.Patch(w.Context(), w.ref.Name, types.ApplyPatchType, payload,
			metav1.PatchOptions{FieldManager: manager, Force: new(true), DryRun: []string{"All"}})
		if err != nil {
			w.Fatal(err)
		}
		again, err := w.client.Get(w.Context(), w.ref.Name, metav1.GetOptions{})
		if err != nil {
			w.Fatal(err)
		}
		if again.GetResourceVersion() == before.GetResourceVersion() { // a controller did not come in between
			return !sameContent(before, after)
		}
	}
	w.Fatal("the object never rests")
	return false
}

// act does one thing and says what.
func (w *world) act() string {
	w.Helper()
	e := w.edits[w.rand.IntN(len(w.edits))]
	patch := fmt.Sprintf(e.patch, e.values[w.rand.IntN(len(e.values))])
	who := fmt.Sprintf("actor-%d", w.rand.IntN(14)) // more than the API server keeps entries of updates for
	options := metav1.PatchOptions{FieldManager: who}
	send := func(kind types.PatchType, body string, sub ...string) error {
		_, err := w.client.Patch(w.Context(), w.ref.Name, kind, []byte(body), options, sub...)
		return err
	}
	var what string
	var err error
	switch n := w.rand.IntN(20); {
	case n < 4:
		kind := types.MergePatchType
		if w.ref.Kind != "Widget" && (strings.Contains(patch, `"containers"`) || n%2 == 0) {
			kind = types.StrategicMergePatchType
		}
		what, err = string(kind)+" "+patch, send(kind, patch)
	case n < 7:
		what, err = "update "+patch, w.update(patch, who)
	case n < 10 && !strings.Contains(patch, "null"):
		options.Force = new(n < 9)
		// An apply is compared as it is spelled: it takes a quantity that is
		// written in another way, and the value stays what it was.
		w.taken = w.taken || strings.Contains(patch, `"1000m"`)
		what, err = fmt.Sprintf("apply by %s, force %v: %s", who, *options.Force, patch), send(types.ApplyPatchType, w.partial(patch))
	case n == 10 && w.scale:
		patch = fmt.Sprintf(`{"spec":{"replicas":%d}}`, w.rand.IntN(3))
		what, err = "scale "+patch, send(types.MergePatchType, patch, "scale")
	case n == 11 && w.status != "":
		patch = fmt.Sprintf(w.status, fmt.Sprint(w.rand.IntN(5)))
		what, err = "status "+patch, send(types.MergePatchType, patch, "status")
	case n == 12:
		what, err = "json patch of a label", send(types.JSONPatchType, `[{"op":"remove","path":"/metadata/labels/app"}]`)
	case n == 13:
		finalizers := []string{"null", `["plumb.test/x"]`}[w.rand.IntN(2)]
		what, err = "finalizers "+finalizers, send(types.MergePatchType, `{"metadata":{"finalizers":`+finalizers+`}}`)
	case n == 14 && w.rand.IntN(3) == 0:
		w.taken = true
		what, err = "wipe the record of owners", send(types.MergePatchType, `{"metadata":{"managedFields":[{}]}}`)
	case n == 15 && w.rand.IntN(2) == 0:
		what, err = "delete", w.remove()
	case n == 16 && w.rand.IntN(2) == 0:
		w.taken = true
		what, err = "delete, and create by "+who, w.renew(who)
	case n == 17 && !strings.Contains(patch, "null"):
		w.taken = true
		w.nextSecond()
		options = metav1.PatchOptions{FieldManager: manager, Force: new(true)}
		what, err = "apply under our name "+patch, send(types.ApplyPatchType, w.partial(patch))
	case n == 18:
		what, err = "update under our name "+patch, w.update(patch, manager)
	default:
		// Everything as it is, written once more.
		what, err = "update with nothing", w.update("{}", who)
	}
	switch {
	case err == nil:
	case apierrors.IsConflict(err), apierrors.IsNotFound(err), apierrors.IsInvalid(err):
		what += " (refused)"
		w.counts.refused++
	default:
		w.Fatalf("%s: %v", what, err)
	}
	return what
}

// partial is an apply configuration of what a patch sets.
func (w *world) partial(patch string) string {
	var body map[string]any
	if err := json.Unmarshal([]byte(patch), &body); err != nil {
		w.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: body}
	u.SetGroupVersionKind(schema.GroupVersionKind(w.desired.GVK()))
	u.SetName(w.ref.Name)
	out, err := json.Marshal(body)
	if err != nil {
		w.Fatal(err)
	}
	return string(out)
}

// update reads the object, changes it, and writes all of it.
func (w *world) update(patch, who string) error {
	var change map[string]any
	if err := json.Unmarshal([]byte(patch), &change); err != nil {
		w.Fatal(err)
	}
	live, err := w.client.Get(w.Context(), w.ref.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	live.Object = merge(live.Object, change).(map[string]any)
	_, err = w.client.Update(w.Context(), live, metav1.UpdateOptions{FieldManager: who})
	return err
}

// merge changes a value as a strategic merge patch does; lists of named items
// are merged by name, of ports by port.
func merge(live, change any) any {
	switch c := change.(type) {
	case map[string]any:
		l, _ := live.(map[string]any)
		if l == nil {
			l = map[string]any{}
		}
		for k, v := range c {
			if v == nil {
				delete(l, k)
			} else {
				l[k] = merge(l[k], v)
			}
		}
		return l
	case []any:
		l, _ := live.([]any)
		for _, item := range c {
			m, ok := item.(map[string]any)
			if !ok || m["name"] == nil && m["port"] == nil {
				return c
			}
			found := false
			for i := range l {
				if old, ok := l[i].(map[string]any); ok && old["name"] == m["name"] && fmt.Sprint(old["port"]) == fmt.Sprint(m["port"]) {
					l[i], found = merge(old, m), true
				}
			}
			if !found {
				l = append(l, m)
			}
		}
		return l
	}
	return change
}

func (w *world) remove() error {
	_, err := w.client.Patch(w.Context(), w.ref.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	if err := w.client.Delete(w.Context(), w.ref.Name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return w.WaitGone(w.Context(), []object.Ref{w.ref})
}

// renew replaces the object by one that somebody else made just like it.
func (w *world) renew(who string) error {
	if err := w.remove(); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	_, err := w.client.Create(w.Context(), w.desired.Copy().Unstructured(), metav1.CreateOptions{FieldManager: who})
	return err
}

// nextSecond waits until a write under our own name shows: the API server
// stamps whole seconds.
func (w *world) nextSecond() {
	w.eventually("the second is over", func() bool { return time.Now().Unix() > w.applied })
}
