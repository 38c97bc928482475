package release

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

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
		"endless recursion":              {template(`{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}`), nil, app.ReasonBuild, "nested reference name: a"},
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
	client, err := Open(Options{Config: sandboxtest.RESTConfig(t, sandboxtest.Cluster(t)),
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
