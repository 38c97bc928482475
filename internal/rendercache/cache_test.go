package rendercache

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func open(t testing.TB, dir string, max int64) *Cache {
	t.Helper()
	c := Open(Options{Dir: dir, Program: "test", MaxBytes: max})
	t.Cleanup(c.Close)
	return c
}

func key(n int) Key { return KeyOf(fmt.Append(nil, n)) }

func put(t testing.TB, c *Cache, n int, note, block string) {
	t.Helper()
	if err := c.Put(key(n), []byte(note), []byte(block)); err != nil {
		t.Fatal(err)
	}
}

// get gives the block whose note is one of notes, "" for none.
func get(c *Cache, n int, notes ...string) string {
	block, ok := c.Get(key(n), func(note []byte) bool {
		for _, want := range notes {
			if string(note) == want {
				return true
			}
		}
		return false
	})
	if !ok {
		return ""
	}
	return string(block)
}

// files lists what is below dir, with its permissions.
func files(t testing.TB, dir string) map[string]fs.FileMode {
	t.Helper()
	out := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		out[path] = info.Mode()
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return out
}

func segments(t testing.TB, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*", "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestGetAndPut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "er")
	c := open(t, dir, 0)
	if got := get(c, 1, "a"); got != "" {
		t.Errorf("an empty cache gives %q", got)
	}
	if len(files(t, dir)) != 0 {
		t.Error("something is made before there is anything to keep")
	}
	put(t, c, 1, "a", "A")
	put(t, c, 1, "b", "B")
	put(t, c, 2, "a", "other")
	put(t, c, 3, "", "")
	for range 2 {
		for _, want := range []struct {
			n          int
			note, text string
		}{{1, "a", "A"}, {1, "b", "B"}, {1, "c", ""}, {2, "a", "other"}, {9, "a", ""}} {
			if got := get(c, want.n, want.note); got != want.text {
				t.Errorf("%d %s: got %q, want %q", want.n, want.note, got, want.text)
			}
		}
		if got := get(c, 1, "a", "b"); got != "B" {
			t.Errorf("got %q, which is not the newest", got)
		}
		if block, ok := c.Get(key(3), func(note []byte) bool { return len(note) == 0 }); !ok || len(block) != 0 {
			t.Errorf("an empty block: %q %v", block, ok)
		}
		c.Close()
		c = open(t, dir, 0)
	}
	for name, mode := range files(t, dir) {
		if mode.Perm()&0o077 != 0 {
			t.Errorf("%s: others may read it: %s", name, mode)
		}
	}
	_, size := c.Size()
	put(t, c, 1, "b", "B")
	if _, after := c.Size(); after != size {
		t.Error("the same is stored twice")
	}
	c.Forget(key(1))
	if got := get(c, 1, "a", "b"); got != "" {
		t.Errorf("forgotten, and there: %q", got)
	}
	for i := range 2 * maxPerKey {
		put(t, c, 4, fmt.Sprint(i), fmt.Sprint(i))
	}
	for i := range 2 * maxPerKey {
		if got, want := get(c, 4, fmt.Sprint(i)), i >= maxPerKey; (got != "") != want {
			t.Errorf("%d of %d: got %q", i, 2*maxPerKey, got)
		}
	}
	var none *Cache
	if err := none.Put(key(1), nil, nil); err != nil || get(none, 1, "") != "" {
		t.Error("a nil cache holds something")
	}
}

func TestOtherPrograms(t *testing.T) {
	dir := t.TempDir()
	put(t, open(t, dir, 0), 1, "a", "A")
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	other := Open(Options{Dir: dir, Program: "other"})
	defer other.Close()
	if got := get(other, 1, "a"); got != "" {
		t.Errorf("another program's block is read: %q", got)
	}
	if left := files(t, dir); len(left) != 2 {
		t.Errorf("what another program stored stays, or what it did not does not: %v", left)
	}
}

