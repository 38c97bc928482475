package objects

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

// thin gives what a server sends of a commit to one who has another.
func thin(t testing.TB, dir, commit, had string) string {
	t.Helper()
	return git(t, dir, commit+"\n^"+had+"\n", "pack-objects", "--revs", "--thin", "--stdout", "--quiet", "--delta-base-offset")
}

// whole gives all of a commit and its history.
func whole(t testing.TB, dir, commit string) string {
	t.Helper()
	return git(t, dir, commit+"\n", "pack-objects", "--revs", "--stdout", "--quiet", "--delta-base-offset")
}

func install(t testing.TB, s *Store, pack string) {
	t.Helper()
	if err := s.Install(t.Context(), strings.NewReader(pack)); err != nil {
		t.Fatal(err)
	}
}

// TestThinPacks installs commit upon commit as deltas on what earlier packs
// have, which are merged meanwhile.
func TestThinPacks(t *testing.T) {
	dir, _, _ := deltas(t)
	s := open(t, t.TempDir(), Limits{Packs: 4})
	first := whole(t, dir, "main~35")
	install(t, s, first)
	base := s.packs[0].name
	for i := 34; i >= 0; i-- {
		pack := thin(t, dir, fmt.Sprintf("main~%d", i), fmt.Sprintf("main~%d", i+1))
		if err := open(t, t.TempDir(), Limits{}).Install(t.Context(), strings.NewReader(pack)); !errors.Is(err, ErrNoBase) {
			t.Fatalf("the test wants packs that do not stand alone; got %v", err)
		}
		install(t, s, pack)
	}
	if n, _ := s.Packs(); n > 5 || slices.ContainsFunc(s.packs, func(p *pack) bool { return p.name == base }) {
		t.Errorf("%d packs: the first was to be merged", n)
	}
	ids := strings.Fields(git(t, dir, "", "rev-list", "--objects", "--no-object-names", "main"))
	for _, s := range []*Store{s, open(t, s.root, Limits{})} {
		for _, id := range ids {
			if _, err := s.Get(plumbing.NewHash(id), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	git(t, s.root, "", "fsck", "--full", "--strict", "--no-dangling")
	if files, _ := os.ReadDir(s.packDir()); len(files) != 2*len(s.packs) {
		t.Errorf("%d files for %d packs", len(files), len(s.packs))
	}
}

// TestThinPackWithoutBase is of a pack that builds on what the store lacks: it
// leaves nothing, and what is fetched whole then is taken.
func TestThinPackWithoutBase(t *testing.T) {
	dir, _, _ := deltas(t)
	s := open(t, t.TempDir(), Limits{})
	install(t, s, whole(t, dir, "main~5"))
	err := s.Install(t.Context(), strings.NewReader(thin(t, dir, "main", "main~1")))
	if !errors.Is(err, ErrNoBase) {
		t.Errorf("got %v", err)
	}
	tip := plumbing.NewHash(strings.TrimSpace(git(t, dir, "", "rev-parse", "main")))
	if files, _ := os.ReadDir(s.packDir()); len(files) != 2 || s.Has(tip) {
		t.Errorf("left %v", files)
	}
	install(t, s, whole(t, dir, "main"))
	if _, err := s.Get(tip, 0); err != nil {
		t.Error(err)
	}
}

// forge makes a pack of entries that no Git would write.
func forge(entries ...[]byte) string {
	pack := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(entries)))
	pack = append(pack, bytes.Join(entries, nil)...)
	sum := sha1.Sum(pack)
	return string(append(pack, sum[:]...))
}

func forged(kind plumbing.ObjectType, base plumbing.Hash, data []byte) []byte {
	var b bytes.Buffer
	b.Write(packEntryHead(kind, len(data)))
	if kind == plumbing.REFDeltaObject {
		b.Write(base[:])
	}
	z := zlib.NewWriter(&b)
	_, _ = z.Write(data)
	_ = z.Close()
	return b.Bytes()
}

func blobID(data []byte) plumbing.Hash { return plumbing.ComputeHash(plumbing.BlobObject, data) }

// insert is a delta that makes text of a base of a size.
func insert(base int, text string) []byte {
	delta := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(base)), uint64(len(text)))
	return append(append(delta, byte(len(text))), text...)
}

// repeat is a delta that makes n copies of its base.
func repeat(base, n int) []byte {
	delta := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(base)), uint64(base*n))
	return append(delta, bytes.Repeat([]byte{0xb0, byte(base), byte(base >> 8)}, n)...)
}

