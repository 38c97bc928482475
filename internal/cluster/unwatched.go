package cluster

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/object"
)

// Unwatched gives those of refs whose drift no watch tells: the server of their
// kind offers no watch, or keeps no record of who owns what, as some aggregated
// APIs do. They have to be looked at from time to time; Observe compares them.
//
// It makes no request. A kind that was not looked at yet, or is not served at
// present, counts as watched.
func (c *Cluster) Unwatched(refs []object.Ref) []object.Ref {
	blind := map[schema.GroupKind]bool{}
	var out []object.Ref
	for _, ref := range refs {
		gk := ref.GroupKind()
		is, asked := blind[gk]
		if !asked {
			info, known := c.discovery.known(gk)
			is = known && !info.owned()
			blind[gk] = is
		}
		if is {
			out = append(out, ref)
		}
	}
	return out
}

// known is what was last heard of a kind, however long ago.
func (d *discovery) known(gk schema.GroupKind) (info kindInfo, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.groups[gk.Group]; g != nil {
		info, known = g.kinds[gk.Kind]
	}
	return info, known
}