// TestDamage makes every kind of damage that a file can have and looks whether
// only what is damaged is lost.
func TestDamage(t *testing.T) {
	const n = 20
	text := func(i int) string { return strings.Repeat(fmt.Sprint("block ", i, " "), 50) }
	for name, damage := range map[string]func(t *testing.T, data []byte) []byte{
		"none":      func(t *testing.T, data []byte) []byte { return data },
		"empty":     func(t *testing.T, data []byte) []byte { return nil },
		"foreign":   func(t *testing.T, data []byte) []byte { return []byte("hello\n" + string(data)) },
		"cut short": func(t *testing.T, data []byte) []byte { return data[:len(data)*2/3] },
		"zeros at the end": func(t *testing.T, data []byte) []byte {
			return append(data[:len(data)*2/3], make([]byte, len(data)/3)...)
		},
		"rubbish at the end": func(t *testing.T, data []byte) []byte { return append(data, bytes.Repeat([]byte("x"), 1000)...) },
		"a block": func(t *testing.T, data []byte) []byte {
			return bytes.Replace(data, []byte("block 7"), []byte("block 8"), 1)
		},
		"a note": func(t *testing.T, data []byte) []byte {
			return bytes.Replace(data, []byte("note 7"), []byte("note 8"), 1)
		},
		"a header": func(t *testing.T, data []byte) []byte {
			data[len(magic)+headerSize+6+len(text(0))+22] ^= 1
			return data
		},
		"noise": func(t *testing.T, data []byte) []byte {
			if _, err := rand.Read(data[len(magic):]); err != nil {
				t.Fatal(err)
			}
			return data
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := open(t, dir, 0)
			for i := range n {
				put(t, c, i, fmt.Sprint("note ", i), text(i))
			}
			c.Close()
			file := segments(t, dir)[0]
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, damage(t, data), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // what is lost can be stored again, in this process and for the next
				c := open(t, dir, 0)
				lost := 0
				for i := range n {
					got := get(c, i, fmt.Sprint("note ", i))
					if got != "" && got != text(i) {
						t.Errorf("%d: got %q", i, got)
					}
					if got == "" {
						lost++
						put(t, c, i, fmt.Sprint("note ", i), text(i))
					}
				}
				if (name == "none" || name == "rubbish at the end") && lost > 0 || strings.HasPrefix(name, "a ") && name != "a header" && lost > 1 {
					t.Errorf("%d lost", lost)
				}
				for i := range n {
					if got := get(c, i, fmt.Sprint("note ", i)); got != text(i) {
						t.Errorf("%d: stored again, and got %q", i, got)
					}
				}
				c.Close()
			}
			c = open(t, dir, 0)
			for i := range n {
				if got := get(c, i, fmt.Sprint("note ", i)); got != text(i) {
					t.Errorf("%d: stored again, and the next process got %q", i, got)
				}
			}
		})
	}
}

func TestDamageWhileRunning(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, 0)
	put(t, c, 1, "a", "AAAA")
	put(t, c, 2, "a", "BBBB")
	file := segments(t, dir)[0]
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(data, []byte("AAAA"), []byte("AxAA"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if a, b := get(c, 1, "a"), get(c, 2, "a"); a != "" || b != "BBBB" {
		t.Errorf("got %q, %q", a, b)
	}
	if n, _ := c.Size(); n != 1 {
		t.Errorf("%d blocks", n)
	}
	if err := os.Truncate(file, 5); err != nil {
		t.Fatal(err)
	}
	if b := get(c, 2, "a"); b != "" {
		t.Errorf("got %q", b)
	}
	put(t, c, 3, "a", "CCCC")
	if got := get(c, 3, "a"); got != "CCCC" {
		t.Errorf("got %q", got)
	}
}

func TestDeletedWhileRunning(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c := open(t, dir, 0)
	put(t, c, 1, "a", "A")
	for range 3 {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		get(c, 1, "a") // may be there still, or not
		put(t, c, 2, "a", "B")
		put(t, c, 3, "a", "C")
		if got := get(c, 2, "a") + get(c, 3, "a"); got != "BC" {
			t.Errorf("got %q", got)
		}
		c.Close()
		c = open(t, dir, 0)
		if got := get(c, 2, "a") + get(c, 3, "a"); got != "BC" {
			t.Errorf("the next process got %q", got)
		}
	}
}

func TestUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := open(t, file, 0)
	if err := c.Put(key(1), nil, nil); err == nil {
		t.Error("stored in a file")
	}
	if _, ok := c.Get(key(1), func([]byte) bool { return true }); ok {
		t.Error("it is there")
	}
}

