package cluster

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/ownership"
	"plumb.dev/plumb/internal/plan"
)

// target is one object on its way to the cluster.
type target struct {
	object  object.Object
	ref     object.Ref
	info    kindInfo
	gvr     schema.GroupVersionResource
	payload []byte
	store   *store // nil if the kind is not watched
	opts    plan.WriteOptions
}

func (w *Writer) target(ctx context.Context, obj object.Object, opts plan.WriteOptions) (target, error) {
	t := target{object: obj, ref: obj.Ref(), opts: opts}
	var err error
	if t.info, t.gvr, err = w.findComing(ctx, "apply", t.ref, obj.GVK().Version, obj.Origin); err != nil {
		return t, err
	}
	if t.payload, err = obj.Payload(); err != nil {
		return t, app.Fail(app.StageApply, app.ReasonInvalidObject, "%s%s: %s", t.ref, at(obj.Origin), object.RedactError(t.ref, err.Error()))
	}
	if k := w.cluster.tracked(t.ref.GroupKind()); k != nil {
		t.store = k.store
	}
	return t, nil
}

func (t target) path() []string {
	return path(t.gvr, t.info.namespaced, t.ref.Namespace, t.ref.Name)
}

// saysSomething reports whether the object sets any field that could be owned.
func (t target) saysSomething() bool {
	u := t.object.Unstructured().Object
	meta, _ := u["metadata"].(map[string]any)
	return len(u) > 3 || len(meta) > 2
}

// op is what messages call the write.
func (t target) op() string {
	if t.opts.DryRun {
		return "dry-run"
	}
	return "apply"
}

// Apply writes obj by server-side apply, taking over every field it names.
// What the answer says is remembered before Apply returns, so that the write
// is never taken for someone else's.
//
// It costs one request. Taking over costs two more where there is something to
// take; Explain costs one, Replace up to four.
func (w *Writer) Apply(ctx context.Context, obj object.Object, opts plan.WriteOptions) (plan.Written, error) {
	t, err := w.target(ctx, obj, opts)
	if err != nil {
		return plan.Written{}, err
	}
	var answer *metav1.PartialObjectMetadata
	if t.store != nil && !opts.DryRun {
		t.store.beginWrite(nameIn(t.ref))
		defer func() { t.store.endWrite(nameIn(t.ref), answer) }()
	}
	var before *unstructured.Unstructured
	if opts.Explain { // before anything is taken over: who holds what is asked
		if before, err = w.cluster.self.getObject(ctx, t.gvr, t.info.namespaced, t.ref); err != nil {
			return plan.Written{}, err
		}
	}
	replaced := false
	if opts.Replace {
		if replaced, err = w.replace(ctx, t); err != nil || opts.DryRun {
			return plan.Written{Changed: replaced}, err
		}
		// The update left an entry of its own that would keep alive what a
		// later apply drops.
		t.opts.AdoptFrom = append([]string{opts.Manager}, opts.AdoptFrom...)
	}
	adopted := false
	if len(t.opts.AdoptFrom)+len(t.opts.Strip) > 0 && !opts.DryRun {
		if adopted, err = w.adopt(ctx, t, replaced); err != nil {
			return plan.Written{}, err
		}
	}
	written, answer, err := w.apply(ctx, t, before)
	written.Changed = written.Changed || replaced || adopted && !opts.Explain
	if t.ref.GroupKind() == crdKind && err == nil {
		w.cluster.definitionChanged(t.ref.Name) // sooner than the watch tells
	}
	if err == nil && !opts.DryRun && ownership.Adoptable(answer.ManagedFields, t.opts.AdoptFrom, opts.Manager) {
		return w.applyAgain(ctx, t, before, written, &answer)
	}
	return written, err
}

// applyAgain is for an apply that itself brought a manager to take over: where
// nothing was recorded, the API server gives all that was there to
// "before-first-apply", which would keep it alive.
func (w *Writer) applyAgain(ctx context.Context, t target, before *unstructured.Unstructured, first plan.Written, answer **metav1.PartialObjectMetadata) (plan.Written, error) {
	if _, err := w.adopt(ctx, t, true); err != nil {
		return first, err
	}
	again, meta, err := w.apply(ctx, t, before)
	if err != nil {
		return first, err
	}
	*answer = meta
	again.Changed = again.Changed || first.Changed && before == nil
	return again, nil
}

