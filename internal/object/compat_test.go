package object

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestNormalize(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string // want is JSON
		warnings       []string
	}{
		{
			name: "status and nulls of metadata",
			in:   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, creationTimestamp: null, labels: {x: null, l: z}}\ndata: {k: null}\nstatus: {a: b}\n",
			want: `{"apiVersion":"v1","data":{"k":null},"kind":"ConfigMap","metadata":{"labels":{"l":"z"},"name":"a"}}`,
		},
		{
			name:     "stringData wins",
			in:       "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {x: b2xk, same: bmV3, z: eg==}\nstringData: {x: new, same: new}\n",
			want:     `{"apiVersion":"v1","data":{"same":"bmV3","x":"bmV3","z":"eg=="},"kind":"Secret","metadata":{"name":"a"}}`,
			warnings: []string{`m.yaml:1: Secret/a: key "x" is in data and in stringData, which wins`},
		},
		{
			name: "stringData alone",
			in:   "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {x: 'y', e: }\n",
			want: `{"apiVersion":"v1","data":{"e":"","x":"eQ=="},"kind":"Secret","metadata":{"name":"a"}}`,
		},
		{
			name: "stringData that is none",
			in:   "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {x: 1}\n",
			want: `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"},"stringData":{"x":1}}`,
		},
		{
			name:     "env: the last counts",
			in:       "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, namespace: ns}\nspec: {template: {spec: {containers: [{name: c, env: [{name: A, value: '1'}, {name: B, value: '2'}, {name: A, value: '3'}]}]}}}\n",
			want:     `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","namespace":"ns"},"spec":{"template":{"spec":{"containers":[{"env":[{"name":"B","value":"2"},{"name":"A","value":"3"}],"name":"c"}]}}}}`,
			warnings: []string{`m.yaml:1: Deployment/ns/a: .spec.template.spec.containers[name="c"].env[name="A"] occurs twice; the last one counts, remove the other`},
		},
		{
			name:     "env in an init container of a CronJob, thrice",
			in:       "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: a}\nspec: {jobTemplate: {spec: {template: {spec: {initContainers: [{env: [{name: A}, {name: A}, {name: A, value: x}]}]}}}}}\n",
			want:     `{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"a"},"spec":{"jobTemplate":{"spec":{"template":{"spec":{"initContainers":[{"env":[{"name":"A","value":"x"}]}]}}}}}}`,
			warnings: []string{`initContainers[0].env[name="A"]`, `initContainers[0].env[name="A"]`},
		},
		{
			name:     "container ports",
			in:       "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, ports: [{containerPort: 80, name: http}, {containerPort: 80, protocol: UDP}, {containerPort: 80, protocol: TCP}]}], imagePullSecrets: [{name: x}, {name: x}]}\n",
			want:     `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"c","ports":[{"containerPort":80,"name":"http","protocol":"TCP"},{"containerPort":80,"protocol":"UDP"}]}],"imagePullSecrets":[{"name":"x"}]}}`,
			warnings: []string{`.spec.containers[name="c"].ports[containerPort=80,protocol="TCP"] occurs twice`, `.spec.imagePullSecrets[name="x"] occurs twice`},
		},
		{
			name:     "Service ports: exact repetitions only",
			in:       "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80, name: a}, {port: 80, name: a}, {port: 80, name: b}]}\n",
			want:     `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"ports":[{"name":"a","port":80},{"name":"b","port":80}]}}`,
			warnings: []string{`.spec.ports[port=80,protocol="TCP"] occurs twice, remove one`},
		},
		{
			name: "strange shapes are left alone",
			in:   "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [1, {env: x}, {env: [1, 1, {name: null}, {name: null}]}], imagePullSecrets: {a: b}}\n",
			want: `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[1,{"env":"x"},{"env":[1,1,{"name":null},{"name":null}]}],"imagePullSecrets":{"a":"b"}}}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			objects, err := Decode("m.yaml", []byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			before := objects[0].Copy()
			got, warnings := Normalize(objects[0])
			if !reflect.DeepEqual(before.content, objects[0].content) {
				t.Error("the input was changed")
			}
			if text, _ := got.Payload(); string(text) != tc.want {
				t.Errorf("got  %s\nwant %s", text, tc.want)
			}
			if len(warnings) != len(tc.warnings) {
				t.Fatalf("warnings %q", warnings)
			}
			for i, w := range tc.warnings {
				if !strings.Contains(warnings[i], w) {
					t.Errorf("got  %s\nwant %s", warnings[i], w)
				}
			}
			if again, more := Normalize(got); again.Digest() != got.Digest() || len(more) > 0 {
				t.Errorf("not settled: %q", more)
			}
		})
	}
}

func TestNothingShowsSecrets(t *testing.T) {
	objects, err := Decode("m.yaml", []byte("apiVersion: v1\nkind: Secret\nmetadata: {name: a, annotations: {kubectl.kubernetes.io/last-applied-configuration: '{\"x\":\"hunter22\"}'}}\ndata: {a: aHVudGVyMjI=, b: hunter22}\nstringData: {a: hunter22, n: 1}\n"))
	if err != nil {
		t.Fatal(err)
	}
	o := objects[0]
	js, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	logged.WriteString(o.LogValue().String())
	_, warnings := Normalize(o)
	for _, text := range []string{string(js), o.String(), strings.Join(warnings, " "), logged.String(), sprint("%v", o), sprint("%+v", o), sprint("%#v", o), sprint("%s", o), sprint("%d", o), sprint("%v", []Object{o}), sprint("%+v", struct{ O *Object }{&o})} {
		for _, secret := range []string{"hunter22", "aHVudGVyMjI"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows the secret", text)
			}
		}
	}
	var shown struct {
		Data, StringData map[string]string
	}
	if err := json.Unmarshal(js, &shown); err != nil {
		t.Fatal(err)
	}
	if shown.Data["a"] != shown.StringData["a"] {
		t.Errorf("one value, two fingerprints: %q", shown)
	}
	// The true content is still there for applying.
	if payload, _ := o.Payload(); !strings.Contains(string(payload), "hunter22") {
		t.Error("Payload lost the content")
	}
}

func TestRedactError(t *testing.T) {
	secret := Ref{Kind: "Secret", Namespace: "ns", Name: "a"}
	in := "Secret \"a\" is invalid: data[x]: Invalid value: \"hun\\\"ter22\": bad; `hunter22`"
	if got := RedactError(secret, in); strings.Contains(got, "ter22") || !strings.Contains(got, `Secret "a" is invalid`) {
		t.Error(got)
	}
	for _, bare := range []string{
		".stringData: expected map, got &{[hunter22]}",
		".data.x: expected string, got &value.valueUnstructured{Value:hunter22}",
		"Secret \"a\" is invalid: data: Invalid value: map[string]string{x: hunter22}: bad",
		"error found in #10 byte of ...|hunter22|..., bigger context ...|hunter22|...",
	} {
		if got := RedactError(secret, bare); strings.Contains(got, "hunter22") || !strings.Contains(got, "<redacted>") {
			t.Error(got)
		}
	}
	if got := RedactError(Ref{Kind: "ConfigMap"}, in); got != in {
		t.Error(got)
	}
}

func sprint(format string, v any) string { return fmt.Sprintf(format, v) }

func TestRefOrder(t *testing.T) {
	a, b := Ref{Kind: "A", Name: "x"}, Ref{Group: "g", Kind: "A", Namespace: "n", Name: "x"}
	if a.Compare(b) >= 0 || b.Compare(a) <= 0 || a.Compare(a) != 0 || a.String() != "A/x" || b.String() != "A/n/x" {
		t.Error(a, b)
	}
}
