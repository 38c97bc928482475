package health

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
)

// A rule judges one object that exists and is not being deleted.
type rule func(u *unstructured.Unstructured) app.Health

// ruleFor is the table of the rules by kind, which are those of Argo CD. An
// Application has none on purpose: a parent does not wait for its children.
func ruleFor(gk schema.GroupKind) (rule, bool) {
	if strings.HasSuffix(gk.Group, ".toolkit.fluxcd.io") {
		return fluxRule(gk)
	}
	var r rule
	switch gk.Group + "/" + gk.Kind {
	case "apps/Deployment", "extensions/Deployment":
		r = deployment
	case "apps/StatefulSet":
		r = statefulSet
	case "apps/DaemonSet", "extensions/DaemonSet":
		r = daemonSet
	case "apps/ReplicaSet", "extensions/ReplicaSet":
		r = replicaSet
	case "/Pod":
		r = pod
	case "batch/Job":
		r = job
	case "batch/CronJob":
		r = cronJob
	case "autoscaling/HorizontalPodAutoscaler":
		r = autoscaler
	case "policy/PodDisruptionBudget":
		r = disruptionBudget
	case "/Service":
		r = service
	case "networking.k8s.io/Ingress", "extensions/Ingress":
		r = ingress
	case "/PersistentVolumeClaim":
		r = volumeClaim
	case "apiregistration.k8s.io/APIService":
		r = apiService
	case "apiextensions.k8s.io/CustomResourceDefinition":
		r = resourceDefinition
	case "argoproj.io/Workflow":
		r = workflow
	case "argoproj.io/Rollout":
		r = rollout
	case "argoproj.io/AnalysisRun":
		r = analysisRun
	case "argoproj.io/ApplicationSet":
		r = applicationSet
	case "bitnami.com/SealedSecret":
		r = byCondition("Synced")
	case "external-secrets.io/ExternalSecret", "external-secrets.io/SecretStore", "external-secrets.io/ClusterSecretStore":
		r = byCondition("Ready")
	case "cert-manager.io/Certificate":
		r = certificate
	}
	return r, r != nil
}

// condition is one entry of status.conditions; the zero value is none.
type condition struct {
	kind, status, reason, message string
}

func (c condition) found() bool { return c.kind != "" }

// ground is what a condition says, for a message.
func (c condition) ground() string {
	if c.message != "" {
		return c.message
	}
	return c.reason
}

func conditions(u *unstructured.Unstructured) []condition {
	list, _, _ := unstructured.NestedFieldNoCopy(u.Object, "status", "conditions")
	items, _ := list.([]any)
	out := make([]condition, 0, len(items))
	for _, item := range items {
		m, ok := item.(map[string]any)
		if !ok {
			continue
		}
		text := func(key string) string { s, _ := m[key].(string); return s }
		out = append(out, condition{text("type"), text("status"), text("reason"), text("message")})
	}
	return out
}

func conditionOf(u *unstructured.Unstructured, kind string) condition {
	for _, c := range conditions(u) {
		if c.kind == kind {
			return c
		}
	}
	return condition{}
}

// byCondition judges by one condition: True is healthy, False degraded, and
// anything else still on its way.
func byCondition(kind string) rule {
	return func(u *unstructured.Unstructured) app.Health {
		switch c := conditionOf(u, kind); c.status {
		case "True":
			return healthy(c.message)
		case "False":
			return degraded(c.ground())
		default:
			return progressing("waiting for the condition " + kind)
		}
	}
}

// number reads an integer, whichever way it was decoded; def if absent.
func number(u *unstructured.Unstructured, def int64, path ...string) int64 {
	v, ok, err := unstructured.NestedFieldNoCopy(u.Object, path...)
	if !ok || err != nil {
		return def
	}
	switch n := v.(type) {
	case int64:
		return n
	case int:
		return int64(n)
	case float64:
		return int64(n)
	}
	return def
}

func text(u *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(u.Object, path...)
	return s
}

func flag(u *unstructured.Unstructured, path ...string) bool {
	b, _, _ := unstructured.NestedBool(u.Object, path...)
	return b
}

// unobserved reports whether the controller of u has yet to see its spec.
func unobserved(u *unstructured.Unstructured) bool {
	return number(u, 0, "metadata", "generation") > number(u, 0, "status", "observedGeneration")
}