// apply sends one apply and reads the answer. It tells what changed against
// before, if that is known.
func (w *Writer) apply(ctx context.Context, t target, before *unstructured.Unstructured) (plan.Written, *metav1.PartialObjectMetadata, error) {
	var horizon, last uint64
	absent := false
	if before == nil && t.store != nil {
		horizon, last, absent = t.store.standing(nameIn(t.ref))
	}
	result, status, resent := w.patch(ctx, t, before != nil)
	var after *unstructured.Unstructured
	var meta *metav1.PartialObjectMetadata
	err := result.Error()
	if err == nil && before != nil {
		var raw []byte
		if raw, err = result.Raw(); err == nil {
			if after, err = decodeObject(t.ref, raw); err == nil {
				meta, err = metaOf(after)
			}
		}
	} else if err == nil {
		meta, err = decodeMeta(result)
	}
	if err != nil {
		return plan.Written{}, nil, w.fail(ctx, t.op(), t.ref, t.object.Origin, err)
	}
	written := plan.Written{UID: string(meta.UID), ResourceVersion: meta.ResourceVersion,
		Owned: ownership.Digest(meta.ManagedFields, t.opts.Manager), Created: status == http.StatusCreated}
	version := number(meta.ResourceVersion)
	if resent && absent && version > horizon {
		written.Created = true // by the attempt of which the answer was lost
	}
	switch {
	case written.Created:
		written.Changed = true
	case before != nil:
		written.Changed = !sameContent(before, after)
		written.Regained = ownership.Regained(before.GetManagedFields(), after.GetManagedFields(), t.opts.Manager)
	default:
		// A version that was seen before this write is not its work.
		written.Changed = version == 0 || version > horizon && version != last
	}
	if len(meta.ManagedFields) == 0 && t.saysSomething() {
		w.cluster.discovery.noteUnrecorded(t.ref.GroupKind())
	}
	if t.opts.DryRun {
		meta = nil
	}
	return written, meta, nil
}

// standing is how far the watch has come, and the version remembered of an
// object, zeros if nothing is known; absent tells that there is no such object.
func (s *store) standing(n name) (horizon, version uint64, absent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[n]
	_, foreign := s.others[s.hash(n)]
	if r != nil {
		version = r.version
	}
	return s.horizon, version, s.listed && r == nil && !foreign
}

// patch sends the apply. whole asks for the object instead of its metadata.
func (w *Writer) patch(ctx context.Context, t target, whole bool) (result rest.Result, status int, resent bool) {
	accept := acceptMeta
	if whole {
		accept = acceptObject
	}
	r := w.client.Patch(types.ApplyPatchType).AbsPath(t.path()...).SetHeader("Accept", accept).
		Param("fieldManager", t.opts.Manager).Param("force", "true").Body(t.payload)
	if t.opts.DryRun {
		r = r.Param("dryRun", "All")
	}
	result, resent = w.send(ctx, r)
	result.StatusCode(&status)
	return result, status, resent
}

func metaOf(u *unstructured.Unstructured) (*metav1.PartialObjectMetadata, error) {
	meta := &metav1.PartialObjectMetadata{}
	fields, _ := u.Object["metadata"].(map[string]any)
	return meta, runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{"metadata": fields}, meta)
}

// sameContent compares two states of an object without what the API server
// keeps in it for itself.
func sameContent(a, b *unstructured.Unstructured) bool {
	return reflect.DeepEqual(content(a), content(b))
}

func content(u *unstructured.Unstructured) map[string]any {
	out := make(map[string]any, len(u.Object))
	for k, v := range u.Object {
		out[k] = v
	}
	delete(out, "status")
	fields, _ := out["metadata"].(map[string]any)
	meta := make(map[string]any, len(fields))
	for k, v := range fields {
		switch k {
		case "managedFields", "resourceVersion", "generation":
		default:
			meta[k] = v
		}
	}
	out["metadata"] = meta
	return out
}

// replace updates the whole object. It reports false if the object does not
// exist yet, and so is to be applied, or if nothing changed.
func (w *Writer) replace(ctx context.Context, t target) (changed bool, err error) {
	for try := 0; ; try++ {
		meta, found, err := w.GetMeta(ctx, t.ref)
		if err != nil || !found {
			return false, err
		}
		body := t.object.Copy().Unstructured()
		body.SetResourceVersion(meta.ResourceVersion)
		payload, err := json.Marshal(body.Object)
		if err != nil {
			return false, w.fail(ctx, t.op(), t.ref, t.object.Origin, err)
		}
		r := w.client.Put().AbsPath(t.path()...).SetHeader("Accept", acceptMeta).SetHeader("Content-Type", runtime.ContentTypeJSON).
			Param("fieldManager", t.opts.Manager).Body(payload)
		if t.opts.DryRun {
			r = r.Param("dryRun", "All")
		}
		result, _ := w.send(ctx, r)
		answer, err := decodeMeta(result)
		if err == nil {
			return answer.ResourceVersion != meta.ResourceVersion, nil
		}
		if !retriable(err, try) {
			return false, w.fail(ctx, t.op(), t.ref, t.object.Origin, err)
		}
	}
}
