package cli

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/duration"

	"plumb.dev/plumb/internal/app"
)

// tone is what a cell's content means for its reader; on a terminal it is a
// color.
type tone string

// The tones, as terminals know them.
const (
	plain tone = ""
	good  tone = "\x1b[32m"
	busy  tone = "\x1b[33m"
	bad   tone = "\x1b[31m"
	faint tone = "\x1b[2m"
	reset      = "\x1b[0m"
)

// cell is one field of a table.
type cell struct {
	text string
	tone tone
}

func text(s string) cell { return cell{text: orDash(oneLine(s))} }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// oneLine is the first line of a text, and a sign if there are more.
func oneLine(s string) string {
	line, rest, more := strings.Cut(strings.TrimSpace(s), "\n")
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' ' // what a terminal would act on
		}
		return r
	}, line)
	if more && strings.TrimSpace(rest) != "" {
		line += " …"
	}
	return line
}

// commitID is a full commit id, and how revisions introduce it.
var commitID = regexp.MustCompile(`\b(?:sha1:)?([0-9a-f]{7})[0-9a-f]{33}\b`)

// messageCell is a message for a table, with short commit ids.
func messageCell(s string) cell { return text(commitID.ReplaceAllString(s, "$1")) }

// table prints rows under headings, as kubectl does: columns three spaces
// apart and as wide as their content, nothing cut off. Rows that come later,
// from a watch, keep the widths.
type table struct {
	out    io.Writer
	color  bool
	heads  []string
	widths []int
	headed bool
}

const columnGap = "   "

func newTable(out io.Writer, color bool, heads ...string) *table {
	t := &table{out: out, color: color, heads: heads, widths: make([]int, len(heads))}
	for i, h := range heads {
		t.widths[i] = utf8.RuneCountInString(h)
	}
	return t
}

// print writes rows, before the first of all the headings.
func (t *table) print(rows ...[]cell) {
	for _, row := range rows {
		for i, c := range row {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(c.text))
		}
	}
	if len(rows) > 0 && !t.headed {
		t.headed = true
		head := make([]cell, len(t.heads))
		for i, h := range t.heads {
			head[i] = cell{text: h}
		}
		t.line(head)
	}
	for _, row := range rows {
		t.line(row)
	}
}

func (t *table) line(row []cell) {
	var b strings.Builder
	for i, c := range row {
		if t.color && c.tone != plain {
			b.WriteString(string(c.tone) + c.text + reset)
		} else {
			b.WriteString(c.text)
		}
		if i < len(row)-1 {
			b.WriteString(strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(c.text)) + columnGap)
		}
	}
	fmt.Fprintln(t.out, strings.TrimRight(b.String(), " "))
}

func syncCell(s app.SyncStatus) cell {
	c := cell{text: orDash(string(s))}
	switch s {
	case app.Synced:
		c.tone = good
	case app.OutOfSync:
		c.tone = busy
	}
	return c
}

func healthCell(s app.HealthStatus) cell {
	c := cell{text: orDash(string(s))}
	switch s {
	case app.Healthy:
		c.tone = good
	case app.Progressing, app.Suspended:
		c.tone = busy
	case app.Degraded, app.Missing, app.HealthLost:
		c.tone = bad
	}
	return c
}

// readyCell is a state as Kubernetes writes conditions.
func readyCell(s app.State) cell {
	switch s {
	case app.StateReady:
		return cell{"True", good}
	case app.StateRunning:
		return cell{"Unknown", busy}
	case app.StateDiffers:
		return cell{"False", busy}
	}
	return cell{"False", bad}
}

// ageText is a time span as kubectl writes it; "-" if since is zero.
func ageText(now, since time.Time) string {
	if since.IsZero() {
		return "-"
	}
	return duration.HumanDuration(now.Sub(since))
}

// revisionText is short: main@4508cd1.
func revisionText(r app.Revision) string {
	if r.IsZero() {
		return "-"
	}
	commit := r.Commit[:min(len(r.Commit), 7)]
	ref := strings.TrimPrefix(strings.TrimPrefix(r.Ref, "refs/heads/"), "refs/tags/")
	if ref == "" {
		return commit
	}
	return ref + "@" + commit
}
