package source

import (
	"testing"

	"plumb.dev/plumb/internal/app"
)

// BenchmarkComposeOneCommit is what a commit costs a source that has a
// submodule, beside the fetch: once with, once without.
func BenchmarkComposeOneCommit(b *testing.B) {
	for _, submodules := range []bool{false, true} {
		name := map[bool]string{false: "plain", true: "submodules"}[submodules]
		b.Run(name, func(b *testing.B) {
			o, s, src := fleet(b, 500)
			lib := o.sibling("other/lib")
			at := lib.commit("lib", map[string]string{"lib.yaml": "lib"})
			lib.push("main")
			o.link("lib", "../../other/lib.git", at)
			o.commitLinked("link", nil)
			o.push("main")
			var ids []string
			for range 60 {
				ids = append(ids, o.commitLinked("one", map[string]string{overlay(len(ids), 0): "changed"}))
			}
			o.push("main")
			resolve(b, s, src) // all is fetched before
			src.Submodules = submodules
			i := 0
			for b.Loop() {
				src.Ref = app.GitRef{Commit: ids[i%len(ids)]}
				resolve(b, s, src)
				i++
			}
		})
	}
}