func TestHostileThinPacks(t *testing.T) {
	base := bytes.Repeat([]byte("0123456789abcdef"), 1<<10)
	id := blobID(base)
	other := blobID([]byte("other"))
	chain := [][]byte{forged(plumbing.REFDeltaObject, id, insert(len(base), "0000"))}
	for i := range 5000 {
		on := fmt.Appendf(nil, "%04d", i)
		chain = append(chain, forged(plumbing.REFDeltaObject, blobID(on), insert(4, fmt.Sprintf("%04d", i+1))))
	}
	reversed := slices.Clone(chain)
	slices.Reverse(reversed)
	bad := []byte(forge(chain[0]))
	bad[len(bad)-1] ^= 1
	for name, c := range map[string]struct {
		pack string
		want error // nil: any
	}{
		"no base":      {forge(forged(plumbing.REFDeltaObject, other, insert(5, "x"))), ErrNoBase},
		"circle":       {forge(forged(plumbing.REFDeltaObject, blobID([]byte("a")), insert(1, "b")), forged(plumbing.REFDeltaObject, blobID([]byte("b")), insert(1, "a"))), ErrNoBase},
		"bomb":         {forge(forged(plumbing.REFDeltaObject, id, repeat(len(base), 100))), ErrTooLarge},
		"bombs":        {forge(slices.Repeat([][]byte{forged(plumbing.REFDeltaObject, id, repeat(len(base), 60)), forged(plumbing.REFDeltaObject, blobID(bytes.Repeat(base, 60)), repeat(60*len(base), 60))}, 10)...), ErrTooLarge},
		"deep":         {forge(chain...), nil},
		"deep, turned": {forge(reversed...), nil},
		"wrong size":   {forge(forged(plumbing.REFDeltaObject, id, insert(3, "x"))), nil},
		"too short":    {forge(forged(plumbing.REFDeltaObject, id, nil)), nil},
		"checksum":     {string(bad), nil},
		"copies":       {forge(forged(plumbing.REFDeltaObject, blobID(bytes.Repeat([]byte("0"), 600<<10)), insert(600<<10, "x"))), ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), Limits{Object: 1 << 20, Pack: 500 << 10})
			large := bytes.Repeat([]byte("0"), 600<<10)
			install(t, s, forge(forged(plumbing.BlobObject, plumbing.ZeroHash, base), forged(plumbing.BlobObject, plumbing.ZeroHash, large)))
			err := s.Install(t.Context(), strings.NewReader(c.pack))
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if files, _ := os.ReadDir(s.packDir()); len(files) != 2 {
				t.Errorf("left %v", files)
			}
			if o, err := s.Get(id, 0); err != nil || !bytes.Equal(o.Data, base) {
				t.Errorf("what was there cannot be read: %v", err)
			}
		})
	}
}

// TestMergeOfThinPacks has each pack build on the one before: what completed
// them is left out when they are merged, but chains stay short.
func TestMergeOfThinPacks(t *testing.T) {
	s := open(t, t.TempDir(), Limits{Packs: 4})
	base := bytes.Repeat([]byte("0123456789abcdef"), 1<<10)
	text := func(i int) []byte { return fmt.Appendf(slices.Clone(base), "%04d", i) }
	install(t, s, forge(forged(plumbing.BlobObject, plumbing.ZeroHash, text(0))))
	const commits = 200
	for i := range commits {
		delta := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(len(base)+4)), uint64(len(base)+4))
		delta = append(append(delta, 0xb0, 0, 0x40, 4), fmt.Appendf(nil, "%04d", i+1)...) // 0x4000 bytes of the base
		install(t, s, forge(forged(plumbing.REFDeltaObject, blobID(text(i)), delta)))
	}
	n, size := s.Packs()
	if each := int64(len(base)); n > 5 || size > commits*each/4 {
		t.Errorf("%d packs of %d bytes", n, size)
	}
	for _, s := range []*Store{s, open(t, s.root, Limits{})} {
		for i := range commits + 1 {
			if o, err := s.Get(blobID(text(i)), 0); err != nil || !bytes.Equal(o.Data, text(i)) {
				t.Fatalf("%d: %v", i, err)
			}
		}
		for _, p := range s.packs {
			entries, err := p.entries()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if depth, err := depthOf([]part{{p, entries, p.size}}, e.id); err != nil || depth > maxDepth {
					t.Errorf("%s: %d deltas deep, %v", e.id, depth, err)
				}
			}
		}
	}
	git(t, s.root, "", "fsck", "--full", "--no-dangling")
}

// TestMergeNeverLeadsInACircle merges packs that each make of the other's
// objects what the other makes of its own. Only a forger sends them; git fsck
// runs in circles.
func TestMergeNeverLeadsInACircle(t *testing.T) {
	on := func(base, text string) []byte {
		return forged(plumbing.REFDeltaObject, blobID([]byte(base)), insert(len(base), text))
	}
	is := func(text string) []byte { return forged(plumbing.BlobObject, plumbing.ZeroHash, []byte(text)) }
	for name, packs := range map[string][]string{
		"self-contained": {
			forge(on("y", "x"), on("z", "y"), is("z")),
			forge(on("x", "y"), on("w", "x"), is("w")),
			forge(on("s", "r"), is("s"), is("t"), is("u"), is("u")),
		},
		"thin": {
			forge(is("x")),
			forge(on("x", "y")),
			forge(on("y", "x")),
			forge(on("x", "z"), on("z", "x"), is("x")),
			forge(on("z", "y")),
		},
		"within one": {
			forge(on("y", "x"), on("x", "y"), is("x")),
			forge(on("y", "x"), is("y"), on("x", "y")),
			forge(on("x", "w")),
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), Limits{Packs: 2})
			for _, pack := range packs {
				install(t, s, pack)
			}
			if n, _ := s.Packs(); n > 2 {
				t.Errorf("%d packs", n)
			}
			s = open(t, s.root, Limits{})
			for _, p := range s.packs {
				entries, err := p.entries()
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					if o, err := s.Get(e.id, 0); err != nil || blobID(o.Data) != e.id {
						t.Errorf("%s: %v", e.id, err)
					}
				}
			}
		})
	}
}
