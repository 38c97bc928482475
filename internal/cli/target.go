package cli

import (
	"context"
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// target is one app or source in the cluster.
type target struct {
	kind   kind
	object *unstructured.Unstructured
}

// String is how messages name it, and how it can be written as an argument.
func (t target) String() string { return t.kind.words[0] + "/" + t.object.GetName() }

// full is the same with the namespace.
func (t target) full() string {
	return t.kind.words[0] + "/" + t.object.GetNamespace() + "/" + t.object.GetName()
}

func (t target) view() app.View { return t.kind.app(t.object) }

// name is an argument that names an app or a source: NAME, KIND/NAME or
// KIND/NAMESPACE/NAME.
type name struct {
	kind            kind // zero for a bare name
	namespace, name string
}

func parseName(arg string) (name, error) {
	parts := strings.Split(arg, "/")
	for _, p := range parts {
		if p == "" {
			return name{}, usage("%q names nothing", arg).hint("write NAME, KIND/NAME or KIND/NAMESPACE/NAME")
		}
	}
	if len(parts) == 1 {
		return name{name: arg}, nil
	}
	k, ok := kindCalled(parts[0])
	if !ok {
		return name{}, usage("%q: there is no kind %q", arg, parts[0]).hint("the kinds are %s", kindWords())
	}
	switch len(parts) {
	case 2:
		return name{kind: k, name: parts[1]}, nil
	case 3:
		return name{kind: k, namespace: parts[1], name: parts[2]}, nil
	}
	return name{}, usage("%q has too many slashes", arg).hint("write NAME, KIND/NAME or KIND/NAMESPACE/NAME")
}

// find resolves an argument. A bare name is that of an app. Where several fit,
// the error lists them.
func (c *cluster) find(ctx context.Context, arg, namespace string) (target, error) {
	n, err := parseName(arg)
	if err != nil {
		return target{}, err
	}
	if n.namespace != "" && namespace != "" && n.namespace != namespace {
		return target{}, usage("%s is not in the namespace that -n names, %s", arg, namespace).hint("leave -n out")
	}
	if n.namespace != "" {
		namespace = n.namespace
	}
	candidates := appKinds()
	if n.kind.name != "" {
		candidates = []kind{n.kind}
	}
	var found []target
	served := 0
	for _, k := range candidates {
		targets, err := c.named(ctx, k, namespace, n.name)
		if errors.Is(err, errNotServed) {
			continue
		}
		if err != nil {
			return target{}, err
		}
		served++
		found = append(found, targets...)
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case served == 0:
		return target{}, notInstalled()
	case len(found) == 0:
		return target{}, c.nothingCalled(ctx, arg, n, namespace)
	}
	var names []string
	for _, t := range found {
		names = append(names, t.full())
	}
	return target{}, usage("%q is ambiguous: it can be %s", arg, commaList(names)).hint("write one of these in its place")
}

// named looks for objects of a kind by name.
func (c *cluster) named(ctx context.Context, k kind, namespace, objectName string) ([]target, error) {
	if namespace != "" {
		u, err := c.at(k.resource, namespace).Get(ctx, objectName, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			// A missing object and an unknown kind answer alike.
			_, listErr := c.at(k.resource, namespace).List(ctx, metav1.ListOptions{Limit: 1})
			if apierrors.IsNotFound(listErr) {
				return nil, errNotServed
			}
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return []target{{k, u}}, nil
	}
	all, err := list(ctx, c.at(k.resource, ""), metav1.ListOptions{FieldSelector: "metadata.name=" + objectName})
	if err != nil {
		return nil, err
	}
	var out []target
	for _, u := range all.items {
		out = append(out, target{k, u})
	}
	return out, nil
}

// nothingCalled says that a name fits nothing, and what would.
func (c *cluster) nothingCalled(ctx context.Context, arg string, n name, namespace string) error {
	where := "in any namespace"
	if namespace != "" {
		where = "in namespace " + namespace
	}
	what := "app"
	if n.kind.name != "" {
		what = n.kind.name
	}
	err := notFound("there is no %s %q %s", what, n.name, where)
	if n.kind.name != "" {
		return err.hint("plumb get %s lists what there is", n.kind.words[0])
	}
	for _, k := range sourceKinds() {
		if found, listErr := c.named(ctx, k, namespace, n.name); listErr == nil && len(found) > 0 {
			return err.hint("there is %s", found[0])
		}
	}
	return err.hint("plumb get lists the apps that there are")
}

// one connects, and resolves the only argument of a command.
func (p *program) one(ctx context.Context, arg string) (*cluster, target, error) {
	namespace, err := p.scope()
	if err != nil {
		return nil, target{}, err
	}
	c, err := p.connect()
	if err != nil {
		return nil, target{}, err
	}
	t, err := c.find(ctx, arg, namespace)
	return c, t, err
}

// finds resolves several arguments, in their order.
func (c *cluster) finds(ctx context.Context, args []string, namespace string) ([]target, error) {
	var out []target
	for _, arg := range args {
		t, err := c.find(ctx, arg, namespace)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// apps refuses targets that are sources.
func onlyApps(targets []target) error {
	for _, t := range targets {
		if t.kind.app == nil {
			return usage("%s is a source, and this command is about apps", t).hint("plumb get lists the apps")
		}
	}
	return nil
}
