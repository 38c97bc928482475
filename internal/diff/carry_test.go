package diff

import (
	"encoding/json"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

func TestCarry(t *testing.T) {
	desired := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"containers":[{"name":"a","image":"x"},{"name":"b"}]}}`
	live := `{"spec":{"replicas":5,"paused":true,"containers":[{"name":"a","image":"y"}],"strategy":{"type":"Recreate","rolling":{"surge":1}}},"status":{"ready":1}}`
	for _, test := range []struct {
		name, pointer, want string // of spec
	}{
		{"a field that is left out", "/spec/replicas", `{"containers":[{"image":"x","name":"a"},{"name":"b"}],"replicas":5}`},
		{"below what is left out", "/spec/strategy/rolling/surge", `{"containers":[{"image":"x","name":"a"},{"name":"b"}],"strategy":{"rolling":{"surge":1}}}`},
		{"an item's field", "/spec/containers/0/image", `{"containers":[{"image":"y","name":"a"},{"name":"b"}]}`},
		{"an item that is not there", "/spec/containers/1/image", `{"containers":[{"image":"x","name":"a"},{"name":"b"}]}`},
		{"no index", "/spec/containers/a/image", `{"containers":[{"image":"x","name":"a"},{"name":"b"}]}`},
		{"nothing live", "/spec/nothing/at/all", `{"containers":[{"image":"x","name":"a"},{"name":"b"}]}`},
		{"no pointer", "spec/replicas", `{"containers":[{"image":"x","name":"a"},{"name":"b"}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var from, content map[string]any
			for text, into := range map[string]*map[string]any{live: &from, desired: &content} {
				if err := json.Unmarshal([]byte(text), into); err != nil {
					t.Fatal(err)
				}
			}
			from = numbers(from)
			obj := object.New(content, object.Origin{})
			got := Carry(obj, from, []app.IgnoreRule{{Target: &app.Selector{Kind: "Deployment"}, Pointers: []string{test.pointer}}})
			spec, err := json.Marshal(got.Unstructured().Object["spec"])
			if err != nil || string(spec) != test.want {
				t.Errorf("got  %s (%v)\nwant %s", spec, err, test.want)
			}
			other := Carry(obj, from, []app.IgnoreRule{{Target: &app.Selector{Kind: "Service"}, Pointers: []string{test.pointer}}})
			if spec, _ := json.Marshal(other.Unstructured().Object["spec"]); string(spec) != `{"containers":[{"image":"x","name":"a"},{"name":"b"}]}` {
				t.Errorf("a rule for others gives %s", spec)
			}
		})
	}
}

// numbers makes whole numbers what the API server's are.
func numbers(m map[string]any) map[string]any {
	for k, v := range m {
		switch v := v.(type) {
		case float64:
			m[k] = int64(v)
		case map[string]any:
			numbers(v)
		}
	}
	return m
}
