package main

import (
	"fmt"
	"strings"
)

// namespaceOf is where an app is delivered to.
func namespaceOf(i int) string { return fmt.Sprintf("fleet-%04d", i) }

// pathOf is where its files are: so many apps beside each other, 0 for all. A
// directory is one object of Git, which a commit below it writes anew, pushes
// and fetches.
func (o options) pathOf(i int) string {
	if o.beside == 0 {
		return fmt.Sprintf("apps/%04d", i)
	}
	return fmt.Sprintf("apps/team-%02d/%04d", i/o.beside, i)
}

// sorts are the objects of an app, in turn. Nothing of it runs, so that the
// figures are the controller's and not those of workloads. The Services have no
// address: a cluster may have fewer of these than there are apps, and seeks the
// longer the fewer are left.
var sorts = []struct{ name, manifest string }{
	{"configmap", `apiVersion: v1
kind: ConfigMap
metadata: {name: NAME, labels: {bench: fleet}}
data: {colour: blue, value: "0"}
`},
	{"account", `apiVersion: v1
kind: ServiceAccount
metadata: {name: NAME}
automountServiceAccountToken: false
`},
	{"service", `apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  clusterIP: None
  selector: {app: NAME}
  ports: [{name: http, port: 80}]
`},
	{"role", `apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: NAME}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
`},
	{"deployment", `apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: 0
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers:
      - name: app
        image: nginx:1.27
        ports: [{name: http, containerPort: 80}]
        resources: {requests: {cpu: 10m, memory: 16Mi}}
`},
}

// objectFiles are the manifests of an app of so many objects, by file name.
func objectFiles(objects int) map[string]string {
	files := map[string]string{}
	for k := range objects {
		sort := sorts[k%len(sorts)]
		name := fmt.Sprintf("app-%d", k/len(sorts))
		files[fmt.Sprintf("%s-%d.yaml", sort.name, k/len(sorts))] = strings.ReplaceAll(sort.manifest, "NAME", name)
	}
	return files
}

// The object that is changed by commits and by drift is the first ConfigMap.
const (
	changedFile = "configmap-0.yaml"
	changedName = "app-0"
)

// changed is the manifest with another value.
func changed(value string) string {
	return strings.ReplaceAll(strings.ReplaceAll(sorts[0].manifest, "NAME", changedName), `"0"`, `"`+value+`"`)
}

// appFiles are the files of app i: an overlay, unless it is to be plain.
func (o options) appFiles(i int) map[string]string {
	path := o.pathOf(i)
	files := map[string]string{}
	overlay := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
	contents := objectFiles(o.objects)
	for _, name := range sortedNames(contents) {
		files[path+"/"+name] = contents[name]
		overlay += "- " + name + "\n"
	}
	if !o.plain {
		files[path+"/kustomization.yaml"] = overlay + fmt.Sprintf("labels:\n- pairs: {part-of: fleet-%04d}\n", i)
	}
	return files
}
