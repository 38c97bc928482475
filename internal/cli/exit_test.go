package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

func TestExplain(t *testing.T) {
	gr := schema.GroupResource{Resource: "things"}
	for _, c := range []struct {
		err     error
		code    int
		message string
		hint    bool
	}{
		{nil, ExitOK, "", false},
		{&Error{Code: ExitNo}, ExitNo, "", false},
		{usage("odd").hint("do it"), ExitUsage, "odd", true},
		{fmt.Errorf("outer: %w", notFound("gone")), ExitNotFound, "outer: gone", false},
		{fmt.Errorf("while: %w", context.Canceled), ExitInterrupted, "interrupted", false},
		{context.DeadlineExceeded, ExitTimeout, "context deadline exceeded", true},
		{apierrors.NewNotFound(gr, "x"), ExitNotFound, `things "x" not found`, false},
		{apierrors.NewForbidden(gr, "x", errors.New("no")), ExitUnreachable, `things "x" is forbidden: no`, true},
		{apierrors.NewUnauthorized("who?"), ExitUnreachable, "who?", true},
		{apierrors.NewTooManyRequests("later", 1), ExitUnreachable, "later", true},
		{app.Fail(app.StageRender, app.ReasonBuild, "a.yaml:3: bad"), ExitContent, "a.yaml:3: bad", false},
		{app.Fail(app.StageFetch, app.ReasonRefNotFound, "no v9"), ExitNotFound, "no v9", false},
		{app.Fail(app.StageFetch, app.ReasonAuthentication, "who?").WithHint("log in"), ExitUnreachable, "who?", true},
		{app.Fail(app.StageHealth, app.ReasonUnhealthy, "sick"), ExitNo, "sick", false},
		{app.Fail(app.StageHealth, app.ReasonTimeout, "slow"), ExitTimeout, "slow", false},
		{app.Fail(app.StageApply, app.ReasonInternal, "oops"), ExitOther, "oops", false},
		{&object.DecodeError{Origin: object.Origin{Path: "a.yaml", Line: 3}, Message: "bad"}, ExitContent, "a.yaml:3: bad", false},
		{app.Fail(app.StageFetch, app.ReasonUnreachable, "refused"), ExitUnreachable, "refused", true},
		{&fs.PathError{Op: "open", Path: "a", Err: syscall.EACCES}, ExitOther, "open a: permission denied", true},
		{&fs.PathError{Op: "open", Path: "a", Err: syscall.EIO}, ExitOther, "open a: input/output error", false},
		{errors.New("what?"), ExitOther, "what?", false},
	} {
		got := explain(c.err)
		if got.code != c.code || got.message != c.message || (got.hint != "") != c.hint {
			t.Errorf("%v: got %+v, want code %d, %q, hint %t", c.err, got, c.code, c.message, c.hint)
		}
	}
}

// TestExitCodesAreDocumented reads the table of the page.
func TestExitCodesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/commands/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[int]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllSubmatch(page, -1) {
		code, _ := strconv.Atoi(string(m[1]))
		documented[code] = true
	}
	codes := []int{ExitOK, ExitNo, ExitUsage, ExitUnreachable, ExitNotFound, ExitTimeout, ExitContent, ExitOther, ExitInterrupted}
	for _, code := range codes {
		if !documented[code] {
			t.Errorf("exit code %d is not documented", code)
		}
	}
	if len(documented) != len(codes) {
		t.Errorf("the page has %d codes, there are %d", len(documented), len(codes))
	}
}
