package cli

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"plumb.dev/plumb/internal/app"
)

// getColumns are the columns of the tables of `get`.
type getColumns struct {
	namespaces, wide bool
	now              func() time.Time
}

func (c getColumns) appHeads() []string {
	heads := []string{"NAME", "KIND", "READY", "SYNC", "HEALTH", "REVISION", headAge}
	if c.wide {
		heads = append(heads, "SUSPENDED", "SOURCE", "PATH", "LAST SYNC", "DRIFT")
	}
	return c.heads(append(heads, "MESSAGE"))
}

func (c getColumns) app(v app.View) []cell {
	row := []cell{
		text(v.ID.Name), text(v.ID.Kind), readyOrSuspended(v.State, v.Suspended), syncCell(v.Sync), healthCell(v.Health.Status),
		text(revisionText(v.Applied)), text(ageText(c.now(), v.Created)),
	}
	if c.wide {
		source := v.SourceURL
		if v.Source.Kind != "" {
			source = v.Source.String()
		}
		row = append(row, yesNo(v.Suspended), text(source), text(v.Path),
			text(ageText(c.now(), v.LastSync)), text(strconv.Itoa(len(v.Drift))))
	}
	return c.row(v.ID.Namespace, append(row, messageCell(v.Message)))
}

func (c getColumns) sourceHeads() []string {
	heads := []string{"NAME", "KIND", "READY", "REVISION", headAge}
	if c.wide {
		heads = append(heads, "SUSPENDED", "URL", "REF", "FETCHED")
	}
	return c.heads(append(heads, "MESSAGE"))
}

func (c getColumns) source(v app.SourceView) []cell {
	row := []cell{
		text(v.ID.Name), text(v.ID.Kind), readyOrSuspended(v.State, v.Suspended),
		text(revisionText(v.Revision)), text(ageText(c.now(), v.Created)),
	}
	if c.wide {
		row = append(row, yesNo(v.Suspended), text(v.URL), text(v.Ref), text(ageText(c.now(), v.Fetched)))
	}
	return c.row(v.ID.Namespace, append(row, messageCell(v.Message)))
}

const headAge = "AGE"

func (c getColumns) heads(heads []string) []string {
	if c.namespaces {
		return append([]string{"NAMESPACE"}, heads...)
	}
	return heads
}

func (c getColumns) row(namespace string, row []cell) []cell {
	if c.namespaces {
		return append([]cell{text(namespace)}, row...)
	}
	return row
}

// visible is what a row says, without the columns that change by themselves.
func visible(heads []string, row []cell) string {
	var parts []string
	for i, cell := range row {
		if !slices.Contains([]string{headAge, "LAST SYNC", "FETCHED"}, heads[i]) {
			parts = append(parts, cell.text)
		}
	}
	return strings.Join(parts, "\x00")
}

func readyOrSuspended(s app.State, suspended bool) cell {
	if suspended {
		return cell{"Suspended", busy}
	}
	return readyCell(s)
}

func yesNo(b bool) cell {
	if b {
		return text("True")
	}
	return text("False")
}
