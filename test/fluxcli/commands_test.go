package fluxcli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// getOptions are flags of `flux get`.
type getOptions struct {
	all      bool   // -A
	name     string // one object
	selector string // --status-selector, "ready=false"
	kinds    bool   // names with their kind, as in `flux get all`
}

// table is `flux get <kind>`: a line for each object, columns separated by tabs.
func (c *client) table(k kind, opts getOptions) error {
	namespace, options := c.namespace, metav1.ListOptions{}
	if opts.all {
		namespace = ""
	}
	if opts.name != "" {
		options.FieldSelector = "metadata.name=" + opts.name
	}
	objects, err := c.list(k, namespace, options)
	if err != nil {
		return err
	}
	if len(objects) == 0 {
		switch {
		case opts.name != "":
			c.printf("✗ %s object '%s' not found in %q namespace", k.name, opts.name, namespace)
		case !opts.kinds:
			c.printf("✗ no %s objects found in %q namespace", k.name, namespace)
		}
		return nil
	}
	var header []string
	if opts.all {
		header = append(header, "NAMESPACE")
	}
	header = append(append(append(header, "NAME"), k.columns...), "SUSPENDED", "READY", "MESSAGE")
	c.printf("%s", strings.Join(header, "\t"))
	for _, o := range objects {
		if selected(o, opts.selector) {
			c.printf("%s", k.row(o, opts))
		}
	}
	return nil
}

// watch is `flux get <kind> <name> --watch`, until a row is as wanted.
func (c *client) watch(k kind, name, wanted string) error {
	w, err := c.dynamic.Resource(k.resource).Namespace(c.namespace).Watch(c.t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return err
	}
	defer w.Stop()
	limit := time.After(c.timeout)
	for {
		select {
		case e, open := <-w.ResultChan():
			u, ok := e.Object.(*unstructured.Unstructured)
			if !open || !ok {
				return fmt.Errorf("the watch ended: %v", e.Object)
			}
			o, err := k.decode(u)
			if err != nil {
				return err
			}
			row := k.row(o, getOptions{})
			c.printf("%s", row)
			if row == wanted {
				return nil
			}
		case <-limit:
			return errors.New("no such row")
		}
	}
}

// row is an object's line in a table.
func (k kind) row(o object, opts getOptions) string {
	var row []string
	if opts.all {
		row = append(row, o.GetNamespace())
	}
	name := o.GetName()
	if opts.kinds {
		name = strings.ToLower(k.name) + "/" + name
	}
	ready, message := "False", "waiting to be reconciled"
	if cond := apimeta.FindStatusCondition(o.GetConditions(), fluxmeta.ReadyCondition); cond != nil {
		ready, message = string(cond.Status), cond.Message
	}
	if k.static != nil {
		if text, static := k.static(o); static {
			ready, message = "True", text
		}
	}
	row = append(append(append(row, name), k.cells(o)...), title(k.suspended(o)), ready, short(message))
	return strings.Join(row, "\t")
}

// selected matches type=status and type!=status, whatever the case.
func selected(o object, selector string) bool {
	if selector == "" {
		return true
	}
	kind, value, _ := strings.Cut(selector, "=")
	kind, not := strings.CutSuffix(kind, "!")
	for _, cond := range o.GetConditions() {
		if strings.EqualFold(cond.Type, kind) {
			return strings.EqualFold(string(cond.Status), value) != not
		}
	}
	return false
}

