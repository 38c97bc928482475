package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
)

// await asks Flux for each source and each app, and waits for the answers: that
// of an app to which nothing is to be done would show nowhere else. Sources go
// first, because an app whose source has no artifact yet is said to have failed.
func (g *giveBack) await(ctx context.Context) error {
	c, err := g.connect()
	if err != nil {
		return err
	}
	token := g.env.Now().UTC().Format(time.RFC3339Nano)
	for _, all := range [][]string{
		{flux.KindGitRepository, flux.KindOCIRepository, flux.KindBucket, flux.KindHelmRepository},
		{flux.KindHelmChart},
		{flux.KindKustomization, flux.KindHelmRelease},
	} {
		kinds := slices.DeleteFunc(all, func(kind string) bool { return !g.answered(kind) })
		// The last one is that of the apps, which is shown.
		g.takeup = &takeup{handover: g.handover, by: "Flux", after: "Plumb", begun: true,
			taken: func(_ *unstructured.Unstructured, v app.View) bool { return v.Handled == token }}
		if err := g.ask(ctx, c, token, kinds); err != nil {
			return err
		}
		if err := g.takeup.await(ctx, c, kinds...); err != nil {
			return err
		}
	}
	return nil
}

// answered reports whether one of Flux's controllers works on a kind.
func (g *giveBack) answered(kind string) bool {
	for _, ctl := range g.controllers {
		replicas, starts := ctl.Back()
		if (ctl.Running() || starts && replicas > 0) && slices.Contains(ctl.Kinds(), kind) {
			return true
		}
	}
	return false
}

// ask writes the request to each resource of these kinds that can answer.
func (g *giveBack) ask(ctx context.Context, c *cluster, token string, kinds []string) error {
	for _, name := range kinds {
		k, _ := kindNamed(name)
		found, err := list(ctx, c.at(k.resource, ""), metav1.ListOptions{})
		if err == errNotServed {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", k.resource.GroupResource(), err)
		}
		for _, u := range found.items {
			if name == flux.KindHelmRepository && !flux.HasIndex(u) {
				continue // of which Flux keeps no status
			}
			v := k.viewed(u)
			if !v.Suspended {
				_, err := c.patch(ctx, target{k, u}, k.refresh(token, false))
				if apierrors.IsNotFound(err) {
					continue
				}
				if err != nil {
					return err
				}
			}
			g.takeup.standings = append(g.takeup.standings, standing{view: v, failed: g.failed[v.ID]})
		}
	}
	return nil
}
