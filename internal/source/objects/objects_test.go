package objects

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

func git(t testing.TB, dir, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@b"}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %v: %v", args, err)
	}
	return string(out)
}

// deltas makes a repository with long delta chains and gives the ids of all
// its objects and one pack of them.
func deltas(t testing.TB, args ...string) (dir string, ids []string, pack string) {
	t.Helper()
	dir = t.TempDir()
	git(t, dir, "", "init", "--quiet", "--bare", ".")
	rnd := rand.New(rand.NewPCG(1, 2))
	lines := make([]string, 400)
	for i := range lines {
		lines[i] = fmt.Sprint(rnd.Uint64())
	}
	var stream strings.Builder
	for i := range 40 {
		lines[rnd.IntN(len(lines))] = fmt.Sprint("changed ", i)
		text := strings.Join(lines, "\n")
		fmt.Fprintf(&stream, "commit refs/heads/main\ncommitter A <a@b> %d +0000\ndata 1\nx\n", 1700000000+i)
		fmt.Fprintf(&stream, "M 644 inline f\ndata %d\n%s\nM 644 inline g%d\ndata 2\n%02d\n", len(text), text, i, i)
	}
	git(t, dir, stream.String(), "fast-import", "--quiet")
	list := git(t, dir, "", "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
	return dir, strings.Fields(list), git(t, dir, list, append([]string{"pack-objects", "--stdout", "--quiet"}, args...)...)
}

func open(t testing.TB, dir string, limit Limits) *Store {
	t.Helper()
	s, err := Open(dir, NewCache(0), limit)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGetReadsWhatGitReads(t *testing.T) {
	for _, args := range [][]string{{"--delta-base-offset"}, {"--no-delta-base-offset"}, {"--window=0"}} {
		_, ids, pack := deltas(t, args...)
		s := open(t, t.TempDir(), Limits{})
		if err := s.Install(t.Context(), strings.NewReader(pack)); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for _, s := range []*Store{s, open(t, s.root, Limits{})} {
			for range 4 {
				all.Go(func() {
					for _, id := range ids {
						o, err := s.Get(plumbing.NewHash(id), 0)
						if err != nil || plumbing.ComputeHash(o.Type, o.Data).String() != id {
							t.Errorf("%s: %v", id, err)
						}
						if kind, size, err := s.Stat(plumbing.NewHash(id)); err != nil || kind != o.Type || size != int64(len(o.Data)) {
							t.Errorf("%s: %v", id, err)
						}
					}
				})
			}
		}
		all.Wait()
		if found, err := s.Prefix(ids[7][:12], 10); err != nil || len(found) != 1 || found[0].String() != ids[7] {
			t.Errorf("got %v, %v", found, err)
		}
		if found, err := s.Prefix(ids[7][:1], 1000); err != nil || len(found) == 0 {
			t.Errorf("got %v, %v", found, err)
		}
		if _, err := s.Get(plumbing.NewHash(strings.Repeat("ab", 20)), 0); !errors.Is(err, ErrMissing) {
			t.Errorf("got %v", err)
		}
		git(t, s.root, "", "fsck", "--full", "--no-dangling")
	}
}

func TestMergeKeepsEverything(t *testing.T) {
	dir, ids, _ := deltas(t)
	s := open(t, t.TempDir(), Limits{Packs: 4})
	rnd := rand.New(rand.NewPCG(3, 4))
	var held *pack
	for from := 0; from < len(ids); {
		to := min(len(ids), from+1+rnd.IntN(12))
		// Overlapping packs: an object may come twice.
		pack := git(t, dir, strings.Join(ids[max(0, from-2):to], "\n"), "pack-objects", "--stdout", "--quiet", "--delta-base-offset")
		if err := s.Install(t.Context(), strings.NewReader(pack)); err != nil {
			t.Fatal(err)
		}
		if held == nil { // as a reader in the midst of a merge does
			held, _, _ = s.locate(plumbing.NewHash(ids[0]))
		}
		from = to
	}
	if n, _ := s.Packs(); n > 5 {
		t.Errorf("%d packs", n)
	}
	for _, s := range []*Store{s, open(t, s.root, Limits{})} {
		for _, id := range ids {
			if _, err := s.Get(plumbing.NewHash(id), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := held.data.ReadAt(make([]byte, 4), 0); err != nil {
		t.Errorf("a pack in use was closed: %v", err)
	}
	held.release()
	if _, err := held.data.ReadAt(make([]byte, 4), 0); err == nil {
		t.Error("a merged pack stays open")
	}
	git(t, s.root, "", "fsck", "--full", "--no-dangling")
	files, _ := os.ReadDir(s.packDir())
	if n, _ := s.Packs(); len(files) != 2*n {
		t.Errorf("%d files for %d packs", len(files), n)
	}
}

func TestLimits(t *testing.T) {
	dir := t.TempDir()
	git(t, dir, "", "init", "--quiet", ".")
	big := strings.TrimSpace(git(t, dir, strings.Repeat("0", 1<<20), "hash-object", "-w", "--stdin"))
	pack := git(t, dir, big+"\n", "pack-objects", "--stdout", "--quiet")
	if len(pack) > 1<<14 {
		t.Fatal("the test wants a pack that inflates")
	}
	s := open(t, t.TempDir(), Limits{Object: 1 << 19})
	if err := s.Install(t.Context(), strings.NewReader(pack)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	s = open(t, t.TempDir(), Limits{Pack: 100})
	if err := s.Install(t.Context(), strings.NewReader(pack)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	s = open(t, t.TempDir(), Limits{})
	if err := s.Install(t.Context(), strings.NewReader(pack)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Get(plumbing.NewHash(big), 1<<19); !errors.Is(err, ErrTooLarge) {
			t.Errorf("got %v", err)
		}
		if _, err := s.Get(plumbing.NewHash(big), 0); err != nil {
			t.Error(err)
		}
	}
}

// TestDeltaBomb installs a delta whose result is far larger than the pack.
func TestDeltaBomb(t *testing.T) {
	_, _, pack := deltas(t, "--delta-base-offset")
	s := open(t, t.TempDir(), Limits{Object: 3000}) // f is larger, its deltas are small
	if err := s.Install(t.Context(), strings.NewReader(pack)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestInstallIsAllOrNothing(t *testing.T) {
	_, ids, pack := deltas(t, "--delta-base-offset")
	s := open(t, t.TempDir(), Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	broken := []byte(pack)
	broken[len(broken)/2] ^= 0xff
	for name, install := range map[string]func() error{
		"cut off":   func() error { return s.Install(t.Context(), strings.NewReader(pack[:len(pack)/2])) },
		"broken":    func() error { return s.Install(t.Context(), bytes.NewReader(broken)) },
		"no pack":   func() error { return s.Install(t.Context(), strings.NewReader("hello, this is no pack at all")) },
		"cancelled": func() error { return s.Install(ctx, strings.NewReader(pack)) },
		"stream":    func() error { return s.Install(t.Context(), io.MultiReader(strings.NewReader(pack[:99]), failing{})) },
	} {
		if err := install(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if files, _ := os.ReadDir(s.packDir()); len(files) > 0 || s.Has(plumbing.NewHash(ids[0])) {
			t.Errorf("%s: left %v", name, files)
		}
	}
	if err := s.Install(t.Context(), strings.NewReader("")); err != nil {
		t.Error(err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("line cut") }

// FuzzInstall feeds packs that a hostile server could send, to a store that
// has what another one brought.
func FuzzInstall(f *testing.F) {
	for _, args := range [][]string{{"--delta-base-offset"}, {"--no-delta-base-offset"}} {
		dir, _, _ := deltas(f)
		list := git(f, dir, "", "rev-list", "--objects", "--no-object-names", "main", "--max-count=2")
		f.Add([]byte(nil), []byte(git(f, dir, list, append([]string{"pack-objects", "--stdout", "--quiet"}, args...)...)))
	}
	f.Add([]byte(nil), binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), 1<<31))
	dir, _, _ := deltas(f)
	f.Add([]byte(whole(f, dir, "main~39")), []byte(thin(f, dir, "main~37", "main~39")))
	one := []byte("one")
	f.Add([]byte(forge(forged(plumbing.BlobObject, plumbing.ZeroHash, one))), []byte(forge(
		forged(plumbing.REFDeltaObject, blobID([]byte("two")), insert(3, "three")),
		forged(plumbing.REFDeltaObject, blobID(one), insert(3, "two")),
		forged(plumbing.BlobObject, plumbing.ZeroHash, one),
	)))
	f.Fuzz(func(t *testing.T, had, pack []byte) {
		s := open(t, t.TempDir(), Limits{Object: 1 << 20, Pack: 1 << 20})
		defer s.Close()
		for _, p := range [][]byte{had, pack} {
			if len(p) > packTrailer { // what a mutation is to get past
				sum := sha1.Sum(p[:len(p)-packTrailer])
				p = append(p[:len(p)-packTrailer:len(p)-packTrailer], sum[:]...)
			}
			if err := s.Install(t.Context(), bytes.NewReader(p)); errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
		}
		for _, p := range s.packs {
			entries, err := p.entries()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if o, err := s.Get(e.id, 0); err != nil || len(o.Data) > 1<<20 {
					t.Fatalf("%s was installed and cannot be read: %v", e.id, err)
				}
			}
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	c := NewCache(10_000)
	for i := range 1000 {
		c.put(cacheKey{offset: int64(i)}, Object{Data: make([]byte, i%400)})
		if c.used > 10_000 || len(c.items) != c.order.Len() {
			t.Fatalf("%d bytes in %d items", c.used, len(c.items))
		}
	}
	if _, ok := c.get(cacheKey{offset: 999}); !ok && 999%400+cacheOverhead < 10_000/32 {
		t.Error("the newest is gone")
	}
}
