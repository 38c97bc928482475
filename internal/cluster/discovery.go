package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

// How long an answer of discovery is believed. Changes of
// CustomResourceDefinitions and APIServices are watched and make the answers
// of their group stale at once; these times are for what no watch tells, such
// as an upgrade of the API server.
const (
	discoveryFor = 5 * time.Minute
	missFor      = 10 * time.Second
	// After a definition changed, the API server needs a moment until it
	// serves it; for missFor a miss is looked up again after this time.
	missWhileChanging = 50 * time.Millisecond
	// How long a write waits for a kind whose definition has just changed.
	servedWithin = 5 * time.Second
)

// kindInfo is how a kind is reached.
type kindInfo struct {
	kind       string
	resource   string // plural
	namespaced bool
	versions   []string // that serve it, in the group's order of preference
	watchable  bool     // list and watch
	patchable  bool
	unrecorded bool // it was seen that writes leave no trace in managedFields
}

func (k kindInfo) gvr(group, version string) schema.GroupVersionResource {
	if !slices.Contains(k.versions, version) {
		version = k.versions[0]
	}
	return schema.GroupVersionResource{Group: group, Version: version, Resource: k.resource}
}

// discovery learns kinds group by group, so that a group whose server is
// broken harms nobody who does not ask for it.
type discovery struct {
	get func(ctx context.Context, path string) ([]byte, error)

	mu     sync.Mutex
	groups map[string]*group
}

// group is what is known of one API group.
type group struct {
	refresh sync.Mutex // held while asking

	// Guarded by discovery.mu:
	kinds   map[string]kindInfo
	fetched time.Time
	stale   bool
	changed time.Time // when a definition of the group last changed
}

// lookup finds a kind. found is false if the cluster serves no version of it;
// that it cannot be told is an error.
func (d *discovery) lookup(ctx context.Context, gk schema.GroupKind) (info kindInfo, found bool, err error) {
	g := d.group(gk.Group)
	if info, found, fresh := d.cached(g, gk.Kind); fresh {
		return info, found, nil
	}
	g.refresh.Lock()
	defer g.refresh.Unlock()
	if info, found, fresh := d.cached(g, gk.Kind); fresh {
		return info, found, nil // someone else asked meanwhile
	}
	d.mu.Lock()
	g.stale = false // what changes from here on makes it stale again
	d.mu.Unlock()
	kinds, err := d.fetch(ctx, gk.Group)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		g.stale = true
		return kindInfo{}, false, err
	}
	for name, old := range g.kinds {
		if k, ok := kinds[name]; ok && old.unrecorded {
			k.unrecorded = true
			kinds[name] = k
		}
	}
	g.kinds, g.fetched = kinds, time.Now()
	info, found = kinds[gk.Kind]
	return info, found, nil
}

