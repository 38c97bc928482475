// Package helmchart makes ready the chart that a source asks for: found in a
// Helm repository and downloaded, or packed from the files of another source as
// `helm package` does. What comes out is the directory of the chart. Nothing of
// a chart is rendered or run here.
package helmchart

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/ignore"

	"plumb.dev/plumb/internal/source/objects"
)

// Bounds of a chart. Those of sizes are Helm's own: it loads nothing larger.
const (
	maxFile  = 5 << 20   // bytes of one file
	maxTotal = 100 << 20 // of all files
	maxFiles = 20_000
	maxDepth = 32
)

// Files is the content of a chart: names, below its directory, and what they
// hold.
type Files map[string][]byte

var drive = regexp.MustCompile(`^[a-zA-Z]:`)

// Unpack reads an archive as `helm package` makes it. All of it must be in one
// directory, which is the chart's; the same names are refused that Helm refuses,
// and links are: Helm would take them for empty files.
func Unpack(archive []byte) (Files, error) {
	zipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, fmt.Errorf("it is no chart archive: %w", err)
	}
	defer zipped.Close()
	// The bound is on all that is unpacked: headers and padding count as well.
	unpacked := &io.LimitedReader{R: zipped, N: maxTotal + maxTotal/4}
	files := Files{}
	total := 0
	for r := tar.NewReader(unpacked); ; {
		head, err := r.Next()
		switch {
		case errors.Is(err, io.EOF) && len(files) == 0:
			return nil, errors.New("the archive is empty")
		case errors.Is(err, io.EOF):
			return files, nil
		case unpacked.N <= 0:
			return nil, fmt.Errorf("unpacked, it has more than %d MiB", maxTotal>>20)
		case err != nil:
			return nil, fmt.Errorf("it is no chart archive: %w", err)
		}
		switch head.Typeflag {
		case tar.TypeReg:
		case tar.TypeDir, tar.TypeXGlobalHeader, tar.TypeXHeader:
			continue
		default:
			return nil, fmt.Errorf("%q is neither a file nor a directory", head.Name)
		}
		name, err := inside(head.Name)
		if err != nil {
			return nil, err
		}
		if head.Size > maxFile {
			return nil, fmt.Errorf("%q has more than %d MiB", head.Name, maxFile>>20)
		}
		if total += int(head.Size); total > maxTotal || len(files) == maxFiles {
			return nil, fmt.Errorf("unpacked, it has more than %d MiB or %d files", maxTotal>>20, maxFiles)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, fmt.Errorf("it is no chart archive: %q: %w", head.Name, err)
		}
		files[name] = data
	}
}

// inside takes the directory of the chart off a name in an archive.
func inside(name string) (string, error) {
	clean := strings.ReplaceAll(name, `\`, "/") // of archives made on Windows
	_, below, ok := strings.Cut(clean, "/")
	if !ok {
		return "", fmt.Errorf("%q is not in the directory of the chart", name)
	}
	below = path.Clean(below)
	if strings.HasPrefix(clean, "/") || !fs.ValidPath(below) || below == "." || drive.MatchString(below) || strings.ContainsRune(below, 0) ||
		strings.Count(below, "/") > maxDepth || strings.HasPrefix(clean, "../") {
		return "", fmt.Errorf("%q is no name of a file in a chart", name)
	}
	return below, nil
}

// ReadDir reads a directory as Helm does to package it: without what
// .helmignore says, and with links followed.
func ReadDir(ctx context.Context, files fs.FS, dir string) (Files, error) {
	rules := ignore.Empty()
	if data, err := readFile(files, path.Join(dir, ".helmignore")); err == nil {
		if rules, err = ignore.Parse(bytes.NewReader(data)); err != nil {
			return nil, fmt.Errorf("%s: %w", path.Join(dir, ".helmignore"), err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	rules.AddDefaults()
	out := Files{}
	total := 0
	var walk func(below string, depth int) error
	walk = func(below string, depth int) error {
		if depth > maxDepth {
			return fmt.Errorf("%s is deeper than %d directories; a link may lead back to where it is", path.Join(dir, below), maxDepth)
		}
		entries, err := fs.ReadDir(files, path.Join(dir, below))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			name := path.Join(below, e.Name())
			info, err := fs.Stat(files, path.Join(dir, name)) // follows links
			if err != nil {
				return err
			}
			if rules.Ignore(name, info) {
				continue
			}
			if info.IsDir() {
				if err := walk(name, depth+1); err != nil {
					return err
				}
				continue
			}
			if !info.Mode().IsRegular() {
				return fmt.Errorf("%s is neither a file nor a directory", path.Join(dir, name))
			}
			data, err := readFile(files, path.Join(dir, name))
			if err != nil {
				return err
			}
			if total += len(data); total > maxTotal || len(out) == maxFiles {
				return fmt.Errorf("%s has more than %d MiB or %d files", dir, maxTotal>>20, maxFiles)
			}
			out[name] = data
		}
		return nil
	}
	return out, walk(".", 0)
}

// readFile reads a file that Helm would read.
func readFile(files fs.FS, name string) ([]byte, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s has more than %d MiB", name, maxFile>>20)
	}
	return data, nil
}

// write puts the files where an import keeps them.
func (f Files) write(into *objects.Build) error {
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if err := into.File(name, false, bytes.NewReader(f[name])); err != nil {
			return err
		}
	}
	return nil
}