// all is `flux get all -A`. A kind that is not served is passed over.
func (c *client) all() error {
	for _, k := range kinds() {
		if err := c.table(k, getOptions{all: true, kinds: true}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	for _, r := range absent() {
		_, err := c.dynamic.Resource(r).List(c.t.Context(), metav1.ListOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			c.printf("✗ %v", err)
		}
	}
	return nil
}

// reconcileOptions are flags of `flux reconcile`; force and reset are those of
// HelmReleases.
type reconcileOptions struct{ withSource, force, reset bool }

// reconcile is `flux reconcile <kind> <name>`.
func (c *client) reconcile(k kind, name string, opts reconcileOptions) error {
	o, _, err := c.get(k, name)
	if err != nil {
		return err
	}
	if k.suspended(o) {
		return errors.New("resource is suspended")
	}
	if k.static != nil {
		if _, static := k.static(o); static {
			c.printf("✔ reconciliation not supported by the object")
			return nil
		}
	}
	if opts.withSource || opts.force {
		from, namespace, source := k.sourceOf(o)
		if namespace == "" {
			namespace = c.namespace
		}
		first := c.in(namespace)
		err := first.reconcile(from, source, reconcileOptions{withSource: from.sourceOf != nil})
		c.out.WriteString(first.printed())
		if err != nil {
			return err
		}
	}
	c.printf("► annotating %s %s in %s namespace", k.name, name, c.namespace)
	before := k.handled(o)
	token := time.Now().Format(time.RFC3339Nano)
	notes := map[string]string{"reconcile.fluxcd.io/requestedAt": token}
	if opts.force {
		notes["reconcile.fluxcd.io/forceAt"] = token
	}
	if opts.reset {
		notes["reconcile.fluxcd.io/resetAt"] = token
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": notes}})
	if err != nil {
		return err
	}
	if err := c.patch(k, name, string(patch)); err != nil {
		return err
	}
	c.printf("✔ %s annotated", k.name)
	c.printf("◎ waiting for %s reconciliation", k.name)
	o, err = c.poll(k, name, func(o object, result *status.Result) (bool, error) {
		if k.handled(o) == before {
			return false, nil
		}
		switch result.Status {
		case status.CurrentStatus:
			return true, nil
		case status.InProgressStatus:
			return false, nil
		}
		return false, errors.New(result.Message)
	})
	if err != nil {
		return err
	}
	ready := apimeta.FindStatusCondition(o.GetConditions(), fluxmeta.ReadyCondition)
	if ready == nil {
		return errors.New("status can't be determined")
	}
	if ready.Status != metav1.ConditionTrue {
		return fmt.Errorf("%s reconciliation failed: '%s'", k.name, ready.Message)
	}
	c.printf("✔ %s", k.success(o))
	return nil
}

// suspend is `flux suspend <kind> <name>...`.
func (c *client) suspend(k kind, names ...string) error {
	for _, name := range names {
		if _, _, err := c.get(k, name); err != nil {
			return err
		}
		c.printf("► suspending %s %s in %s namespace", k.human, name, c.namespace)
		if err := c.patch(k, name, `{"spec":{"suspend":true}}`); err != nil {
			return err
		}
		c.printf("✔ %s suspended", k.human)
	}
	return nil
}

// resume is `flux resume <kind> <name>... --wait`.
func (c *client) resume(k kind, names ...string) error {
	for _, name := range names {
		if _, _, err := c.get(k, name); err != nil {
			return err
		}
		c.printf("► resuming %s %s in %s namespace", k.human, name, c.namespace)
		// The field is left out of the type that is sent when it is false.
		if err := c.patch(k, name, `{"spec":{"suspend":null}}`); err != nil {
			return err
		}
		c.printf("✔ %s resumed", k.human)
	}
	for _, name := range names {
		c.printf("◎ waiting for %s reconciliation", k.name)
		o, err := c.poll(k, name, objectReady(k))
		if err != nil {
			return err
		}
		c.printf("✔ %s %s reconciliation completed", k.name, name)
		c.printf("✔ %s", k.success(o))
	}
	return nil
}

// remove is `flux delete <kind> <name> --silent`.
func (c *client) remove(k kind, name string) error {
	if _, _, err := c.get(k, name); err != nil {
		return err
	}
	c.printf("► deleting %s %s in %s namespace", k.human, name, c.namespace)
	if err := c.dynamic.Resource(k.resource).Namespace(c.namespace).Delete(c.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	c.printf("✔ %s deleted", k.human)
	return nil
}

// stats is `flux stats -A`: what runs, fails and is suspended of each kind.
// A kind that cannot be listed counts nothing.
func (c *client) stats() {
	c.printf("RECONCILERS\tRUNNING\tFAILING\tSUSPENDED\tSTORAGE")
	for _, k := range kinds() {
		objects, err := c.list(k, "", metav1.ListOptions{})
		if err != nil {
			objects = nil
		}
		var failing, suspended int
		var bytes int64
		for _, o := range objects {
			if k.suspended(o) {
				suspended++
			}
			if apimeta.IsStatusConditionFalse(o.GetConditions(), fluxmeta.ReadyCondition) {
				failing++
			}
			if k.stored != nil {
				bytes += k.stored(o)
			}
		}
		c.printf("%s\t%d\t%d\t%d\t%s", k.name, len(objects)-suspended, failing, suspended, size(bytes))
	}
	for _, r := range absent() {
		if list, err := c.dynamic.Resource(r).List(c.t.Context(), metav1.ListOptions{}); err == nil {
			c.printf("%s\t%d served, and not in the table of kinds", r.Resource, len(list.Items))
		}
	}
}

func size(bytes int64) string {
	if bytes == 0 {
		return "-"
	}
	value, unit := float64(bytes), 0
	for ; value >= 1024; unit++ {
		value /= 1024
	}
	return fmt.Sprintf("%.1f %s", value, []string{"B", "KiB", "MiB", "GiB"}[unit])
}
