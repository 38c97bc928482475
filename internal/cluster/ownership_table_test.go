package cluster

import (
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/ownership"
)

// TestOwnershipTable: which doings of others show in the ownership digest.
// Each row applies an object, lets someone do something, and looks whether the
// digest that the watch brought is still the one the apply was answered with.
func TestOwnershipTable(t *testing.T) {
	p := newPlace(t)
	p.kubectl(widgets, "apply", "-f", "-")
	if err := p.AwaitKinds(t.Context(), widgetKinds); err != nil {
		t.Fatal(err)
	}
	cm := configMap("NAME", `a: "1"`, `b: "2"`)
	service := `{apiVersion: v1, kind: Service, metadata: {name: NAME, namespace: NS}, spec: {selector: {app: x}, ports: [{port: 80, targetPort: 8080}]}}`
	policy := `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: NAME, namespace: NS}, spec: {podSelector: {}, policyTypes: [Ingress]}}`
	role := `{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: NAME, namespace: NS}, rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]}`
	secret := `{apiVersion: v1, kind: Secret, metadata: {name: NAME, namespace: NS}, stringData: {password: hunter2}}`
	widget := `{apiVersion: plumb.test/v1, kind: Widget, metadata: {name: NAME, namespace: NS}, spec: {size: 1, list: [a]}}`
	set := strings.ReplaceAll(deployment("NAME", "img:1"), "kind: Deployment", "kind: StatefulSet")
	deploy := deployment("NAME", "img:1")

	type act func(p place, ref object.Ref)
	run := func(args ...string) act {
		return func(p place, ref object.Ref) {
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "NAME", ref.Name)
			}
			p.kubectl("", args...)
		}
	}
	patch := func(kind, patch string, more ...string) act {
		return run(append([]string{"patch", kind, "NAME", "--type=merge", "-p", patch}, more...)...)
	}
	jsonPatch := func(kind, patch string) act {
		return run("patch", kind, "NAME", "--type=json", "-p", patch)
	}
	pipe := func(manifest string, args ...string) act {
		return func(p place, ref object.Ref) {
			p.kubectl(strings.ReplaceAll(manifest, "NAME", ref.Name), append(args, "-f", "-")...)
		}
	}
	both := func(acts ...act) act {
		return func(p place, ref object.Ref) {
			for _, a := range acts {
				a(p, ref)
			}
		}
	}
	other := strings.Replace(cm, `a: "1"`, `a: "9"`, 1)

	for _, row := range []struct {
		name, manifest, kind string
		act                  act
		drift                bool
	}{
		{"configmap value patched", cm, "ConfigMap", patch("configmap", `{"data":{"a":"9"}}`), true},
		{"configmap key removed", cm, "ConfigMap", jsonPatch("configmap", `[{"op":"remove","path":"/data/a"}]`), true},
		{"configmap replaced", cm, "ConfigMap", pipe(other, "replace"), true},
		{"configmap applied by client", cm, "ConfigMap", pipe(other, "apply"), true},
		{"configmap applied by force", cm, "ConfigMap", pipe(other, "apply", "--server-side", "--force-conflicts"), true},
		{"configmap same manager", cm, "ConfigMap", writeAsUs(cm), true},
		{"configmap changed and back", cm, "ConfigMap", both(patch("configmap", `{"data":{"a":"9"}}`), patch("configmap", `{"data":{"a":"1"}}`)), true},
		{"configmap managedfields wiped", cm, "ConfigMap", patch("configmap", `{"metadata":{"managedFields":[{}]}}`), true},
		{"configmap key added", cm, "ConfigMap", patch("configmap", `{"data":{"c":"3"}}`), false},
		{"configmap same value", cm, "ConfigMap", both(patch("configmap", `{"data":{"a":"1"}}`), pipe(cm, "apply")), false},
		{"configmap finalizer added", cm, "ConfigMap", both(patch("configmap", `{"metadata":{"finalizers":["plumb.test/x"]}}`)), false},
		{"deployment scaled", deploy, "Deployment", run("scale", "deployment", "NAME", "--replicas=0"), true},
		{"deployment image", deploy, "Deployment", run("set", "image", "deployment/NAME", "web=img:2"), true},
		{"deployment label", deploy, "Deployment", run("label", "deployment", "NAME", "app=other", "--overwrite"), true},
		{"deployment resources", deploy, "Deployment", run("set", "resources", "deployment/NAME", "--requests=cpu=2"), true},
		{"deployment restarted", deploy, "Deployment", run("rollout", "restart", "deployment", "NAME"), false},
		{"deployment side container", deploy, "Deployment", jsonPatch("deployment", `[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"side","image":"side:1"}}]`), false},
		{"deployment status", deploy, "Deployment", patch("deployment", `{"status":{"observedGeneration":1,"replicas":1}}`, "--subresource=status"), false},
		{"deployment quantity respelled", deploy, "Deployment", jsonPatch("deployment", `[{"op":"replace","path":"/spec/template/spec/containers/0/resources/requests/cpu","value":"1"}]`), false},
		{"statefulset scaled", set, "StatefulSet", run("scale", "statefulset", "NAME", "--replicas=0"), true},
		{"service port", service, "Service", patch("service", `{"spec":{"ports":[{"port":81,"targetPort":8080}]}}`), true},
		{"service selector key added", service, "Service", patch("service", `{"spec":{"selector":{"tier":"x"}}}`), true},
		{"networkpolicy empty selector", policy, "NetworkPolicy", patch("networkpolicy", `{"spec":{"podSelector":{"matchLabels":{"a":"b"}}}}`), true},
		{"role rule appended", role, "Role", jsonPatch("role", `[{"op":"add","path":"/rules/-","value":{"apiGroups":[""],"resources":["secrets"],"verbs":["get"]}}]`), true},
		{"custom resource scalar", widget, "Widget", patch("widget", `{"spec":{"size":2}}`), true},
		{"custom resource list appended", widget, "Widget", patch("widget", `{"spec":{"list":["a","b"]}}`), true},
		{"custom resource field added", widget, "Widget", patch("widget", `{"spec":{"color":"red"}}`), false},
		{"custom resource status", widget, "Widget", patch("widget", `{"status":{"ready":true}}`, "--subresource=status"), false},
		{"secret value through data", secret, "Secret", patch("secret", `{"data":{"password":"b3RoZXI="}}`), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := p
			p.TB = t
			name := strings.ReplaceAll(row.name, " ", "-")
			ref := p.ref(row.kind, name)
			if row.kind == "Widget" {
				ref.Group = "plumb.test"
			}
			p.follow(ref)
			written := p.apply(strings.ReplaceAll(row.manifest, "NAME", name))
			if written.Owned == "" || !written.Created {
				t.Fatalf("written %+v", written)
			}
			if live := p.current(ref); live.Owned != written.Owned {
				t.Fatalf("before anyone did anything: digest %s, want %s", live.Owned, written.Owned)
			}
			row.act(p, ref)
			live := p.current(ref)
			if (live.Owned != written.Owned) != row.drift {
				t.Errorf("drift seen: %v, want %v (version %s → %s)", live.Owned != written.Owned, row.drift, written.ResourceVersion, live.ResourceVersion)
			}
			p.kubectl("", "patch", strings.ToLower(row.kind), name, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
		})
	}
}

// writeAsUs writes another value under the same field manager. The API server
// stamps whole seconds, so it is done until the second is another one.
func writeAsUs(manifest string) func(p place, ref object.Ref) {
	return func(p place, ref object.Ref) {
		first := p.current(ref)
		value := 10
		p.eventually("the entry's time has moved", func() bool {
			value++
			changed := strings.NewReplacer("NAME", ref.Name, `a: "1"`, `a: "`+time.Duration(value).String()+`"`).Replace(manifest)
			p.kubectl(changed, "apply", "--server-side", "--force-conflicts", "--field-manager="+manager, "-f", "-")
			meta, _, err := p.Self().GetMeta(p.Context(), ref)
			return err == nil && ownership.Digest(meta.ManagedFields, manager) != first.Owned
		})
	}
}
