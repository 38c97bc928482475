package faults

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// disk is a small file system of its own, where the process may mount one;
// otherwise it is a directory, and cannot be full.
type disk struct {
	dir     string
	mounted bool
}

// diskSize is room for the repository, and little more.
const diskSize = "8m"

func newDisk(t *testing.T) *disk {
	d := &disk{dir: t.TempDir()}
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, "size="+diskSize); err != nil {
		t.Logf("no file system of its own: %v", err)
		return d
	}
	d.mounted = true
	t.Cleanup(func() {
		if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

// cache is the engine's directory on the disk.
func (d *disk) cache() string { return filepath.Join(d.dir, "cache") }

func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill leaves no room for a single byte.
func (d *disk) fill() error {
	f, err := os.Create(d.ballast())
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return err
}

func diskFaults() []fault {
	mounted := func(begin func(s *suite) func()) func(s *suite) func() {
		return func(s *suite) func() {
			if !s.disk.mounted {
				s.T.Skip("it takes a file system that may be mounted")
			}
			return begin(s)
		}
	}
	return []fault{
		{name: "disk/full", says: both("no space left on device.*cache directory"), begin: mounted(func(s *suite) func() {
			s.must(s.disk.fill())
			return func() { s.must(os.Remove(s.disk.ballast())) }
		})},
		{name: "disk/cache-deleted", harmless: true, begin: func(s *suite) func() {
			s.must(os.RemoveAll(s.disk.cache()))
			return func() {}
		}},
		{name: "disk/cache-deleted-all-the-time", begin: func(s *suite) func() {
			return s.every(30*time.Millisecond, func() { os.RemoveAll(s.disk.cache()) })
		}},
		{name: "disk/packs-cut", harmless: true, begin: func(s *suite) func() {
			s.eachPack(func(path string, size int64) error { return os.Truncate(path, size/2) })
			return func() {}
		}},
		{name: "disk/packs-damaged", harmless: true, begin: func(s *suite) func() {
			s.eachPack(func(path string, size int64) error { return os.WriteFile(path, make([]byte, size), 0o600) })
			return func() {}
		}},
	}
}

// eachPack does something to the files that hold Git's objects.
func (s *suite) eachPack(do func(path string, size int64) error) {
	s.T.Helper()
	found := 0
	s.must(filepath.WalkDir(s.disk.cache(), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".pack") {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		found++
		return do(path, info.Size())
	}))
	if found == 0 {
		s.T.Fatal("the cache holds no packs")
	}
}

// every does something again and again until the function that it returns is
// called.
func (s *suite) every(d time.Duration, do func()) (end func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			do()
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}
