package fluxcli

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	cliobject "github.com/fluxcd/cli-utils/pkg/object"
	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// tree is `flux tree kustomization`, with --compact.
func (c *client) tree(name string, compact bool) error {
	c.printf("Kustomization/%s/%s", c.namespace, name)
	return c.branch(name, compact, "")
}

func (c *client) branch(name string, compact bool, indent string) error {
	o, _, err := c.get(kustomization(), name)
	if err != nil {
		return fmt.Errorf("failed to find object: %w", err)
	}
	inventory := o.(*kustomizev1.Kustomization).Status.Inventory
	if inventory == nil {
		return nil
	}
	for _, entry := range inventory.Entries {
		id, err := cliobject.ParseObjMetadata(entry.ID)
		if err != nil {
			return err
		}
		if compact && !strings.Contains(id.GroupKind.Group, "toolkit.fluxcd.io") {
			continue
		}
		c.printf("%s├── %s", indent, path(id))
		if id.GroupKind.Kind == "HelmRelease" && id.GroupKind.Group == helmv2.GroupVersion.Group {
			objects, err := c.in(id.Namespace).released(id.Name)
			if err != nil {
				return err
			}
			for _, o := range objects {
				if !compact || strings.Contains(o.GroupKind.Group, "toolkit.fluxcd.io") {
					c.printf("%s│   ├── %s", indent, path(o))
				}
			}
		}
		if id.GroupKind.Kind == "Kustomization" && id.GroupKind.Group == kustomizev1.GroupVersion.Group {
			nested := c.in(id.Namespace)
			err := nested.branch(id.Name, compact, indent+"│   ")
			c.out.WriteString(nested.printed())
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func path(id cliobject.ObjMetadata) string {
	parts := []string{id.GroupKind.Kind, id.Namespace, id.Name}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "/")
}

// trace is `flux trace`: from an object, or its owner, to what delivers it.
func (c *client) trace(resource schema.GroupVersionResource, name string) error {
	u, err := c.dynamic.Resource(resource).Namespace(c.namespace).Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, by := range []struct {
		group  string
		report func(c *client, namespace, name string) error
	}{{kustomizev1.GroupVersion.Group, (*client).traceKustomization}, {helmv2.GroupVersion.Group, (*client).traceHelm}} {
		namespace, name, err := c.managedBy(u, by.group)
		if err != nil {
			continue
		}
		c.printf("Object: %s/%s", u.GetKind(), u.GetName())
		c.printf("Namespace: %s", u.GetNamespace())
		c.printf("Status: Managed by Flux\n---")
		return by.report(c, namespace, name)
	}
	return errors.New("object not managed by Flux")
}

func (c *client) traceKustomization(namespace, name string) error {
	o, _, err := c.in(namespace).get(kustomization(), name)
	if err != nil {
		return fmt.Errorf("failed to find kustomization: %w", err)
	}
	k := o.(*kustomizev1.Kustomization)
	c.printf("Kustomization: %s\nNamespace: %s\nPath: %s\nRevision: %s", k.Name, k.Namespace, k.Spec.Path, k.Status.LastAppliedRevision)
	c.readiness(k)
	return c.traceSource(k.Spec.SourceRef.Kind, namespace, k.Spec.SourceRef.Namespace, k.Spec.SourceRef.Name)
}

func (c *client) traceHelm(namespace, name string) error {
	o, _, err := c.in(namespace).get(helmRelease(), name)
	if err != nil {
		return fmt.Errorf("failed to find HelmRelease: %w", err)
	}
	hr := o.(*helmv2.HelmRelease)
	c.printf("HelmRelease: %s\nNamespace: %s\nRevision: %s", hr.Name, hr.Namespace, hr.Status.LastAttemptedRevision)
	c.readiness(hr)
	if in, chart, ok := strings.Cut(hr.Status.HelmChart, "/"); ok {
		if err := c.traceSource("HelmChart", namespace, in, chart); err != nil {
			return err
		}
	}
	if hr.Spec.Chart == nil {
		return nil
	}
	ref := hr.Spec.Chart.Spec.SourceRef
	return c.traceSource(ref.Kind, namespace, ref.Namespace, ref.Name)
}

// traceSource tells of a source in a namespace, or in that of who refers to it.
func (c *client) traceSource(kindName, referrer, namespace, name string) error {
	if namespace == "" {
		namespace = referrer
	}
	k := sourceKind(kindName)
	o, u, err := c.in(namespace).get(k, name)
	if err != nil {
		return fmt.Errorf("failed to find %s: %w", kindName, err)
	}
	c.printf("---\n%s: %s\nNamespace: %s", kindName, name, namespace)
	if chart, _, _ := unstructured.NestedString(u.Object, "spec", "chart"); chart != "" {
		c.printf("Chart: %s", chart)
	}
	if branch, _, _ := unstructured.NestedString(u.Object, "spec", "ref", "branch"); branch != "" {
		c.printf("Branch: %s", branch)
	}
	revision, _, _ := unstructured.NestedString(u.Object, "status", "artifact", "revision")
	c.printf("Revision: %s", revision)
	c.readiness(o)
	return nil
}

func (c *client) readiness(o object) {
	ready := apimeta.FindStatusCondition(o.GetConditions(), fluxmeta.ReadyCondition)
	switch {
	case ready == nil:
		c.printf("Status: Unknown")
	case ready.LastTransitionTime.IsZero():
		c.printf("Status: Last reconciled at no time")
	default:
		c.printf("Status: Last reconciled\nMessage: %s", ready.Message)
	}
}

// managedBy follows owners up to an object with the labels of a Kustomization or
// a HelmRelease.
func (c *client) managedBy(u *unstructured.Unstructured, group string) (namespace, name string, err error) {
	if name := u.GetLabels()[group+"/name"]; name != "" {
		return u.GetLabels()[group+"/namespace"], name, nil
	}
	for _, ref := range u.GetOwnerReferences() {
		gv, err := schema.ParseGroupVersion(ref.APIVersion)
		if err != nil {
			return "", "", err
		}
		resource, _ := apimeta.UnsafeGuessKindToResource(gv.WithKind(ref.Kind))
		owner, err := c.dynamic.Resource(resource).Namespace(u.GetNamespace()).Get(c.t.Context(), ref.Name, metav1.GetOptions{})
		if err != nil {
			return "", "", err
		}
		if namespace, name, err := c.managedBy(owner, group); err == nil {
			return namespace, name, nil
		}
	}
	return "", "", fmt.Errorf("object not managed by Flux")
}

// events is `flux events --for <kind>/<name>`: those of the object and of what it
// is made from, oldest first.
func (c *client) events(k kind, name string) ([]corev1.Event, error) {
	o, _, err := c.get(k, name)
	if err != nil {
		return nil, err
	}
	out, err := c.eventsOf(c.namespace, k.name, name)
	if err != nil {
		return nil, err
	}
	for at := c; k.sourceOf != nil; {
		from, namespace, source := k.sourceOf(o)
		if namespace != "" {
			at = at.in(namespace)
		}
		more, err := at.eventsOf(at.namespace, from.name, source)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
		if o, _, err = at.get(from, source); err != nil {
			return nil, err
		}
		k = from
	}
	slices.SortStableFunc(out, func(a, b corev1.Event) int { return seen(a).Compare(seen(b)) })
	for _, e := range out {
		c.printf("%s\t%s\t%s\t%s/%s\t%s", age(e), e.Type, e.Reason, e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Message)
	}
	return out, nil
}

func (c *client) eventsOf(namespace, kind, name string) ([]corev1.Event, error) {
	selector := fields.AndSelectors(fields.OneTermEqualSelector("involvedObject.kind", kind), fields.OneTermEqualSelector("involvedObject.name", name))
	list, err := c.core.CoreV1().Events(namespace).List(c.t.Context(), metav1.ListOptions{FieldSelector: selector.String(), Limit: 500})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// seen is when an event was last seen, from whichever field tells.
func seen(e corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}

func age(e corev1.Event) string {
	if seen(e).IsZero() {
		return "<unknown>"
	}
	return "some time"
}

// export is `flux export`: what the resource was made from, in the type of the
// command.
func (c *client) export(k kind, name string) (string, error) {
	o, u, err := c.get(k, name)
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(o)
	if err != nil {
		return "", err
	}
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		return "", err
	}
	meta := map[string]any{"name": o.GetName(), "namespace": o.GetNamespace()}
	if l := o.GetLabels(); len(l) > 0 {
		meta["labels"] = l
	}
	if a := o.GetAnnotations(); len(a) > 0 {
		meta["annotations"] = a
	}
	text, err := yaml.Marshal(map[string]any{"apiVersion": u.GetAPIVersion(), "kind": u.GetKind(), "metadata": meta, "spec": all["spec"]})
	return "---\n" + string(text), err
}

// debugVariables is `flux debug ks --show-vars`.
func (c *client) debugVariables(name string) error {
	o, _, err := c.get(kustomization(), name)
	if err != nil {
		return err
	}
	vars := map[string]string{}
	build := o.(*kustomizev1.Kustomization).Spec.PostBuild
	for _, ref := range build.SubstituteFrom {
		switch ref.Kind {
		case "ConfigMap":
			from, err := c.core.CoreV1().ConfigMaps(c.namespace).Get(c.t.Context(), ref.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for key, value := range from.Data {
				vars[key] = strings.ReplaceAll(value, "\n", "")
			}
		case "Secret":
			from, err := c.core.CoreV1().Secrets(c.namespace).Get(c.t.Context(), ref.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for key, value := range from.Data {
				vars[key] = strings.ReplaceAll(string(value), "\n", "")
			}
		}
	}
	for key, value := range build.Substitute {
		vars[key] = strings.ReplaceAll(value, "\n", "")
	}
	var lines []string
	for key, value := range vars {
		lines = append(lines, key+"="+value)
	}
	slices.Sort(lines)
	c.printf("%s", strings.Join(lines, "\n"))
	return nil
}

// debugStatus is `flux debug ks --show-status`.
func (c *client) debugStatus(name string) error {
	o, _, err := c.get(kustomization(), name)
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(o.(*kustomizev1.Kustomization).Status)
	c.printf("%s", text)
	return err
}

// debugRelease is `flux debug hr`: the values, of ConfigMaps and Secrets first, and
// the history.
func (c *client) debugRelease(name string) (values, history string, err error) {
	o, _, err := c.get(helmRelease(), name)
	if err != nil {
		return "", "", err
	}
	hr := o.(*helmv2.HelmRelease)
	merged := map[string]any{}
	for _, from := range hr.Spec.ValuesFrom {
		cm, err := c.core.CoreV1().ConfigMaps(c.namespace).Get(c.t.Context(), from.Name, metav1.GetOptions{})
		if err != nil {
			return "", "", err
		}
		if err := yaml.Unmarshal([]byte(cm.Data["values.yaml"]), &merged); err != nil {
			return "", "", err
		}
	}
	if hr.Spec.Values != nil {
		if err := json.Unmarshal(hr.Spec.Values.Raw, &merged); err != nil {
			return "", "", err
		}
	}
	v, err := yaml.Marshal(merged)
	if err != nil {
		return "", "", err
	}
	h, err := yaml.Marshal(hr.Status.History)
	return string(v), string(h), err
}

// logLine is what `flux logs` reads of a line.
type logLine struct {
	Timestamp string `json:"ts"`
	Level     string `json:"level"`
	Message   string `json:"msg"`
	Error     string `json:"error,omitempty"`
	Logger    string `json:"logger"`
	Kind      string `json:"controllerKind,omitempty"`
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// logs is `flux logs -A --kind … --name … --level …`. It ends at the first line
// that begins like JSON and is none.
func (c *client) logs(log string, wanted logLine) error {
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var l logLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			return fmt.Errorf("parse error: %w in %s", err, line)
		}
		if wanted.Kind != "" && !strings.EqualFold(wanted.Kind, l.Kind) || wanted.Name != "" && !strings.EqualFold(wanted.Name, l.Name) || wanted.Level != "" && wanted.Level != l.Level {
			continue
		}
		at, err := time.Parse(time.RFC3339, l.Timestamp)
		if err != nil || at.IsZero() {
			return fmt.Errorf("%q is no time", l.Timestamp)
		}
		subject := l.Kind
		if l.Name != "" {
			subject += "/" + l.Name + "." + l.Namespace
		}
		c.printf("%s %s - %s %s", l.Level, subject, l.Message, l.Error)
	}
	return nil
}
