package cluster

import (
	"context"
	"encoding/json"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/ownership"
)

// conflicts is how often a write is tried again because the object changed
// between reading and writing it.
const conflicts = 5

func retriable(err error, try int) bool { return apierrors.IsConflict(err) && try < conflicts }

// patchOp is one operation of a JSON patch (RFC 6902).
type patchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// adopt hands the object's fields over to the manager before it applies, and
// removes what other tools left on the object. Unless sure, it asks what is
// remembered first and costs no request if there is nothing to do.
func (w *Writer) adopt(ctx context.Context, t target, sure bool) (changed bool, err error) {
	if t.store != nil && !sure {
		if r, foreign := t.store.get(nameIn(t.ref)); !foreign && (r == nil || !r.adoptable(t.opts)) {
			return false, nil
		}
	}
	for try := 0; ; try++ {
		meta, found, err := w.cluster.self.GetMeta(ctx, t.ref)
		if err != nil || !found {
			return false, err
		}
		ops, err := takeover(meta, t)
		if err != nil || len(ops) == 0 {
			return false, w.fail(ctx, t.op(), t.ref, t.object.Origin, err)
		}
		patch, err := json.Marshal(ops)
		if err != nil {
			return false, w.fail(ctx, t.op(), t.ref, t.object.Origin, err)
		}
		result, _ := w.send(ctx, w.client.Patch(types.JSONPatchType).AbsPath(t.path()...).SetHeader("Accept", acceptMeta).
			Param("fieldManager", t.opts.Manager).Body(patch))
		if err = result.Error(); err == nil {
			return true, nil
		}
		if !retriable(err, try) {
			return false, w.fail(ctx, t.op(), t.ref, t.object.Origin, err)
		}
	}
}

// takeover is the patch that adopts an object, empty if there is nothing to do.
//
// Metadata to be stripped that the manager owns by now alone is left to the
// apply, which drops what it does not name: the mark of another app then gives
// way in the same instant in which the one of this app comes. Were the object
// without either in between, and this process killed, each of the two apps
// would take it for the other's.
func takeover(meta *metav1.PartialObjectMetadata, t target) ([]patchOp, error) {
	entries, changed, err := ownership.Adopt(meta.ManagedFields, t.opts.AdoptFrom, t.opts.Manager)
	if err != nil {
		return nil, err
	}
	var ops []patchOp
	if changed {
		ops = append(ops, patchOp{"replace", "/metadata/managedFields", entries})
	}
	u := t.object.Unstructured()
	for _, key := range t.opts.Strip {
		escaped := strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
		for field, values := range map[string]struct{ live, desired map[string]string }{
			"annotations": {meta.Annotations, u.GetAnnotations()},
			"labels":      {meta.Labels, u.GetLabels()},
		} {
			if has(values.live, key) && !has(values.desired, key) && !ownership.Alone(entries, t.opts.Manager, "metadata", field, key) {
				ops = append(ops, patchOp{"remove", "/metadata/" + field + "/" + escaped, nil})
			}
		}
	}
	if len(ops) == 0 {
		return nil, nil
	}
	// Replacing the version instead of testing it makes the API server answer
	// "conflict" if the object has changed, not "invalid".
	return append(ops, patchOp{"replace", "/metadata/resourceVersion", meta.ResourceVersion}), nil
}

func has(m map[string]string, key string) bool {
	_, ok := m[key]
	return ok
}
