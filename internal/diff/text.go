package diff

import (
	"bufio"
	"fmt"
	"io"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Verb is what becomes of an object, as the sign that stands before it.
type Verb string

// The verbs.
const (
	Create Verb = "+"
	Modify Verb = "~"
	Delete Verb = "-"
)

// Change is one object that changes.
type Change struct {
	Verb   Verb
	Ref    object.Ref
	Origin object.Origin // zero if the object is not in the repository
	Reason string        // why, one phrase; may be empty
	Fields []app.FieldChange
}

const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

// Text writes changes for a person, an object a paragraph:
//
//	~ Deployment/demo/web  (deploy.yaml:1)
//	    .spec.replicas: 5 → 3
func Text(w io.Writer, changes []Change, color bool) error {
	out := bufio.NewWriter(w)
	paint := func(code, text string) string {
		if !color || text == "" {
			return text
		}
		return code + text + reset
	}
	for _, c := range changes {
		sign := map[Verb]string{Create: green, Delete: red}[c.Verb]
		if sign == "" {
			sign = yellow
		}
		fmt.Fprintf(out, "%s %s", paint(sign, string(c.Verb)), paint(bold, c.Ref.String()))
		if c.Origin.Path != "" {
			fmt.Fprintf(out, "  %s", paint(dim, "("+c.Origin.String()+")"))
		}
		if c.Reason != "" {
			fmt.Fprintf(out, "  %s", paint(dim, c.Reason))
		}
		fmt.Fprintln(out)
		for _, f := range c.Fields {
			switch {
			case f.FromAbsent:
				fmt.Fprintf(out, "    %s: %s\n", f.Path, paint(green, "+ "+f.To))
			case f.ToAbsent:
				fmt.Fprintf(out, "    %s: %s\n", f.Path, paint(red, "- "+f.From))
			default:
				fmt.Fprintf(out, "    %s: %s → %s\n", f.Path, paint(red, f.From), paint(green, f.To))
			}
		}
	}
	return out.Flush()
}
