package cluster

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/object"
)

// witnesses is how many of the objects that changed last are looked at, at
// most, to find one that has not changed since.
const witnesses = 8

// State is how far the watches have come, and of which cluster.
type State struct {
	blank   bool // nothing is remembered
	version uint64
	uid     string     // of kube-system, which every cluster has; "" if it was not known yet
	latest  []sighting // what changed last, the last one first
	gone    sighting   // what went last; without a uid if nothing did
}

// sighting is an object as it was seen last.
type sighting struct {
	ref     object.Ref
	uid     string
	version uint64
	told    uint64    // the watch has told of all changes of its kind up to there
	at      time.Time // when it went
}

// State tells how far the watches have come.
func (c *Cluster) State() State {
	k := c.tracked(namespaceKind)
	if k == nil {
		return State{blank: true} // it is watched before all others
	}
	k.store.mu.Lock()
	s := State{version: k.store.horizon}
	if r := k.store.records[name{name: metav1.NamespaceSystem}]; r != nil {
		s.uid = r.uid.text()
	}
	k.store.mu.Unlock()
	c.mu.Lock()
	kinds := make([]*kindWatch, 0, len(c.kinds))
	for _, k := range c.kinds {
		kinds = append(kinds, k)
	}
	c.mu.Unlock()
	own := c.ownVersions()
	for _, k := range kinds {
		latest, gone := k.store.sightings(witnesses)
		if own(k.store.kind.Group) {
			s.latest = append(s.latest, latest...)
		}
		if gone.at.After(s.gone.at) {
			s.gone = gone
		}
	}
	slices.SortFunc(s.latest, func(a, b sighting) int { return cmp.Compare(b.version, a.version) })
	s.latest = s.latest[:min(len(s.latest), witnesses)]
	return s
}

// ownVersions tells of a group whether the API server keeps its objects itself,
// so that their versions can be compared with those of others.
func (c *Cluster) ownVersions() func(group string) bool {
	defined := map[string]bool{}
	if k := c.tracked(crdKind); k != nil {
		k.store.mu.Lock()
		for n := range k.store.records {
			_, group, _ := strings.Cut(n.name, ".")
			defined[group] = true
		}
		k.store.mu.Unlock()
	}
	return func(group string) bool {
		return !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io") || defined[group]
	}
}

// sightings gives what changed last, at most so many, in no order, and what
// went last.
func (s *store) sightings(most int) (latest []sighting, gone sighting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, r := range s.records {
		latest = append(latest, sighting{ref: s.ref(n), uid: r.uid.text(), version: r.version, told: s.horizon})
		if len(latest) > 2*most {
			latest = last(latest, most)
		}
	}
	return last(latest, most), s.gone
}

func last(of []sighting, most int) []sighting {
	slices.SortFunc(of, func(a, b sighting) int { return cmp.Compare(b.version, a.version) })
	return of[:min(len(of), most)]
}

// Rewound reports whether there is now another cluster behind the address than
// the one that was, or the same one as it was before: it was made anew, or its
// data were restored. An API server does not tell: it takes a watch from a
// version that it has yet to come to, and is silent until then. Where it cannot
// be told, it is so. Such a connection is of no use any more; make another one.
//
// By now a cluster that was restored may have come further than the watches
// had. But then it lacks the last change that they told of, or the one before
// if that object has changed again since: the watches will tell of that.
func (c *Cluster) Rewound(ctx context.Context, was State) (bool, error) {
	if was.blank {
		return false, nil
	}
	if was.uid == "" {
		return true, nil // of other kinds something may be remembered already
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	list, err := c.listOne(ctx, schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}, object.Ref{Name: metav1.NamespaceSystem})
	switch {
	case err != nil:
		return false, err
	case number(list.ResourceVersion) < was.version:
		return true, nil
	case len(list.Items) != 1 || string(list.Items[0].UID) != was.uid: // one that was just made may not have it yet
		return true, nil
	}
	for _, s := range was.latest {
		now, err := c.see(ctx, s.ref)
		switch {
		case err != nil:
			return false, err
		case now.uid != s.uid:
			return true, nil
		case now.version == s.version:
			return c.returned(ctx, was.gone)
		case now.version <= max(s.version, s.told):
			return true, nil
		}
	}
	return true, nil
}

// returned reports whether something is there that had gone.
func (c *Cluster) returned(ctx context.Context, gone sighting) (bool, error) {
	if gone.uid == "" {
		return false, nil
	}
	now, err := c.see(ctx, gone.ref)
	return err == nil && now.uid == gone.uid, err
}

// see looks at an object; one that is not there has no uid.
func (c *Cluster) see(ctx context.Context, ref object.Ref) (sighting, error) {
	out := sighting{ref: ref}
	info, served, err := c.discovery.lookup(ctx, ref.GroupKind())
	if err != nil || !served {
		return out, err
	}
	list, err := c.listOne(ctx, info.gvr(ref.Group, ""), ref)
	if err == nil && len(list.Items) == 1 {
		out.uid, out.version = string(list.Items[0].UID), number(list.Items[0].ResourceVersion)
	}
	return out, err
}

// listOne lists an object by its name: who may watch may do that.
func (c *Cluster) listOne(ctx context.Context, gvr schema.GroupVersionResource, ref object.Ref) (*metav1.PartialObjectMetadataList, error) {
	return c.meta.Resource(gvr).Namespace(ref.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, ref.Name).String()})
}
