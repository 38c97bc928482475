package cluster

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// State is how far the watches have come, and of which cluster.
type State struct {
	blank   bool // nothing is remembered
	version uint64
	uid     string // of kube-system, which every cluster has; "" if it was not known yet
}

// State tells how far the watches have come.
func (c *Cluster) State() State {
	k := c.tracked(namespaceKind)
	if k == nil {
		return State{blank: true} // it is watched before all others
	}
	k.store.mu.Lock()
	defer k.store.mu.Unlock()
	s := State{version: k.store.horizon}
	if r := k.store.records[name{name: metav1.NamespaceSystem}]; r != nil {
		s.uid = r.uid.text()
	}
	return s
}

// Rewound reports whether there is now another cluster behind the address than
// the one that was, or the same one as it was before: it was made anew, or its
// data were restored. An API server does not tell: it takes a watch from a
// version that it has yet to come to, and is silent until then. Such
// a connection is of no use any more; make another one.
func (c *Cluster) Rewound(ctx context.Context, was State) (bool, error) {
	if was.blank {
		return false, nil
	}
	if was.uid == "" {
		return true, nil // of other kinds something may be remembered already
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	list, err := c.meta.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, metav1.NamespaceSystem).String()})
	if err != nil {
		return false, err
	}
	if number(list.ResourceVersion) < was.version {
		return true, nil
	}
	// A cluster that was just made may have come further than the watches had,
	// and not have this namespace yet.
	return len(list.Items) != 1 || string(list.Items[0].UID) != was.uid, nil
}
