package report_test

import (
	"fmt"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/report"
)

// An app that goes elsewhere tells of what it left, as far as it knows.
func TestLeftBehind(t *testing.T) {
	var records []app.Record
	for i := range 7 {
		records = append(records, app.Record{Ref: object.Ref{Kind: "ConfigMap", Namespace: "ns", Name: fmt.Sprint("c", i)}})
	}
	spec := app.Spec{Target: app.Target{Cluster: "here"}, Left: []app.Left{
		{Records: records[:1]}, {Cluster: "there", Records: records, More: 20}, {Cluster: "here", More: 3}}}
	got := report.Compose(report.Input{Spec: spec}).Warnings
	if len(got) != len(spec.Left) {
		t.Fatalf("got %v", got)
	}
	for i, want := range [][]string{
		{"1 objects are still in the cluster that Plumb serves", "c0"},
		{"27 objects are still in cluster there", "c4 and 22 more"},
		{"of 3 objects that were left here the names are not known", "delete them by hand"},
	} {
		for _, part := range want {
			if !strings.Contains(got[i].Message, part) {
				t.Errorf("%q lacks %q", got[i].Message, part)
			}
		}
	}
}
