package main

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// dialect is the custom resources that a controller is driven by.
type dialect struct {
	namespace string // of the custom resources
	apps      schema.GroupVersionResource
	sources   schema.GroupVersionResource // empty if apps name their repository
	source    func(name, url string) *unstructured.Unstructured
	app       func(name, source, url, path, namespace string) *unstructured.Unstructured
	// ready reports whether an app says that it delivered a commit, all of it.
	ready func(u *unstructured.Unstructured, commit string) bool
}

var dialects = map[string]dialect{
	"flux": {
		namespace: "fleet",
		apps:      schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"},
		sources:   schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"},
		source: func(name, url string) *unstructured.Unstructured {
			return manifest(`{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: %s, namespace: fleet},
spec: {url: "%s", interval: 10m, ref: {branch: main}}}`, name, url)
		},
		app: func(name, source, _, path, namespace string) *unstructured.Unstructured {
			return manifest(`{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: %s, namespace: fleet},
spec: {interval: 10m, prune: true, path: ./%s, targetNamespace: %s, sourceRef: {kind: GitRepository, name: %s}}}`, name, path, namespace, source)
		},
		ready: func(u *unstructured.Unstructured, commit string) bool {
			return strings.HasSuffix(text(u, "status", "lastAppliedRevision"), commit) && condition(u, "Ready") == "True"
		},
	},
	"argo": {
		namespace: "argocd",
		apps:      schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"},
		app: func(name, _, url, path, namespace string) *unstructured.Unstructured {
			return manifest(`{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: %s, namespace: argocd},
spec: {project: default, source: {repoURL: "%s", path: %s, targetRevision: main},
destination: {server: "https://kubernetes.default.svc", namespace: %s}, syncPolicy: {automated: {prune: true, selfHeal: true}}}}`, name, url, path, namespace)
		},
		ready: func(u *unstructured.Unstructured, commit string) bool {
			return text(u, "status", "sync", "status") == "Synced" && text(u, "status", "sync", "revision") == commit &&
				text(u, "status", "health", "status") == "Healthy" && text(u, "status", "operationState", "phase") == "Succeeded"
		},
	},
}

func manifest(format string, args ...any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(fmt.Appendf(nil, format, args...), &u.Object); err != nil {
		panic(err) // the manifests are ours
	}
	return u
}

func text(u *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(u.Object, path...)
	return s
}

// condition is the status of a condition that is about the present generation.
func condition(u *unstructured.Unstructured, kind string) string {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		c, _ := c.(map[string]any)
		if c["type"] != kind {
			continue
		}
		if seen, ok := c["observedGeneration"].(int64); ok && seen != u.GetGeneration() {
			return ""
		}
		status, _ := c["status"].(string)
		return status
	}
	return ""
}
