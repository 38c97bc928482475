package sops

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"plumb.dev/plumb/internal/app"
)

// Files shows a tree with what is encrypted in it opened, for one rendering:
// manifests, and the files that the kustomizations which were read before name
// as sources of Secrets or as patches. Whatever else is encrypted stays so: a
// ConfigMap, for one, is no place for it.
type Files struct {
	fs.FS // for all but Open
	keys  *Keys
	spec  app.Decrypt

	mu      sync.Mutex
	sources map[string]Format
	failure *app.Failure
}

// Open shows tree through keys.
func (k *Keys) Open(tree fs.FS, spec app.Decrypt) *Files {
	return &Files{FS: tree, keys: k, spec: spec, sources: map[string]Format{}}
}

// Failure is why a file could not be opened, nil if all could: what reads the
// files may have made something else of it.
func (f *Files) Failure() *app.Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failure
}

// Open opens a file, or what is encrypted in it.
func (f *Files) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return file, err
	}
	defer file.Close()
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	plain, err := f.plain(name, data)
	if err != nil {
		failure := app.Fail(app.StageRender, app.ReasonBuild, "%s: cannot be decrypted: %w", name, err).
			WithHint("check spec.decryption, and that the file was encrypted for a key of its Secret")
		f.mu.Lock()
		if f.failure == nil {
			f.failure = failure
		}
		f.mu.Unlock()
		return nil, failure
	}
	return &opened{Reader: bytes.NewReader(plain), info: info, size: int64(len(plain))}, nil
}

func (f *Files) plain(name string, data []byte) ([]byte, error) {
	switch path.Base(name) {
	case "kustomization.yaml", "kustomization.yml", "Kustomization":
		f.note(path.Dir(name), data)
		return data, nil
	}
	if !maybeEncrypted(data) {
		return data, nil
	}
	f.mu.Lock()
	format, source := f.sources[name]
	f.mu.Unlock()
	if source {
		plain, _, err := f.keys.Decrypt(data, format)
		return plain, err
	}
	if len(data) > MaxSize {
		return data, nil
	}
	switch FormatOf(name) {
	case YAML:
		plain, _, err := f.keys.decryptYAML(data, f.skips, true)
		return plain, err
	case JSON:
		var doc yaml.Node
		if yaml.Unmarshal(data, &doc) != nil || f.skips(&doc) {
			return data, nil
		}
		plain, _, err := f.keys.Decrypt(data, JSON)
		return plain, err
	}
	return data, nil
}

// skips reports whether a document is no manifest, or asks to be left alone.
func (f *Files) skips(doc *yaml.Node) bool {
	return at(doc, "apiVersion") == "" || at(doc, "kind") == "" ||
		f.spec.SkipKey != "" && strings.EqualFold(at(doc, "metadata", "annotations", f.spec.SkipKey), "disabled")
}

// note remembers what a kustomization in dir names. A kustomization is always
// read before what it names.
func (f *Files) note(dir string, data []byte) {
	var k struct {
		SecretGenerator []struct {
			Files []string `yaml:"files"`
			Envs  []string `yaml:"envs"`
			Env   string   `yaml:"env"`
		} `yaml:"secretGenerator"`
		Patches []struct {
			Path string `yaml:"path"`
		} `yaml:"patches"`
	}
	if yaml.Unmarshal(data, &k) != nil {
		return // whoever builds it says what is wrong
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	add := func(ref string, format Format) {
		if ref != "" && !path.IsAbs(ref) {
			f.sources[path.Join(dir, ref)] = format
		}
	}
	for _, g := range k.SecretGenerator {
		for _, file := range g.Files {
			key, ref, named := strings.Cut(file, "=")
			if !named {
				ref = key
			}
			add(ref, FormatOf(key))
		}
		for _, env := range append(g.Envs, g.Env) {
			format := FormatOf(env)
			if format == Binary {
				format = Dotenv
			}
			add(env, format)
		}
	}
	for _, p := range k.Patches {
		add(p.Path, FormatOf(p.Path))
	}
}

var errNoLinks = errors.New("this tree has no links")

// ReadLink makes Files an fs.ReadLinkFS.
func (f *Files) ReadLink(name string) (string, error) {
	if links, ok := f.FS.(fs.ReadLinkFS); ok {
		return links.ReadLink(name)
	}
	return "", &fs.PathError{Op: "readlink", Path: name, Err: errNoLinks}
}

// Lstat makes Files an fs.ReadLinkFS.
func (f *Files) Lstat(name string) (fs.FileInfo, error) {
	if links, ok := f.FS.(fs.ReadLinkFS); ok {
		return links.Lstat(name)
	}
	return fs.Stat(f.FS, name)
}

// ReadDir makes Files an fs.ReadDirFS.
func (f *Files) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(f.FS, name) }

// Stat makes Files an fs.StatFS. The size of an encrypted file is that of the
// file as it is.
func (f *Files) Stat(name string) (fs.FileInfo, error) { return fs.Stat(f.FS, name) }

// opened is a file with the content that it was opened to.
type opened struct {
	*bytes.Reader
	info fs.FileInfo
	size int64
}

func (o *opened) Close() error               { return nil }
func (o *opened) Stat() (fs.FileInfo, error) { return sized{o.info, o.size}, nil }

type sized struct {
	fs.FileInfo
	size int64
}

func (s sized) Size() int64 { return s.size }
