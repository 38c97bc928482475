package controller

import (
	"reflect"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
)

func TestCondense(t *testing.T) {
	long := strings.Repeat("x", maxMessage-10)
	note := func(k string) map[string]string { return map[string]string{k: k} }
	for name, c := range map[string]struct{ events, want []app.Event }{
		"none": {},
		"one of a delivery": {
			[]app.Event{{Reason: "Progressing", Message: "made", Annotations: note("a"), Leads: true}, {Reason: "Succeeded", Message: "done", Annotations: note("b")}},
			[]app.Event{{Reason: "Progressing", Message: "made\ndone", Annotations: map[string]string{"a": "a", "b": "b"}, Leads: true}},
		},
		"the first that leads gives the reason": {
			[]app.Event{{Reason: "Started", Message: "a"}, {Reason: "Completed", Message: "b", Leads: true}, {Reason: "Corrected", Message: "c", Leads: true}},
			[]app.Event{{Reason: "Completed", Message: "a\nb\nc", Leads: true}},
		},
		"warnings stand alone": {
			[]app.Event{{Warning: true, Reason: "W", Message: "w"}, {Reason: "N", Message: "a"}, {Warning: true, Reason: "W", Message: "v"}, {Reason: "M", Message: "b"}},
			[]app.Event{{Warning: true, Reason: "W", Message: "w"}, {Reason: "N", Message: "a\nb"}, {Warning: true, Reason: "W", Message: "v"}},
		},
		"nothing is cut off": {
			[]app.Event{{Reason: "N", Message: long}, {Reason: "M", Message: "0123456789"}, {Reason: "O", Message: "c"}},
			[]app.Event{{Reason: "N", Message: long}, {Reason: "M", Message: "0123456789\nc"}},
		},
	} {
		if got := condense(c.events); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}
