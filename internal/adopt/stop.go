package adopt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"

	"plumb.dev/plumb/api"
	"plumb.dev/plumb/internal/controller"
	"plumb.dev/plumb/internal/dialect/flux"
)

// Replaced are those of controllers that Plumb does the work of.
func Replaced(controllers []Controller) []Controller {
	return slices.DeleteFunc(slices.Clone(controllers), func(c Controller) bool { return !c.Replaced })
}

// TakeOver stops those of Flux's controllers that Plumb replaces, one after the
// other: while kustomize-controller lives, it would start the others again. It
// returns when none of their pods is left, with the definitions that became
// Plumb's. It tells of each controller before and after.
func (c *Cluster) TakeOver(ctx context.Context, controllers []Controller, told func(ctl Controller, ended bool)) (defined []string, err error) {
	replaced := Replaced(controllers)
	running := slices.ContainsFunc(replaced, Controller.Running)
	for i, ctl := range replaced {
		if i == len(replaced)-1 {
			// With the last of them a Plumb that waits begins. What it writes must
			// be kept by then, and be told from what it wrote some earlier time.
			if defined, err = c.Define(ctx, false); err != nil {
				return nil, err
			}
			if running {
				if _, err := c.erase(ctx, true); err != nil {
					return nil, err
				}
			}
		}
		told(ctl, false)
		if err := c.halt(ctx, ctl.Namespace, ctl.Name); err != nil {
			return nil, fmt.Errorf("stopping %s: %w", ctl.Component, err)
		}
		told(ctl, true)
	}
	// Nobody is left who would scale them up: Plumb does not. It may deliver
	// them, and remove them when Git has them no more.
	for _, ctl := range replaced {
		if err := c.unhold(ctx, ctl.Namespace, ctl.Name); err != nil {
			return nil, fmt.Errorf("%s: %w", ctl.Component, err)
		}
	}
	return defined, nil
}

var definitionResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// Define puts Plumb's definitions of the custom resources in the place of
// Flux's, which they extend: a status of Plumb's needs fields that Flux's
// definitions drop. Those that Plumb has installed are left as they are. It
// returns the names of those that were changed, or would be in a dry run.
func (c *Cluster) Define(ctx context.Context, dryRun bool) (changed []string, err error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(api.CRDs()), 4096)
	for {
		crd := &unstructured.Unstructured{}
		if err := decoder.Decode(&crd.Object); err == io.EOF {
			return changed, nil
		} else if err != nil {
			return nil, err
		}
		there, err := c.dynamic.Resource(definitionResource).Get(ctx, crd.GetName(), metav1.GetOptions{})
		switch {
		case err != nil && !apierrors.IsNotFound(err):
			return nil, err
		case err == nil && there.GetLabels()[api.OwnLabel] == api.OwnValue:
			continue
		}
		// Under the name of who delivered them, so that what Plumb's lack goes.
		opts := metav1.ApplyOptions{FieldManager: flux.FieldManager, Force: true}
		if dryRun {
			opts.DryRun = []string{metav1.DryRunAll}
		}
		if _, err := c.dynamic.Resource(definitionResource).Apply(ctx, crd.GetName(), crd, opts); err != nil {
			return nil, fmt.Errorf("definition %s: %w", crd.GetName(), err)
		}
		changed = append(changed, crd.GetName())
	}
}

// Forget removes from the statuses of apps and sources what only Plumb reads,
// and the artifacts that were to be had of Plumb alone: Flux makes its own, and
// waits for them, where it would give up for long on one that is not there. It
// tells of how many resources it did.
func (c *Cluster) Forget(ctx context.Context) (int, error) { return c.erase(ctx, false) }

// erase does so; of apps alone where no artifact is at stake.
func (c *Cluster) erase(ctx context.Context, appsOnly bool) (int, error) {
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"plumb": nil, "artifact": nil}})
	if err != nil {
		return 0, err
	}
	done := 0
	for _, k := range kinds() {
		if !controller.Serves(k.resource.GroupResource()) || appsOnly && !k.delivers {
			continue
		}
		items, err := c.list(ctx, k.resource)
		if err != nil {
			return done, fmt.Errorf("%s: %w", k.resource.GroupResource(), err)
		}
		for _, u := range items {
			_, own, _ := unstructured.NestedFieldNoCopy(u.Object, "status", "plumb")
			_, artifact, _ := unstructured.NestedFieldNoCopy(u.Object, "status", "artifact")
			if !own && !artifact {
				continue
			}
			_, err := c.dynamic.Resource(k.resource).Namespace(u.GetNamespace()).Patch(ctx, u.GetName(), types.MergePatchType, patch,
				metav1.PatchOptions{FieldManager: FieldManager}, "status")
			if err != nil && !apierrors.IsNotFound(err) {
				return done, fmt.Errorf("%s %s/%s: %w", k.name, u.GetNamespace(), u.GetName(), err)
			}
			done++
		}
	}
	return done, nil
}

// Refusals lists resources that Flux's own definitions would refuse, with why:
// Plumb takes some that Flux does not.
func (c *Cluster) Refusals(ctx context.Context) ([]string, error) {
	var out []string
	for _, k := range kinds() {
		items, err := c.list(ctx, k.resource)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.resource.GroupResource(), err)
		}
		for _, u := range items {
			if _, found, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "interval"); !found {
				out = append(out, fmt.Sprintf("%s %s/%s has no spec.interval: Flux refuses such manifests", k.name, u.GetNamespace(), u.GetName()))
			}
		}
	}
	return out, nil
}
