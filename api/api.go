// Package api holds the definitions of the custom resources that Plumb serves,
// as they are installed into a cluster. It must not know what they mean; the
// dialects do.
package api

import (
	"bytes"
	"embed"
	"io/fs"
)

//go:embed crd/*.yaml
var files embed.FS

// CRDs gives all CustomResourceDefinitions as one YAML stream, in the order
// of their files' names.
func CRDs() []byte {
	var out bytes.Buffer
	// The files are part of the program: reading them cannot fail.
	names, _ := fs.Glob(files, "crd/*.yaml")
	for _, name := range names {
		data, _ := files.ReadFile(name)
		out.WriteString("---\n")
		out.Write(bytes.TrimRight(data, "\n"))
		out.WriteByte('\n')
	}
	return out.Bytes()
}
