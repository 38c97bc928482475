package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/dynamic"

	"plumb.dev/plumb/internal/render"
)

// maxLookups is of one rendering: of requests, and of bytes that they bring.
const (
	maxLookups     = 500
	maxLookupBytes = 32 << 20
)

// lookups is the tree that a chart is rendered from: the chart itself, and what
// its templates look up, as whoever the release is delivered as.
type lookups struct {
	s     *session
	chart []byte

	mu    sync.Mutex
	found map[string][]byte
	bytes int
}

func (s *session) tree(chart []byte) fs.FS {
	return &lookups{s: s, chart: chart, found: map[string][]byte{}}
}

// Open opens the chart, a lookup, or one of the directories on the way to it.
func (l *lookups) Open(name string) (fs.File, error) {
	fail := func(err error) (fs.File, error) { return nil, &fs.PathError{Op: "open", Path: name, Err: err} }
	parts := strings.Split(name, "/")
	switch {
	case name == render.ChartPath:
		return newFile(name, l.chart), nil
	case name == ".", parts[0] == "lookup" && len(parts) < 5:
		return directory{name}, nil
	case parts[0] != "lookup" || len(parts) != 5:
		return fail(fs.ErrNotExist)
	}
	for i, part := range parts[1:] {
		text, err := url.QueryUnescape(strings.TrimPrefix(part, "="))
		if err != nil {
			return fail(fs.ErrInvalid)
		}
		parts[i+1] = text
	}
	data, err := l.look(name, parts[1], parts[2], parts[3], parts[4])
	if err != nil {
		return fail(err)
	}
	return newFile(name, data), nil
}

func (l *lookups) look(at, apiVersion, kind, namespace, name string) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if data, ok := l.found[at]; ok {
		return data, nil
	}
	if len(l.found) == maxLookups {
		return nil, fmt.Errorf("the chart looks up more than %d objects or lists", maxLookups)
	}
	found, err := l.s.lookup(schema.FromAPIVersionAndKind(apiVersion, kind), namespace, name)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(found)
	if err != nil {
		return nil, err
	}
	if l.bytes += len(data); l.bytes > maxLookupBytes {
		return nil, fmt.Errorf("the chart looks up more than %d bytes", maxLookupBytes)
	}
	l.found[at] = data
	return data, nil
}

// lookup is Helm's function of that name: an object, or a list where name is "";
// nothing if there is no such object.
func (s *session) lookup(gvk schema.GroupVersionKind, namespace, name string) (map[string]any, error) {
	mapping, err := s.conn.catalog.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, fmt.Errorf("lookup of %s: %w", gvk, err)
	}
	client, err := dynamic.NewForConfig(s.conn.config)
	if err != nil {
		return nil, err
	}
	var resources dynamic.ResourceInterface = client.Resource(mapping.Resource)
	if namespace != "" && mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		resources = client.Resource(mapping.Resource).Namespace(namespace)
	}
	ctx := context.WithoutCancel(s.ctx) // the connection ends with the session
	if name == "" {
		list, err := resources.List(ctx, metav1.ListOptions{})
		if err != nil {
			return nothing(err)
		}
		return list.UnstructuredContent(), nil
	}
	one, err := resources.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nothing(err)
	}
	return one.UnstructuredContent(), nil
}

func nothing(err error) (map[string]any, error) {
	if apierrors.IsNotFound(err) {
		return map[string]any{}, nil
	}
	return nil, err
}

// content is a file in memory.
type content struct {
	*bytes.Reader
	entry entry
}

func newFile(name string, data []byte) content {
	return content{bytes.NewReader(data), entry{name: path.Base(name), size: int64(len(data))}}
}

func (c content) Stat() (fs.FileInfo, error) { return c.entry, nil }
func (c content) Close() error               { return nil }

// directory is one whose entries nobody asks for.
type directory struct{ name string }

func (d directory) Stat() (fs.FileInfo, error) {
	return entry{name: path.Base(d.name), mode: fs.ModeDir}, nil
}
func (d directory) Read([]byte) (int, error) { return 0, errors.New("is a directory") }
func (d directory) Close() error             { return nil }

func (d directory) ReadDir(int) ([]fs.DirEntry, error) { return nil, io.EOF }

type entry struct {
	name string
	size int64
	mode fs.FileMode
}

func (e entry) Name() string       { return e.name }
func (e entry) Size() int64        { return e.size }
func (e entry) Mode() fs.FileMode  { return e.mode }
func (e entry) ModTime() time.Time { return time.Time{} }
func (e entry) IsDir() bool        { return e.mode.IsDir() }
func (e entry) Sys() any           { return nil }
