package release

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// TestUnrenderable: what is wrong with a chart is said with file and line, and
// nothing is stored of it.
func TestUnrenderable(t *testing.T) {
	w := newWorld(t)
	template := func(text string) *Chart {
		return load(t, edited(t, "web", map[string]string{"templates/broken.yaml": text}))
	}
	for name, tt := range map[string]struct {
		chart  *Chart
		values map[string]any
		reason app.Reason
		want   string
	}{
		"a template that does not parse": {template("a: b\n{{ end }}\n"), nil, app.ReasonBuild, "web/templates/broken.yaml:2"},
		"one that fails":                 {template("\n\n{{ required \"text is wanted\" .Values.absent }}\n"), nil, app.ReasonBuild, "web/templates/broken.yaml:3"},
		"fail":                           {w.chart, map[string]any{"fail": "not like this"}, app.ReasonBuild, "not like this"},
		"endless recursion":              {template(`{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}`), nil, app.ReasonBuild, "web/templates/broken.yaml:1"},
		"no YAML":                        {template("a: [\n"), nil, app.ReasonBuild, "templates/broken.yaml"},
		"no object":                      {template("a: b\n"), nil, app.ReasonInvalidObject, "kind not set"},
		"an unknown kind":                {template("apiVersion: example.com/v1\nkind: Nothing\nmetadata: {name: a}\n"), nil, app.ReasonKindUnknown, "Nothing"},
		"an unknown field":               {template("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndate: {}\n"), nil, app.ReasonInvalidObject, "date"},
		"another Kubernetes":             {load(t, edited(t, "web", map[string]string{"Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\nkubeVersion: '>= 99'\n"})), nil, app.ReasonBuild, "kubeVersion"},
		"values of the wrong type":       {w.chart, map[string]any{"text": map[string]any{}}, app.ReasonValues, "at .text: got object, want string"},
	} {
		t.Run(name, func(t *testing.T) {
			w.chart, w.inline, w.release.Memory = tt.chart, tt.values, app.ReleaseMemory{}
			w.decide()
			out, err := w.act(t.Context(), app.ReleaseInstall, "")
			if out.Result.Failure == nil {
				t.Fatal("it succeeded")
			}
			f := out.Result.Failure
			if f.Reason != tt.reason || len(f.Error()) > 4000 || !strings.Contains(f.Error(), tt.want) {
				t.Errorf("%v (%s), want %s (%s)", f, f.Reason, tt.want, tt.reason)
			}
			if name == "an unknown field" {
				w.act(t.Context(), app.ReleaseRemove, "") // found out by the API server
				return
			}
			if err == nil || len(w.records()) != 0 || out.Memory.InstallFailures != 0 {
				t.Errorf("%v, records %v, %+v", err, w.records(), out.Memory)
			}
		})
	}
}

// TestEndlessTemplate: a rendering that does not end is given up, and never
// writes anything.
func TestEndlessTemplate(t *testing.T) {
	w := newWorld(t)
	w.client.render = nil
	w.release.Timeout = time.Second
	w.chart = load(t, edited(t, "web", map[string]string{"templates/slow.yaml": "{{ range 40000 }}{{ range 1000 }}{{ end }}{{ end }}"}))
	out, err := w.act(t.Context(), app.ReleaseInstall, "")
	if err == nil || out.Result.Failure.Reason != app.ReasonBuild || !strings.Contains(err.Error(), "not rendered within the timeout") {
		t.Errorf("%v", err)
	}
	if got := w.records(); len(got) != 0 {
		t.Errorf("the records are %v", got)
	}
}

// TestSecretsStaySecret: whatever fails, values from Secrets are in no message,
// no log, and nothing that is remembered.
func TestSecretsStaySecret(t *testing.T) {
	const secret = "hunter2-hunter2"
	w := newWorld(t)
	var log bytes.Buffer
	client, err := Open(Options{Config: sandboxtest.RESTConfig(t, sandboxtest.Cluster(t)), Render: pool().Render,
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	w.client = client
	w.from = []Fetched{fetched("Secret", "password: "+secret+"\nnested: {list: ["+secret+"-too]}"), fetched("Secret", secret+"-set", at("set"))}
	for name, text := range map[string]string{
		"in an error":                  `{{ fail .Values.password }}`,
		"encoded in an error":          `{{ fail (.Values.password | b64enc) }}`,
		"of a list":                    `{{ fail (index .Values.nested.list 0) }}`,
		"of a target path":             `{{ fail .Values.set }}`,
		"of the wrong type":            `{{ .Values.password.x }}`,
		"in a template":                `{{ tpl (printf "{{ %s }}" .Values.password) . }}`,
		"in YAML that is none":         "a: [\n{{ .Values.password }}",
		"in a kind":                    "apiVersion: v1\nkind: {{ .Values.password }}\nmetadata: {name: a}",
		"in a Secret that is refused":  "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {a: {{ .Values.password }}}",
		"in an object that is refused": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 1, protocol: {{ .Values.password }}}]}",
		"in a field":                   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n{{ .Values.password }}: a",
	} {
		t.Run(name, func(t *testing.T) {
			w.chart, w.release.Memory = load(t, edited(t, "web", map[string]string{"templates/secret.yaml": text})), app.ReleaseMemory{}
			w.release.Install.Replace = true
			w.decide()
			out, _ := w.act(t.Context(), app.ReleaseInstall, "")
			f := out.Result.Failure
			if f == nil {
				t.Fatal("it succeeded")
			}
			for what, text := range map[string]string{"the error": f.Error() + f.Hint, "the log": strings.Join(out.Result.Log, "\n") + log.String()} {
				for _, s := range []string{secret, "aHVudGVyMi1odW50ZXIy"} {
					if strings.Contains(text, s) {
						t.Errorf("%s shows it: %s", what, text)
					}
				}
			}
			log.Reset()
		})
	}
}

