package helmrepo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/objects"
	"plumb.dev/plumb/internal/source/remote"
)

const (
	// listDir has a file for each chart: a line of JSON for each version.
	listDir = "charts"
	// maxList bounds one of those, in bytes.
	maxList = 16 << 20
	// maxVersions bounds the versions of one chart that are chosen from.
	maxVersions = 50_000
)

// Index is the index of a repository as a source: its revision is the digest of
// index.yaml, its files are lists of versions, for List.
type Index struct {
	*Repository
	seen *seen
}

// Index makes no request. All that are given the same name share what is known
// of the last answer.
func (r *Repository) Index(name string) *Index { return &Index{r, r.client.last(name)} }

// seen is the last index that came from a repository.
type seen struct {
	mu             sync.Mutex
	etag, modified string
	digest         string   // hexadecimal; "" if nothing came
	file           *os.File // its content, until it is taken in; deleted from its directory
}

func (s *seen) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
	s.etag, s.modified, s.digest = "", "", ""
}

// drop lets go of the content. The caller holds s.mu.
func (s *seen) drop() {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}

// Find downloads the index, unless the server says that it is the one that is
// known.
func (x *Index) Find(ctx context.Context) (app.Revision, error) {
	x.seen.mu.Lock()
	defer x.seen.mu.Unlock()
	if err := x.fetch(ctx, true); err != nil {
		return app.Revision{}, err
	}
	return app.Revision{Commit: x.seen.digest}, nil
}

// fetch makes seen tell of the index as it is now. The caller holds its lock.
func (x *Index) fetch(ctx context.Context, conditional bool) error {
	s := x.seen
	target, err := url.Parse("index.yaml")
	if err != nil {
		return err
	}
	target = x.base.ResolveReference(target)
	target.RawQuery = x.base.RawQuery
	head := http.Header{}
	if conditional && s.digest != "" {
		if s.etag != "" {
			head.Set("If-None-Match", s.etag)
		}
		if s.modified != "" {
			head.Set("If-Modified-Since", s.modified)
		}
	}
	res, err := x.get(ctx, target, head)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotModified {
		return nil
	}
	file, err := scratch(x.client.scratch)
	if err != nil {
		return app.Fail(app.StageFetch, app.ReasonInternal, "%s: cache: %w", x, err).
			WithHint("Check that the cache directory can be written and has space.")
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(file, sum), io.LimitReader(res.Body, MaxIndex+1))
	if err == nil && n > MaxIndex {
		err = app.Fail(app.StageFetch, app.ReasonCorrupt, "%s: index.yaml is larger than %d MiB", x, MaxIndex>>20).
			WithHint("Remove old versions from the repository.")
	}
	if err != nil {
		file.Close()
		return remote.ConnectionFailure(ctx, x, err)
	}
	s.drop()
	s.file, s.digest = file, hex.EncodeToString(sum.Sum(nil))
	s.etag, s.modified = res.Header.Get("Etag"), modified(res.Header)
	return nil
}

// modified is the time of the last change, to be given back to the server; ""
// if the next change might come within the same second (RFC 9110, 8.8.2.2).
func modified(head http.Header) string {
	last := head.Get("Last-Modified")
	changed, err := http.ParseTime(last)
	if err != nil {
		return ""
	}
	now, err := http.ParseTime(head.Get("Date"))
	if err != nil || now.Sub(changed) < 2*time.Second {
		return ""
	}
	return last
}

// scratch is a file without a name: nothing is left of it once it is closed, or
// the process ends.
func scratch(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(dir, "index-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// Bring takes an index apart.
func (x *Index) Bring(ctx context.Context, rev app.Revision, into *objects.Build) error {
	s := x.seen
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil || s.digest != rev.Commit {
		if err := x.fetch(ctx, false); err != nil {
			return err
		}
	}
	if s.digest != rev.Commit {
		return app.Fail(app.StageFetch, app.ReasonUnreachable, "%s: the index is another one than a moment ago, or than what is recorded", x)
	}
	defer s.drop()
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := takeIn(s.file, into); err != nil {
		s.etag, s.modified, s.digest = "", "", "" // the next look begins anew
		return app.Fail(app.StageFetch, app.ReasonCorrupt, "%s: index.yaml: %w", x, err).
			WithHint("Check that the URL is that of a Helm repository: index.yaml has to be right below it.")
	}
	return nil
}

// takeIn writes the list of each chart.
func takeIn(index io.ReadSeeker, into *objects.Build) error {
	var list bytes.Buffer
	current := ""
	flush := func() error {
		if list.Len() == 0 {
			return nil
		}
		defer list.Reset()
		return into.File(listName(current), false, &list)
	}
	err := ReadIndex(index, func(chart string, v Version) error {
		if chart != current {
			if err := flush(); err != nil {
				return err
			}
			current = chart
		}
		text, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("chart %q, version %.40q: %w", chart, v.Version, err)
		}
		if list.Len()+len(text) > maxList {
			return fmt.Errorf("chart %q has too many versions", chart)
		}
		list.Write(append(text, '\n'))
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

func listName(chart string) string { return listDir + "/" + url.PathEscape(chart) + ".jsonl" }

// List gives the versions of a chart, from the files of an Index; none if there
// is no such chart.
func List(files fs.FS, chart string) ([]Version, error) {
	f, err := files.Open(listName(chart))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []Version
	for d := json.NewDecoder(f); ; {
		var v Version
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
}

// Versions gives those of one chart, straight from the index as it is now.
func (r *Repository) Versions(ctx context.Context, chart string) ([]Version, error) {
	x := &Index{r, &seen{}}
	if err := x.fetch(ctx, false); err != nil {
		return nil, err
	}
	defer x.seen.drop()
	if _, err := x.seen.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	var out []Version
	err := ReadIndex(x.seen.file, func(name string, v Version) error {
		if name == chart && len(out) < maxVersions {
			out = append(out, v)
		}
		return nil
	})
	if err != nil {
		return nil, app.Fail(app.StageFetch, app.ReasonCorrupt, "%s: index.yaml: %w", r, err)
	}
	return out, nil
}
