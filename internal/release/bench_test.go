package release

import (
	"strconv"
	"testing"

	"plumb.dev/plumb/internal/app"
)

// BenchmarkLook is what a release costs that is as it should be.
func BenchmarkLook(b *testing.B) {
	w := newWorld(b)
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	for b.Loop() {
		if _, err := w.client.Look(b.Context(), w.release); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUpgrade is another revision with other values: confined, templates
// are rendered in a worker process, otherwise by Helm.
func BenchmarkUpgrade(b *testing.B) {
	for _, mode := range []string{"confined", "unconfined"} {
		b.Run(mode, func(b *testing.B) {
			w := newWorld(b)
			if mode == "unconfined" {
				w.client.render = nil
			}
			w.wants(app.ReleaseInSync, app.ReleaseInstall)
			n := 0
			for b.Loop() {
				n++
				w.inline = map[string]any{"text": strconv.Itoa(n)}
				w.decide()
				if out, err := w.act(b.Context(), app.ReleaseUpgrade, ""); err != nil || out.Result.Failure != nil {
					b.Fatal(err, out.Result.Failure)
				}
			}
		})
	}
}
