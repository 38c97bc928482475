package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/sandbox/ociserver"
	"plumb.dev/plumb/internal/source/objects"
)

// archive is a tar of headers; files hold their own name.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		content := ""
		if h.Typeflag == 0 || h.Typeflag == tar.TypeReg {
			h.Typeflag, content = tar.TypeReg, h.Name
			h.Size = int64(len(content))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unpacked(t testing.TB, data []byte, limits Limits) (map[string]string, error) {
	t.Helper()
	return built(t, func(b *objects.Build) error {
		return unpack(t.Context(), bytes.NewReader(data), limits.withDefaults(), b)
	})
}

func TestUnpack(t *testing.T) {
	data := archive(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir},
		tar.Header{Name: "./a.yaml"},
		tar.Header{Name: "app/" + strings.Repeat("long", 50) + ".yaml"},
		tar.Header{Name: "app/run.sh", Mode: 0o755},
		tar.Header{Name: "app/x/../y.yaml"},
		tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "../../etc/passwd"},
		tar.Header{Name: "app/.wh.gone", Typeflag: tar.TypeReg},
		tar.Header{Name: "a.yaml/b"}, // takes the place of the file
	)
	for name, data := range map[string][]byte{"plain": data, "gzip": zipped(t, data)} {
		got, err := unpacked(t, data, Limits{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := map[string]string{
			"app/" + strings.Repeat("long", 50) + ".yaml": "app/" + strings.Repeat("long", 50) + ".yaml",
			"app/run.sh": "x app/run.sh", "app/y.yaml": "app/x/../y.yaml", "link": "-> ../../etc/passwd", "a.yaml/b": "a.yaml/b",
		}
		for file, content := range want {
			if got[file] != content {
				t.Errorf("%s: %s is %q", name, file, got[file])
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	good := archive(t, tar.Header{Name: "a"})
	for name, c := range map[string]struct {
		data []byte
		says string
	}{
		"above":       {archive(t, tar.Header{Name: "../evil"}), `"../evil"`},
		"above later": {archive(t, tar.Header{Name: "a/../../evil"}), `"a/../../evil"`},
		"absolute":    {archive(t, tar.Header{Name: "/etc/evil"}), `"/etc/evil"`},
		"hard link":   {archive(t, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "a"}), "h: the archive has a hard link"},
		"device":      {archive(t, tar.Header{Name: "d", Typeflag: tar.TypeBlock}), "d: the archive has a device"},
		"pipe":        {archive(t, tar.Header{Name: "p", Typeflag: tar.TypeFifo}), "a named pipe"},
		"itself":      {archive(t, tar.Header{Name: "."}), "the archive names a file"},
		"deep":        {archive(t, tar.Header{Name: strings.Repeat("d/", 90) + "f"}), "deeper than"},
		"no archive":  {[]byte(strings.Repeat("text ", 500)), "no tar archive"},
		"nothing":     {nil, "the archive is empty"},
		"cut":         {zipped(t, good)[:20], "unexpected EOF"},
		"zstd":        {[]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0}, "zstd"},
	} {
		if got, err := unpacked(t, c.data, Limits{}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	many := make([]tar.Header, 20)
	for i := range many {
		many[i] = tar.Header{Name: "dir/", Typeflag: tar.TypeDir}
	}
	if _, err := unpacked(t, archive(t, many...), Limits{Entries: 10}); !errors.Is(err, objects.ErrTooLarge) {
		t.Errorf("too many entries: %v", err)
	}
	if _, err := unpacked(t, archive(t, tar.Header{Name: "large.yaml"}), Limits{File: 5}); !errors.Is(err, objects.ErrTooLarge) || !strings.Contains(err.Error(), "large.yaml") {
		t.Errorf("a file too large: %v", err)
	}
	if _, err := unpacked(t, zipped(t, archive(t, tar.Header{Name: "a"})), Limits{Unpacked: 600}); !errors.Is(err, objects.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

// An archive without end is not read to the end.
func TestEndless(t *testing.T) {
	one := archive(t, tar.Header{Name: "a"})[:1024]
	read := int64(0)
	endless := readerFunc(func(p []byte) (int, error) {
		n := 0
		for n < len(p) {
			n += copy(p[n:], one[read%1024:])
			read += int64(n)
			break
		}
		return n, nil
	})
	_, err := built(t, func(b *objects.Build) error {
		return unpack(t.Context(), endless, Limits{Entries: 5000}.withDefaults(), b)
	})
	if !errors.Is(err, objects.ErrTooLarge) || read > 16<<20 {
		t.Errorf("read %d bytes: %v", read, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// FuzzUnpack: whatever an archive holds, what is taken of it lies inside.
func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, tar.Header{Name: "a"}, tar.Header{Name: "d/", Typeflag: tar.TypeDir}, tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: ".."}))
	f.Add(archive(f, tar.Header{Name: "../a"}))
	f.Add(zipped(f, archive(f, tar.Header{Name: "a/b/c"})))
	if data, err := ociserver.Archive(files("x")); err == nil {
		f.Add(data)
	}
	store, err := objects.Open(f.TempDir(), objects.NewCache(0), objects.Limits{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { store.Close() })
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := store.Build()
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if unpack(t.Context(), bytes.NewReader(data), Limits{Unpacked: 1 << 20, Entries: 100}, b) != nil {
			return
		}
		for r := tar.NewReader(bytes.NewReader(data)); ; {
			h, err := r.Next()
			if err != nil {
				return
			}
			if name, err := entryName(h.Name); err != nil || !fs.ValidPath(name) {
				t.Errorf("%q came in as %q, %v", h.Name, name, err)
			}
		}
	})
}
