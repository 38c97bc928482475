package render

import (
	"bytes"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/render/rendertest"
)

// randomValue makes a value of JSON types, the odd ones among them.
func randomValue(r *rand.Rand, depth int) any {
	words := []string{"", "a", "metadata", "\x00", "\xff\xfe", "ümlaut", strings.Repeat("long ", 300), "1", "true"}
	kind := r.IntN(10)
	if depth > 6 {
		kind = r.IntN(7)
	}
	switch kind {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2:
		return []int64{0, 1, -1, math.MaxInt64, math.MinInt64, 1 << 53, 80}[r.IntN(7)]
	case 3:
		return []float64{0, 1, -1, math.Copysign(0, -1), 1.5, math.MaxFloat64, math.SmallestNonzeroFloat64, 1 << 60}[r.IntN(8)]
	case 4, 5, 6:
		return words[r.IntN(len(words))]
	case 7:
		if r.IntN(5) == 0 {
			return []any(nil)
		}
		list := make([]any, r.IntN(5))
		for i := range list {
			list[i] = randomValue(r, depth+1)
		}
		return list
	}
	if r.IntN(8) == 0 {
		return map[string]any(nil)
	}
	m := map[string]any{}
	for range r.IntN(6) {
		m[words[r.IntN(len(words))]] = randomValue(r, depth+1)
	}
	return m
}

func randomResult(r *rand.Rand) Result {
	result := Result{Mode: []app.RenderMode{app.RenderDirectory, app.RenderKustomize}[r.IntN(2)]}
	for range r.IntN(4) {
		result.Warnings = append(result.Warnings, app.Warning{Field: randomText(r), Message: randomText(r)})
	}
	for range r.IntN(5) {
		content, _ := randomValue(r, 0).(map[string]any)
		result.Objects = append(result.Objects, object.New(content, object.Origin{Path: randomText(r), Line: r.IntN(100) - 1}))
	}
	return result
}

func randomText(r *rand.Rand) string {
	text, _ := randomValue(r, 10).(string)
	return text
}

// TestCodecRoundTrip decodes what was encoded and compares all of it, types
// included.
func TestCodecRoundTrip(t *testing.T) {
	for seed := range uint64(3000) {
		want := randomResult(rand.New(rand.NewPCG(seed, 1)))
		block, err := Encode(want)
		if err != nil {
			t.Fatal(seed, err)
		}
		got, err := Decode(block)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: %v\n%#v\n%#v", seed, err, got, want)
		}
		again, err := Encode(got)
		if err != nil || !bytes.Equal(again, block) {
			t.Fatalf("seed %d: encoded again it differs: %v", seed, err)
		}
		for n := range block {
			if _, err := Decode(block[:n]); err == nil {
				t.Fatalf("seed %d: %d of %d bytes are taken for a whole", seed, n, len(block))
			}
		}
		if _, err := Decode(append(block, 0)); err == nil {
			t.Fatalf("seed %d: a byte too many is taken", seed)
		}
	}
}

// TestCodecGoldens sends what the golden trees render through the codec.
func TestCodecGoldens(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no goldens", err)
	}
	rendered := 0
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		for _, f := range archive.Files {
			if fs.ValidPath(f.Name) { // the files of remote bases stand elsewhere
				files[f.Name] = string(f.Data)
			}
		}
		for _, mode := range []app.RenderMode{app.RenderAuto, app.RenderGenerated} {
			want, err := Render(t.Context(), mapFS(files), app.Render{Mode: mode, Directory: app.Directory{Recurse: true, Lenient: true}})
			if err != nil || len(want.Objects) == 0 {
				continue
			}
			rendered += len(want.Objects)
			block, err := Encode(want)
			if err != nil {
				t.Fatal(name, err)
			}
			if got, err := Decode(block); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %v: differs", name, err)
			}
		}
	}
	if rendered < 20 {
		t.Errorf("only %d objects were compared", rendered)
	}
}

func TestEncodeRefuses(t *testing.T) {
	deep := any("bottom")
	for range 1100 {
		deep = []any{deep}
	}
	for name, v := range map[string]any{"int": 1, "typed": []string{"a"}, "deep": deep} {
		_, err := Encode(Result{Objects: []object.Object{object.New(map[string]any{"secret": v, "apiVersion": "v1", "kind": "X"}, object.Origin{Path: "a.yaml", Line: 3})}})
		if err == nil || !strings.HasPrefix(err.Error(), "a.yaml:3: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecodeResult feeds the decoder with anything: what it takes must be
// written as it is read.
func FuzzDecodeResult(f *testing.F) {
	for seed := range uint64(20) {
		block, err := Encode(randomResult(rand.New(rand.NewPCG(seed, 2))))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(block)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := Decode(data)
		if err != nil {
			return
		}
		block, err := Encode(first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := Decode(block)
		if err != nil {
			t.Fatal(err)
		}
		// Bytes, not DeepEqual: not-a-number equals nothing.
		if again, err := Encode(second); err != nil || !bytes.Equal(again, block) {
			t.Fatal("differs", err)
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	result, err := Render(b.Context(), rendertest.Overlay(), app.Render{Path: "overlay"})
	if err != nil {
		b.Fatal(err)
	}
	block, err := Encode(result)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportMetric(float64(len(block)), "bytes")
		for b.Loop() {
			if _, err := Encode(result); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Decode(block); err != nil {
				b.Fatal(err)
			}
		}
	})
}
