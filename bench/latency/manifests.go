package main

import "fmt"

func value(n int) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: value\ndata:\n  value: \"%d\"\n", n)
}

const web = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: nginx:1.27}
`

// fiveObjects is an app of the usual sort; nothing of it runs, so that the
// figures are the engine's and not the workload controllers'.
func fiveObjects(i int) map[string]string {
	return map[string]string{
		"configmap": fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app-%04d}\ndata: {colour: blue, size: \"%d\"}\n", i, i),
		"account":   fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: app-%04d}\n", i),
		"service":   fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: app-%04d}\nspec: {selector: {app: app-%04d}, ports: [{port: 80}]}\n", i, i),
		"role":      fmt.Sprintf("apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: app-%04d}\nrules: [{apiGroups: [\"\"], resources: [pods], verbs: [get]}]\n", i),
		"deployment": fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: app-%04d}
spec:
  replicas: 0
  selector: {matchLabels: {app: app-%04d}}
  template:
    metadata: {labels: {app: app-%04d}}
    spec: {containers: [{name: app, image: "nginx:1.27"}]}
`, i, i, i),
	}
}
