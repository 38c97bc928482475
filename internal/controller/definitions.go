package controller

import (
	"context"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// askAgain is the time between looks at what the API server serves while
// something is missing. No watch tells of that: a definition is served a moment
// after it is established.
const askAgain = time.Second

// awaitDefinitions returns when the cluster serves all that is watched, and
// says what it waits for. That the API server does not tell is left to the
// watches, which try again.
func (c *Controller) awaitDefinitions(ctx context.Context) {
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for told := ""; ; {
		missing, err := c.missingDefinitions()
		if err != nil || len(missing) == 0 {
			return
		}
		if names := strings.Join(missing, ", "); names != told {
			told = names
			c.log.Error("waiting for definitions that are not installed: "+names,
				"hint", "plumb install --crds | kubectl apply --server-side -f -")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// missingDefinitions lists what is watched and not served, as definitions are
// named.
func (c *Controller) missingDefinitions() ([]string, error) {
	served := map[schema.GroupVersion]map[string]bool{}
	var missing []string
	for _, w := range c.watches() {
		gv := w.resource.GroupVersion()
		if gv.Group == "" {
			continue // built in
		}
		if served[gv] == nil {
			served[gv] = map[string]bool{}
			list, err := c.core.Discovery().ServerResourcesForGroupVersion(gv.String())
			if err != nil && !apierrors.IsNotFound(err) {
				return nil, err
			}
			if err == nil {
				for _, r := range list.APIResources {
					served[gv][r.Name] = true
				}
			}
		}
		if !served[gv][w.resource.Resource] {
			missing = append(missing, w.resource.GroupResource().String())
		}
	}
	slices.Sort(missing)
	return missing, nil
}
