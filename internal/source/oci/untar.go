package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"plumb.dev/plumb/internal/source/objects"
)

// whiteout begins the name of an entry that takes something out of the layers
// below. There are none below a layer that is delivered alone.
const whiteout = ".wh."

// untar writes the files and links of an archive. Links are kept as links: where
// they may lead is for readers to say, who never leave the tree. An entry is
// refused by its name if it is outside of the archive's own directory, or
// neither file, directory nor symbolic link.
func untar(ctx context.Context, from io.Reader, limits Limits, into *objects.Build) error {
	archive := tar.NewReader(&counted{r: from, left: limits.Unpacked})
	for n := 0; ; n++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF) && n == 0:
			return errors.New("the archive is empty")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("it is no tar archive, or a damaged one: %w", err)
		case n >= limits.Entries:
			return fmt.Errorf("%w: more than %d entries", objects.ErrTooLarge, limits.Entries)
		}
		name, err := entryName(h.Name)
		if err != nil {
			return err
		}
		if strings.HasPrefix(path.Base(name), whiteout) {
			continue
		}
		switch h.Typeflag {
		case tar.TypeDir, tar.TypeXGlobalHeader:
		case tar.TypeReg:
			if name == "." {
				return fmt.Errorf("the archive names a file %q", h.Name)
			}
			if h.Size > limits.File {
				return fmt.Errorf("%s: %w: a file may have %d bytes", name, objects.ErrTooLarge, limits.File)
			}
			err = into.File(name, h.Mode&0o111 != 0, archive)
		case tar.TypeSymlink:
			if name == "." {
				return fmt.Errorf("the archive names a link %q", h.Name)
			}
			err = into.Link(name, h.Linkname)
		default:
			return fmt.Errorf("%s: the archive has %s there: only files, directories and symbolic links are delivered", name, kindOf(h.Typeflag))
		}
		if err != nil {
			return err
		}
	}
}

// entryName is the path of an entry below the archive's directory.
func entryName(name string) (string, error) {
	clean := path.Clean(name)
	if name == "" || path.IsAbs(name) || strings.ContainsRune(name, 0) || !fs.ValidPath(clean) {
		return "", fmt.Errorf("the archive names %q, which is outside of it", name)
	}
	return clean, nil
}

func kindOf(flag byte) string {
	switch flag {
	case tar.TypeLink:
		return "a hard link"
	case tar.TypeChar, tar.TypeBlock:
		return "a device"
	case tar.TypeFifo:
		return "a named pipe"
	}
	return fmt.Sprintf("an entry of type %q", flag)
}

// counted is a reader that ends in an error where there is too much.
type counted struct {
	r    io.Reader
	left int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, fmt.Errorf("the archive is larger than what is allowed unpacked: %w", objects.ErrTooLarge)
	}
	return n, err
}