// TestRoom stores much more than there is room for, while some blocks are
// asked for all the time.
func TestRoom(t *testing.T) {
	const max = 1 << 20
	dir := t.TempDir()
	c := open(t, dir, max)
	block := strings.Repeat("x", 1000)
	const used = 50
	for i := range 5000 {
		put(t, c, i, "n", block+fmt.Sprint(i))
		if i < used {
			continue
		}
		if n := i % used; get(c, n, "n") != block+fmt.Sprint(n) {
			t.Fatalf("%d, which is used all the time, was lost at %d", n, i)
		}
		if i%500 != 0 {
			continue
		}
		total := int64(0)
		for _, file := range segments(t, dir) {
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			total += info.Size()
		}
		if _, size := c.Size(); total > max || size != total {
			t.Fatalf("%d bytes are taken, %d are said to be", total, size)
		}
	}
	if got := get(c, 4999, "n"); got == "" {
		t.Error("the newest is lost")
	}
	if got := get(c, 1000, "n"); got != "" {
		t.Error("an old one that nobody used is there")
	}
	blocks, _ := c.Size()
	c.Close()
	c = open(t, dir, max)
	if again, _ := c.Size(); again < blocks {
		t.Errorf("%d blocks of %d are found again", again, blocks)
	}
	if err := c.Put(key(1), nil, make([]byte, max/8)); err != nil {
		t.Error(err)
	}
	if _, ok := c.Get(key(1), func(note []byte) bool { return len(note) == 0 }); ok {
		t.Error("a block is stored that would push out the others")
	}
	smaller := open(t, dir, max/4)
	put(t, smaller, 1, "n", "y")
	if _, size := smaller.Size(); size > max/4 {
		t.Errorf("%d bytes stay after the bound was lowered", size)
	}
}

func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, 256<<10)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 500 {
				n := (w*7 + i) % 100
				want := strings.Repeat(fmt.Sprint(n, " "), 200)
				if got := get(c, n, "n"); got != "" && got != want {
					t.Errorf("%d: got %.20q", n, got)
				}
				put(t, c, n, "n", want)
				if i == 250 && w == 0 {
					_ = os.RemoveAll(dir) // as anyone may; another may write there at the same moment
				}
			}
		})
	}
	wg.Wait()
}

// FuzzSegment opens files of any content.
func FuzzSegment(f *testing.F) {
	fr := newFrame(key(1), []byte("note"), []byte("block"))
	f.Add([]byte(magic + string(fr.header()) + "noteblock"))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		c := open(t, dir, 0)
		put(t, c, 1, "note", "block")
		c.Close()
		if err := os.WriteFile(segments(t, dir)[0], data, 0o600); err != nil {
			t.Fatal(err)
		}
		c = open(t, dir, 0)
		if got := get(c, 1, "note"); got != "" && got != "block" {
			t.Errorf("got %q", got)
		}
		put(t, c, 2, "note", "other")
		if got := get(c, 2, "note"); got != "other" {
			t.Errorf("got %q", got)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	c := open(b, b.TempDir(), 0)
	note, block := bytes.Repeat([]byte("n"), 1000), bytes.Repeat([]byte("b"), 4000)
	for i := 0; b.Loop(); i++ {
		if err := c.Put(key(i), note, block); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	c := open(b, b.TempDir(), 0)
	note, block := bytes.Repeat([]byte("n"), 1000), bytes.Repeat([]byte("b"), 4000)
	for i := range 5000 {
		if err := c.Put(key(i), note, block); err != nil {
			b.Fatal(err)
		}
	}
	for i := 0; b.Loop(); i++ {
		if _, ok := c.Get(key(i%5000), func([]byte) bool { return true }); !ok {
			b.Fatal("lost")
		}
	}
}

// BenchmarkOpen opens a cache of 5000 apps.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	c := open(b, dir, 0)
	note, block := bytes.Repeat([]byte("n"), 1000), bytes.Repeat([]byte("b"), 4000)
	for i := range 5000 {
		if err := c.Put(key(i), note, block); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	for b.Loop() {
		c := open(b, dir, 0)
		if n, _ := c.Size(); n != 5000 {
			b.Fatal(n)
		}
		c.Close()
	}
}
