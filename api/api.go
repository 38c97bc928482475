// Package api holds the definitions of the custom resources that Plumb serves,
// as they are installed into a cluster. It must not know what they mean; the
// dialects do.
package api

import (
	"bytes"
	"embed"
	"io/fs"
	"regexp"
	"strings"
)

// What tells Plumb's definitions from those of others with the same names: a
// label and its value.
const (
	OwnLabel = "app.kubernetes.io/managed-by"
	OwnValue = "plumb"
)

// FluxVersion is the release of Flux whose API the definitions follow. The flux
// command reads it from their labels and shows it as the distribution that is
// installed; it compares it with nothing.
const FluxVersion = "v2.9.0"

//go:embed crd/*.yaml
var files embed.FS

// managedBy ends the labels of every definition.
const managedBy = "    app.kubernetes.io/managed-by: plumb\n"

// CRDs gives all CustomResourceDefinitions as one YAML stream, in the order
// of their files' names. Those of Flux get the labels by which the flux command
// finds what belongs to an installation.
func CRDs() []byte {
	var out bytes.Buffer
	// The files are part of the program: reading them cannot fail.
	names, _ := fs.Glob(files, "crd/*.yaml")
	for _, name := range names {
		data, _ := files.ReadFile(name)
		if strings.HasPrefix(name, "crd/flux-") {
			data = bytes.Replace(data, []byte(managedBy), []byte(managedBy+
				"    app.kubernetes.io/part-of: flux\n"+
				"    app.kubernetes.io/version: "+FluxVersion+"\n"), 1)
		}
		out.WriteString("---\n")
		out.Write(bytes.TrimRight(data, "\n"))
		out.WriteByte('\n')
	}
	return out.Bytes()
}

var name = regexp.MustCompile(`(?m)^metadata:\n  name: (\S+)$`)

// Names lists the definitions by their names, without decoding them: every
// start of Plumb asks.
func Names() []string {
	var out []string
	for _, match := range name.FindAllSubmatch(CRDs(), -1) {
		out = append(out, string(match[1]))
	}
	return out
}
