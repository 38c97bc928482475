// Package examples carries the repository that `plumb up` shows Plumb with.
// It is an ordinary repository: it must hold nothing that is not written for
// its readers.
package examples

import (
	"bytes"
	"embed"
	"io/fs"
)

//go:embed sample
var files embed.FS

// placeholder stands for the address of the repository in its own files.
const placeholder = "https://git.example.com/sample.git"

// Sample is the sample repository, as it reads at the address.
func Sample(address string) (fs.FS, error) {
	sample, err := fs.Sub(files, "sample")
	if err != nil {
		return nil, err
	}
	return addressed{sample, []byte(address)}, nil
}

// addressed replaces the placeholder in what is read.
type addressed struct {
	fs.FS
	address []byte
}

// ReadFile is what fs.ReadFile calls.
func (a addressed) ReadFile(name string) ([]byte, error) {
	data, err := fs.ReadFile(a.FS, name)
	return bytes.ReplaceAll(data, []byte(placeholder), a.address), err
}
