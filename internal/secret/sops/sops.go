// Package sops reads what the sops command encrypted with age or PGP keys:
// YAML, JSON, dotenv and INI files, files of any content, and single objects. It
// verifies the integrity of every file. It has its own reader of the format,
// which is small, because the packages of sops itself bring the clients of five
// clouds with them.
//
// It opens nothing but what it is handed: no network, no process, no key that
// is not in the Keys. It must not know where those are kept. No error tells
// anything of what is encrypted.
package sops

import (
	"bytes"
	"fmt"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Format is how a file is written.
type Format int

// The formats. Binary is JSON around content of any sort.
const (
	Binary Format = iota
	YAML
	JSON
	Dotenv
	INI
)

// FormatOf tells the format by the name of a file.
func FormatOf(name string) Format {
	switch strings.ToLower(path.Ext(name)) {
	case ".yaml", ".yml":
		return YAML
	case ".json":
		return JSON
	case ".env":
		return Dotenv
	case ".ini":
		return INI
	}
	return Binary
}

// MaxSize bounds an encrypted file, in bytes.
const MaxSize = 5 << 20

// maybeEncrypted is a quick look at whether data can be a file of sops.
func maybeEncrypted(data []byte) bool {
	return bytes.Contains(data, []byte("ENC[AES256_GCM,")) && bytes.Contains(data, []byte("sops"))
}

// Decrypt opens a file. Data that sops did not encrypt in this format is
// returned as it is, with false.
func (k *Keys) Decrypt(data []byte, format Format) (_ []byte, encrypted bool, err error) {
	if !maybeEncrypted(data) {
		return data, false, nil
	}
	if len(data) > MaxSize {
		return nil, true, fmt.Errorf("an encrypted file may have %d bytes, this has %d", MaxSize, len(data))
	}
	switch format {
	case YAML:
		return k.decryptYAML(data, nil, false)
	case JSON, Binary:
		return k.decryptJSON(data, format)
	case Dotenv:
		return k.decryptDotenv(data)
	}
	return k.decryptINI(data)
}

// open decrypts documents, which share their metadata, in place, and verifies
// that they are what was encrypted.
func (k *Keys) open(docs []*yaml.Node, meta *metadata) error {
	w, err := k.walker(meta)
	if err != nil {
		return err
	}
	for _, doc := range docs {
		if err := w.document(doc); err != nil {
			return err
		}
	}
	return w.verify(meta)
}

// walker begins to decrypt what has this metadata.
func (k *Keys) walker(meta *metadata) (*walker, error) {
	if err := meta.check(); err != nil {
		return nil, err
	}
	key, err := k.dataKey(meta)
	if err != nil {
		return nil, err
	}
	return newWalker(meta, key)
}
