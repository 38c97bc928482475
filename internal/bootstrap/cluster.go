package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/object"
)

const (
	// secretManager writes the Secret, which no app delivers.
	secretManager = "plumb-cli"
	// askAgain is the time between looks at what the API server serves: nothing
	// tells the moment at which a definition is.
	askAgain = 200 * time.Millisecond
	// servedWithin is how long definitions may take to be served.
	servedWithin = time.Minute
)

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// applier applies objects as Plumb will.
type applier struct {
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

func newApplier(o Options) (*applier, error) {
	dyn, err := dynamic.NewForConfig(o.Config)
	if err != nil {
		return nil, err
	}
	disco, err := discovery.NewDiscoveryClientForConfig(o.Config)
	if err != nil {
		return nil, err
	}
	return &applier{dyn, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))}, nil
}

// install brings the cluster to where Plumb goes on by itself.
func (o Options) install(ctx context.Context, objects []object.Object) error {
	a, err := newApplier(o)
	if err != nil {
		return err
	}
	var first, then, last []*unstructured.Unstructured
	for _, one := range objects {
		switch u := one.Unstructured(); {
		case u.GetKind() == "CustomResourceDefinition" || u.GetKind() == "Namespace":
			first = append(first, u)
		case isSync(u):
			last = append(last, u)
		default:
			then = append(then, u)
		}
	}
	followed := o.Running && a.follows(ctx)
	if !followed {
		if err := a.apply(ctx, first, flux.FieldManager); err != nil {
			return err
		}
		if err := a.served(ctx, last); err != nil {
			return err
		}
		if err := a.apply(ctx, then, flux.FieldManager); err != nil {
			return err
		}
		o.Told("applied %d objects", len(first)+len(then))
	}
	if len(o.Secret) > 0 {
		secret, err := o.secret(last)
		if err != nil {
			return err
		}
		if err := a.apply(ctx, []*unstructured.Unstructured{secret}, secretManager); err != nil {
			return err
		}
		o.Told("Secret/%s/%s holds the credentials", secret.GetNamespace(), secret.GetName())
	}
	if followed {
		return nil
	}
	return a.apply(ctx, last, flux.FieldManager)
}

// follows reports whether the cluster follows a directory already.
func (a *applier) follows(ctx context.Context) bool {
	mapping, err := a.mapper.RESTMapping(schema.GroupKind{Group: flux.KustomizeGroup, Kind: flux.KindKustomization}, "v1")
	if err != nil {
		return false
	}
	_, err = a.dynamic.Resource(mapping.Resource).Namespace(Namespace).Get(ctx, Name, metav1.GetOptions{})
	return err == nil
}

// secret is named as the GitRepository asks for it.
func (o Options) secret(sync []*unstructured.Unstructured) (*unstructured.Unstructured, error) {
	name := Name
	for _, u := range sync {
		if u.GetKind() != flux.KindGitRepository || u.GetName() != Name {
			continue
		}
		ref, _, _ := unstructured.NestedString(u.Object, "spec", "secretRef", "name")
		if ref == "" {
			return nil, problem("set spec.secretRef.name of the GitRepository to "+Name+", and commit that", "the GitRepository %s in Git names no Secret for the credentials", Name)
		}
		name = ref
	}
	data := map[string]any{}
	for key, value := range o.Secret {
		data[key] = string(value)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "stringData": data}}
	u.SetName(name)
	u.SetNamespace(Namespace)
	return u, nil
}

func (a *applier) apply(ctx context.Context, objects []*unstructured.Unstructured, manager string) error {
	for _, u := range objects {
		gvk := u.GroupVersionKind()
		mapping, err := a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			return fmt.Errorf("%s/%s: %w", u.GetKind(), u.GetName(), err)
		}
		var api dynamic.ResourceInterface = a.dynamic.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			api = a.dynamic.Resource(mapping.Resource).Namespace(u.GetNamespace())
		}
		ref := object.Ref{Group: gvk.Group, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}
		if _, err := api.Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: manager, Force: true}); err != nil {
			if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
				return err
			}
			return fmt.Errorf("%s: %s", ref, object.RedactError(ref, err.Error()))
		}
	}
	return nil
}

// served returns when the API server knows the kinds of objects.
func (a *applier) served(ctx context.Context, objects []*unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, servedWithin)
	defer cancel()
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for {
		missing := error(nil)
		for _, u := range objects {
			gvk := u.GroupVersionKind()
			mapping, err := a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
			if err == nil {
				_, err = a.dynamic.Resource(mapping.Resource).Namespace(u.GetNamespace()).List(ctx, metav1.ListOptions{Limit: 1})
			}
			if err != nil {
				missing = err
			}
		}
		if missing == nil {
			return nil
		}
		if !meta.IsNoMatchError(missing) && !apierrors.IsNotFound(missing) {
			return missing
		}
		select {
		case <-tick.C:
			a.mapper.Reset()
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("definitions are not served after %s", servedWithin), missing)
		}
	}
}
