package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

// Writer acts on a cluster under one identity: it writes, and asks what a
// write would do. Its errors are, or wrap, *app.Failure.
type Writer struct {
	cluster *Cluster
	client  *rest.RESTClient
	via     http.RoundTripper
}

// Config is for clients of other make: what they ask passes through the gate of
// the connection, under the writer's identity and no other: one that brings an
// identity of its own is refused. It holds no credentials.
func (w *Writer) Config() (*rest.Config, error) {
	root, _, err := rest.DefaultServerUrlFor(w.cluster.config) // it knows whether there is TLS
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", w.cluster.config.Host, err)
	}
	return &rest.Config{Host: root.String(), Transport: faithful{w.via}, UserAgent: w.cluster.config.UserAgent, QPS: -1, WarningHandlerWithContext: rest.NoWarnings{}}, nil
}

// faithful refuses requests that say themselves whose they are: the transports
// below would take that for granted.
type faithful struct{ next http.RoundTripper }

var errOtherIdentity = errors.New("the request brings an identity of its own")

func (f faithful) RoundTrip(req *http.Request) (*http.Response, error) {
	for name := range req.Header {
		if name == "Authorization" || strings.HasPrefix(name, "Impersonate-") {
			if req.Body != nil {
				req.Body.Close()
			}
			return nil, errOtherIdentity
		}
	}
	return f.next.RoundTrip(req)
}

// What is asked for as an answer: metadata alone, in the form that is cheapest
// to read, or the object.
const (
	acceptMeta   = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
	acceptObject = "application/json"
)

// path is the place of an object, or of all of a kind with an empty name, in
// the API.
func path(gvr schema.GroupVersionResource, namespaced bool, namespace, name string) []string {
	segments := []string{"api", gvr.Version}
	if gvr.Group != "" {
		segments = []string{"apis", gvr.Group, gvr.Version}
	}
	if namespaced {
		segments = append(segments, "namespaces", namespace)
	}
	segments = append(segments, gvr.Resource)
	if name != "" {
		segments = append(segments, name)
	}
	return segments
}

// bounded limits one request. client-go would log what its caller is told.
func (w *Writer) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(klog.NewContext(ctx, logr.Discard()), w.cluster.opts.Timeout, errNoAnswer)
}

// fail makes a failure of what came of op. Why ctx ended counts for more than
// that the request did.
func (w *Writer) fail(ctx context.Context, op string, ref object.Ref, origin object.Origin, err error) error {
	if err == nil {
		return nil
	}
	if f := stopped(ctx, op, ref); f != nil {
		return f
	}
	f := Classify(op, ref, origin, err)
	if f.Reason == app.ReasonKindUnknown {
		w.cluster.discovery.invalidate(ref.Group)
	}
	return f
}

// find tells how ref's kind is reached; a kind that is not served is a failure.
func (w *Writer) find(ctx context.Context, op string, ref object.Ref, version string, origin object.Origin) (kindInfo, schema.GroupVersionResource, error) {
	info, found, err := w.cluster.lookup(ctx, ref.GroupKind())
	if err != nil {
		return kindInfo{}, schema.GroupVersionResource{}, w.fail(ctx, op, ref, origin, err)
	}
	gvr := schema.GroupVersionResource{}
	if found {
		gvr = info.gvr(ref.Group, version)
	}
	if !found || version != "" && gvr.Version != version {
		f := app.Fail(app.StageApply, app.ReasonKindUnknown, "%s%s: no matches for kind %q in version %q",
			ref, at(origin), ref.Kind, schema.GroupVersion{Group: ref.Group, Version: version})
		if found {
			return kindInfo{}, gvr, f.WithHint("the cluster serves this kind in version %s", info.versions[0])
		}
		return kindInfo{}, gvr, f.WithHint("install its CustomResourceDefinition first")
	}
	return info, gvr, nil
}

// findComing is find, and waits for a kind whose definition has just changed.
func (w *Writer) findComing(ctx context.Context, op string, ref object.Ref, version string, origin object.Origin) (kindInfo, schema.GroupVersionResource, error) {
	info, gvr, err := w.find(ctx, op, ref, version, origin)
	var f *app.Failure
	if !errors.As(err, &f) || f.Reason != app.ReasonKindUnknown || !w.cluster.discovery.changing(ref.Group) {
		return info, gvr, err
	}
	wait, cancel := context.WithTimeout(ctx, servedWithin)
	defer cancel()
	if w.cluster.AwaitKinds(wait, []schema.GroupVersionKind{{Group: ref.Group, Version: version, Kind: ref.Kind}}) != nil {
		return info, gvr, err
	}
	return w.find(ctx, op, ref, version, origin)
}