// TestConfined: rendered in a process of its own, a chart can compute and grow as
// it likes: it costs this attempt, in bounded time and memory.
func TestConfined(t *testing.T) {
	w := newWorld(t)
	for name, tt := range map[string]struct {
		text   string
		reason app.Reason
		want   string
	}{
		"memory":       {`{{ $x := "x" }}{{ range 40 }}{{ $x = print $x $x }}{{ end }}`, app.ReasonBuild, ""},
		"a list":       {`{{ $x := until 2000000000 }}`, app.ReasonBuild, ""},
		"output":       {"{{ range 100000 }}{{ range 1000 }}xxxxxxxxxx{{ end }}{{ end }}", app.ReasonBuild, ""},
		"time":         {"{{ range 1000000000 }}{{ range 1000000000 }}{{ end }}{{ end }}", app.ReasonTimeout, "rendering"},
		"deep nesting": {`{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}`, app.ReasonBuild, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w.chart, w.release.Memory = load(t, edited(t, "web", map[string]string{"templates/hostile.yaml": tt.text})), app.ReleaseMemory{}
			out, err := w.act(t.Context(), app.ReleaseInstall, "")
			if err == nil || out.Result.Failure.Reason != tt.reason || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v (%+v)", err, out.Result.Failure)
			}
			if got := w.records(); len(got) != 0 {
				t.Errorf("the records are %v", got)
			}
		})
	}
}

// TestLookup: templates look up what the release's identity may see, from a
// process that reaches nothing by itself.
func TestLookup(t *testing.T) {
	w := newWorld(t)
	text := `apiVersion: v1
kind: ConfigMap
metadata: {name: found}
data:
  one: {{ (lookup "v1" "ConfigMap" .Release.Namespace "theirs").data.text }}
  none: {{ len (lookup "v1" "ConfigMap" .Release.Namespace "absent") | quote }}
  all: {{ range (lookup "v1" "ConfigMap" .Release.Namespace "").items }}{{ .metadata.name }},{{ end }}
  scoped: {{ (lookup "v1" "Namespace" "" .Release.Namespace).metadata.name }}
  version: {{ .Capabilities.KubeVersion.Version | quote }}
  has: {{ .Capabilities.APIVersions.Has "apps/v1/Deployment" | quote }}
  revision: "{{ .Release.Revision }} {{ .Release.IsUpgrade }} {{ .Release.Service }} {{ .Template.Name }} {{ .Values.big }} {{ .Values.set }}"
  file: {{ .Files.Get "notes.txt" }}
`
	w.chart = load(t, edited(t, "web", map[string]string{"templates/found.yaml": text, "notes.txt": "noted"}))
	w.inline = map[string]any{"big": int64(1000000)}
	w.from = []Fetched{fetched("Secret", "1000000", at("set"))}
	_, err := w.kube.CoreV1().ConfigMaps(w.namespace).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, Data: map[string]string{"text": "seen"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	confined := w.configMap("found")
	want := map[string]string{"one": "seen", "none": "0", "scoped": w.namespace, "file": "noted", "version": "v1.36.3", "has": "true",
		"revision": "1 false Helm web/templates/found.yaml 1e+06 1000000"}
	for k, v := range want {
		if confined[k] != v {
			t.Errorf("%s is %q, want %q", k, confined[k], v)
		}
	}
	if !strings.Contains(confined["all"], "theirs,") {
		t.Errorf("all is %q", confined["all"])
	}
	if got := w.helm("get", "all", "web"); !strings.Contains(got, "one: seen") || strings.Contains(got, "{{ rendered") {
		t.Errorf("Helm stored %s", got)
	}
	last, err := w.client.Look(t.Context(), w.release)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range last.Last.release.Chart.Templates {
		if strings.Contains(string(f.Data), "rendered \"") {
			t.Errorf("the stored chart has not its own %s", f.Name)
		}
	}
	if n := len(last.Last.release.Chart.Templates); n != 6 {
		t.Errorf("the stored chart has %d templates", n)
	}

	// Helm in this process renders the same.
	w.client.render = nil
	w.release.Force = "now"
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	got := w.configMap("found")
	for k, v := range confined {
		if k == "all" || k == "revision" {
			continue
		}
		if got[k] != v {
			t.Errorf("rendered by Helm, %s is %q, and was %q", k, got[k], v)
		}
	}
	if got["revision"] != "2 true Helm web/templates/found.yaml 1e+06 1000000" {
		t.Errorf("revision is %q", got["revision"])
	}
}
