package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
)

func TestLog(t *testing.T) {
	ks := app.ID{Kind: "Kustomization", Namespace: "team", Name: "shop"}
	for name, c := range map[string]struct {
		attrs []any
		want  map[string]any
	}{
		"app":           {[]any{"app", ks}, map[string]any{"controllerKind": "Kustomization", "namespace": "team", "name": "shop"}},
		"source":        {[]any{"source", app.SourceID{Kind: "GitRepository", Namespace: "a", Name: "b"}}, map[string]any{"controllerKind": "GitRepository", "namespace": "a", "name": "b"}},
		"inline source": {[]any{"source", app.SourceID{Name: "https://h/r main"}}, map[string]any{"source": "https://h/r main"}},
		"error":         {[]any{"error", errors.New("lost")}, map[string]any{"error": "lost"}},
		"of a library":  {[]any{"name", 3, "namespace", struct{ A string }{"x"}}, map[string]any{"name": "3", "namespace": "{x}"}},
		"other":         {[]any{"writes", 3, "fields", []string{"a"}}, map[string]any{"writes": 3., "fields": []any{"a"}}},
	} {
		var out bytes.Buffer
		log, err := logger(&out, "json", "info")
		if err != nil {
			t.Fatal(err)
		}
		log.With(c.attrs...).Warn("happened")
		line := map[string]any{}
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if ts, _ := line["ts"].(string); len(ts) != len("2006-01-02T15:04:05.000Z") || line["level"] != "warn" || line["msg"] != "happened" {
			t.Errorf("%s: %s", name, out.String())
		}
		delete(line, "ts")
		delete(line, "level")
		delete(line, "msg")
		if !reflect.DeepEqual(line, c.want) {
			t.Errorf("%s: %v, want %v", name, line, c.want)
		}
	}
	var out bytes.Buffer
	log, err := logger(&out, "text", "info")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("happened", "app", ks)
	if !strings.Contains(out.String(), "app=Kustomization/team/shop") {
		t.Errorf("text: %s", out.String())
	}
}