func at(origin object.Origin) string {
	if origin == (object.Origin{}) {
		return ""
	}
	return " (" + origin.String() + ")"
}

// Get reads an object, nil if it does not exist.
func (w *Writer) Get(ctx context.Context, ref object.Ref) (*unstructured.Unstructured, error) {
	info, found, err := w.cluster.lookup(ctx, ref.GroupKind())
	if err != nil {
		return nil, w.fail(ctx, "read", ref, object.Origin{}, err)
	}
	if !found {
		return nil, nil
	}
	return w.getObject(ctx, info.gvr(ref.Group, ""), info.namespaced, ref)
}

func (w *Writer) getObject(ctx context.Context, gvr schema.GroupVersionResource, namespaced bool, ref object.Ref) (*unstructured.Unstructured, error) {
	result, _ := w.send(ctx, w.client.Get().AbsPath(path(gvr, namespaced, ref.Namespace, ref.Name)...).SetHeader("Accept", acceptObject))
	raw, err := body(result)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, w.fail(ctx, "read", ref, object.Origin{}, err)
	}
	return decodeObject(ref, raw)
}

func decodeObject(ref object.Ref, raw []byte) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(raw); err != nil {
		return nil, app.Fail(app.StageObserve, app.ReasonInternal, "%s: unexpected answer of the API server: %s", ref, object.RedactError(ref, err.Error()))
	}
	return u, nil
}

// GetMeta reads an object's metadata.
func (w *Writer) GetMeta(ctx context.Context, ref object.Ref) (meta *metav1.PartialObjectMetadata, found bool, err error) {
	info, found, err := w.cluster.lookup(ctx, ref.GroupKind())
	if err != nil || !found {
		return nil, false, w.fail(ctx, "read", ref, object.Origin{}, err)
	}
	gvr := info.gvr(ref.Group, "")
	result, _ := w.send(ctx, w.client.Get().AbsPath(path(gvr, info.namespaced, ref.Namespace, ref.Name)...).SetHeader("Accept", acceptMeta))
	meta, err = decodeMeta(result)
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, w.fail(ctx, "read", ref, object.Origin{}, err)
	}
	return meta, true, nil
}

// decodeMeta reads an answer that was asked for as metadata. Servers that do
// not know that form answer with the object, whose metadata are the same.
func decodeMeta(result rest.Result) (*metav1.PartialObjectMetadata, error) {
	if err := result.Error(); err != nil {
		return nil, err
	}
	answer, err := result.Get()
	if err == nil {
		if meta, ok := answer.(*metav1.PartialObjectMetadata); ok {
			return meta, nil
		}
		return nil, fmt.Errorf("unexpected answer of the API server: %T", answer)
	}
	if !runtime.IsNotRegisteredError(err) {
		return nil, err
	}
	raw, err := result.Raw()
	if err != nil {
		return nil, err
	}
	meta := &metav1.PartialObjectMetadata{}
	if err := json.Unmarshal(raw, meta); err != nil {
		return nil, fmt.Errorf("unexpected answer of the API server: %w", err)
	}
	return meta, nil
}

// body gives the bytes of an answer. Raw alone would drop what the API server
// says in a refusal.
func body(result rest.Result) ([]byte, error) {
	if err := result.Error(); err != nil {
		return nil, err
	}
	return result.Raw()
}

// getRaw reads a path; its errors are not classified.
func (w *Writer) getRaw(ctx context.Context, path string) ([]byte, error) {
	result, _ := w.send(ctx, w.client.Get().AbsPath(path).SetHeader("Accept", acceptObject))
	return body(result)
}

// Get reads an object as Plumb itself, nil if it does not exist.
func (c *Cluster) Get(ctx context.Context, ref object.Ref) (*unstructured.Unstructured, error) {
	return c.self.Get(ctx, ref)
}

// Live gives what is remembered of an object; known is false if its kind is
// not watched (yet), or the object was never asked for and is not ours.
func (c *Cluster) Live(ref object.Ref, manager string) (live plan.Live, known bool) {
	k := c.tracked(ref.GroupKind())
	if k == nil {
		return plan.Live{}, false
	}
	k.mu.Lock()
	synced := k.synced
	k.mu.Unlock()
	r, foreign := k.store.get(nameIn(ref))
	switch {
	case !synced || foreign:
		return plan.Live{}, false
	case r == nil:
		return plan.Live{}, true
	}
	return r.live(c.managerIndex(manager)), true
}
