package flux

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"

	"plumb.dev/plumb/internal/app"
)

// sourceLook is a look at a source, and what its status is to kstatus then.
type sourceLook struct {
	name    string
	report  app.SourceReport
	kstatus status.Status
}

func sourceAt(hours int, of app.Source, rev app.Revision, f *app.Failure) app.SourceReport {
	return app.SourceReport{Generation: 1, Of: of, Revision: rev, Failure: f, At: noon.Add(time.Duration(hours) * time.Hour)}
}

func fetchFailure(reason app.Reason, message string) *app.Failure {
	return app.Fail(app.StageFetch, reason, "%s", message)
}

// checkLooks compares what the status and the events of a source are, look after
// look, with a golden.
func checkLooks(t *testing.T, kind string, looks []sourceLook) {
	t.Helper()
	k := kindOf(t, kind)
	warnings := []app.Warning{{Field: "spec.frob", Message: "unknown field, ignored"}}
	file, archive := statusGolden(t, strings.ToLower(kind))
	old := never()
	for i, s := range looks {
		events := k.Events(s.report, warnings, old)
		next := k.Encode(s.report, warnings, old)
		checkGolden(t, file, archive, fmt.Sprintf("%d %s: status", i+1, s.name), dump(t, next))
		checkGolden(t, file, archive, fmt.Sprintf("%d %s: events", i+1, s.name), dumpEvents(events))
		checkStatusOf(t, s.name, 1, s.kstatus, next)
		if again := k.Encode(s.report, warnings, next); !reflect.DeepEqual(again, next) {
			t.Errorf("%s: the same report gives another status", s.name)
		}
		old = next
	}
}

func kindOf(t testing.TB, kind string) SourceKind {
	t.Helper()
	for _, k := range SourceKinds() {
		if k.Kind == kind {
			return k
		}
	}
	t.Fatalf("there is no kind %s", kind)
	return SourceKind{}
}