// resource finds the kind that a plural name stands for.
func (d *discovery) resource(ctx context.Context, gr schema.GroupResource) (kindInfo, bool, error) {
	// Any kind of the group brings all of them; an empty one is a miss.
	if _, _, err := d.lookup(ctx, schema.GroupKind{Group: gr.Group}); err != nil {
		return kindInfo{}, false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.groups[gr.Group].kinds {
		if k.resource == gr.Resource {
			return k, true, nil
		}
	}
	return kindInfo{}, false, nil
}

func (d *discovery) group(name string) *group {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.groups[name]
	if g == nil {
		g = &group{stale: true}
		d.groups[name] = g
	}
	return g
}

func (d *discovery) cached(g *group, kind string) (info kindInfo, found, fresh bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	info, found = g.kinds[kind]
	age := time.Since(g.fetched)
	switch {
	case g.stale:
		return info, found, false
	case found:
		return info, true, age < discoveryFor
	case time.Since(g.changed) < missFor:
		return info, false, age < missWhileChanging
	}
	return info, false, age < missFor
}

// invalidate forgets what is known of a group.
func (d *discovery) invalidate(name string) {
	g := d.group(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	g.stale, g.changed = true, time.Now()
}

// changing reports whether a definition of the group changed just now.
func (d *discovery) changing(name string) bool {
	g := d.group(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Since(g.changed) < missFor
}

func (d *discovery) invalidateAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.groups {
		g.stale = true
	}
}

// noteUnrecorded remembers that a kind's server keeps no managedFields.
func (d *discovery) noteUnrecorded(gk schema.GroupKind) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.groups[gk.Group]; g != nil {
		if k, ok := g.kinds[gk.Kind]; ok {
			k.unrecorded = true
			g.kinds[gk.Kind] = k
		}
	}
}

// fetch asks for all kinds of a group. A group that is not served is empty.
func (d *discovery) fetch(ctx context.Context, name string) (map[string]kindInfo, error) {
	root, versions := "/api", []string{"v1"}
	if name != "" {
		root = "/apis/" + name
		var answer metav1.APIGroup
		if err := d.read(ctx, root, &answer); apierrors.IsNotFound(err) {
			return map[string]kindInfo{}, nil
		} else if err != nil {
			return nil, groupFailure(name, err)
		}
		versions = []string{answer.PreferredVersion.Version}
		for _, v := range answer.Versions {
			if !slices.Contains(versions, v.Version) {
				versions = append(versions, v.Version)
			}
		}
	}
	kinds := map[string]kindInfo{}
	for _, version := range versions {
		var list metav1.APIResourceList
		if err := d.read(ctx, root+"/"+version, &list); apierrors.IsNotFound(err) {
			continue // gone since the group was asked
		} else if err != nil {
			return nil, groupFailure(name, err)
		}
		for _, r := range list.APIResources {
			if strings.Contains(r.Name, "/") { // a subresource
				continue
			}
			k, ok := kinds[r.Kind]
			if !ok {
				k = kindInfo{kind: r.Kind, resource: r.Name, namespaced: r.Namespaced,
					watchable: slices.Contains(r.Verbs, "list") && slices.Contains(r.Verbs, "watch"),
					patchable: slices.Contains(r.Verbs, "patch")}
			}
			if !slices.Contains(k.versions, version) {
				k.versions = append(k.versions, version)
			}
			kinds[r.Kind] = k
		}
	}
	return kinds, nil
}

func (d *discovery) read(ctx context.Context, path string, into any) error {
	data, err := d.get(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: unexpected answer: %w", path, err)
	}
	return nil
}

func groupFailure(name string, err error) error {
	f := Classify("observation", object.Ref{}, object.Origin{}, err)
	var none *noToken
	if errors.As(err, &none) { // nothing was asked
		return f
	}
	if name == "" {
		name = "core"
	}
	return &app.Failure{Stage: app.StageObserve, Reason: f.Reason, Hint: f.Hint,
		Err: fmt.Errorf("kinds of API group %s cannot be told: %w", name, f.Err)}
}

// Kinds tells which of the asked kinds the cluster serves, and how. That it
// cannot be told is an error, never an empty answer.
func (c *Cluster) Kinds(ctx context.Context, kinds []schema.GroupVersionKind) (map[schema.GroupKind]plan.Kind, error) {
	out := map[schema.GroupKind]plan.Kind{}
	for _, gvk := range kinds {
		gk := gvk.GroupKind()
		if _, done := out[gk]; done {
			continue
		}
		info, found, err := c.lookup(ctx, gk)
		if err != nil {
			return nil, c.self.fail(ctx, "observation", object.Ref{Group: gk.Group, Kind: gk.Kind, Name: "*"}, object.Origin{}, err)
		}
		if !found {
			out[gk] = plan.Kind{}
			continue
		}
		out[gk] = plan.Kind{Served: true, Namespaced: info.namespaced, Version: info.versions[0], Owned: info.owned()}
	}
	return out, nil
}

// lookup finds a kind, and has definitions watched from the first time on.
func (c *Cluster) lookup(ctx context.Context, gk schema.GroupKind) (info kindInfo, found bool, err error) {
	c.track(namespaceKind) // first: see State
	c.track(crdKind)
	c.track(apiServiceKind)
	return c.discovery.lookup(ctx, gk)
}

// owned reports whether drift of this kind shows in its ownership.
func (k kindInfo) owned() bool { return k.watchable && k.patchable && !k.unrecorded }

// AwaitKinds waits until all kinds are served in their versions, as they are a
// moment after their CustomResourceDefinition is established. There is no
// watch for that, so discovery is asked again and again.
func (c *Cluster) AwaitKinds(ctx context.Context, kinds []schema.GroupVersionKind) error {
	tick := time.NewTicker(2 * missWhileChanging)
	defer tick.Stop()
	for _, gvk := range kinds {
		for {
			info, found, err := c.lookup(ctx, gvk.GroupKind())
			if err != nil {
				return err
			}
			if found && slices.Contains(info.versions, gvk.Version) {
				break
			}
			c.discovery.invalidate(gvk.Group)
			select {
			case <-ctx.Done():
				return stopped(ctx, "wait for kind "+gvk.Kind, object.Ref{Group: gvk.Group, Kind: gvk.Kind})
			case <-tick.C:
			}
		}
	}
	return nil
}
