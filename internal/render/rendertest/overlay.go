// Package rendertest holds trees that tests and benchmarks of rendering share.
// It must not know who renders them.
package rendertest

import (
	"fmt"
	"strings"
	"testing/fstest"
)

// Overlay is a base of five objects and an overlay with a patch, an image
// and a generator; rendered from the directory overlay it is six objects.
func Overlay() fstest.MapFS {
	tree := fstest.MapFS{}
	file := func(name, text string) { tree[name] = &fstest.MapFile{Data: []byte(text)} }
	var list strings.Builder
	for i, kind := range []string{"ServiceAccount", "Service", "Deployment", "ConfigMap", "Ingress"} {
		text := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: web, labels: {app: web}}\n", []string{"v1", "v1", "apps/v1", "v1", "networking.k8s.io/v1"}[i], kind)
		switch kind {
		case "Deployment":
			text += "spec:\n  replicas: 1\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers:\n      - {name: web, image: frontend:latest, envFrom: [{configMapRef: {name: settings}}]}\n"
		case "Service":
			text += "spec: {selector: {app: web}, ports: [{port: 80}]}\n"
		}
		name := strings.ToLower(kind) + ".yaml"
		file("base/"+name, text)
		fmt.Fprintf(&list, "- %s\n", name)
	}
	file("base/kustomization.yaml", "resources:\n"+list.String())
	file("overlay/kustomization.yaml", "resources: [../base]\npatches:\n- path: replicas.yaml\nimages:\n- {name: frontend, newTag: v1.2.3}\nconfigMapGenerator:\n- name: settings\n  literals: [A=1, B=2]\n")
	file("overlay/replicas.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 5}\n")
	return tree
}
