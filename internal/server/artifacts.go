package server

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/controller"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/engine"
	"plumb.dev/plumb/internal/source/archive"
)

// tryAgain is after how many seconds a client is told to ask again for what
// another replica has: it then most likely reaches another one.
const tryAgain = 1

// artifacts serves what sources hold. Nothing of a request becomes a path on
// disk: it names a source and a file by words that are looked up.
func artifacts(eng *engine.Engine, ctl *controller.Controller, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := app.SourceID{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
		for _, k := range flux.SourceKinds() {
			if strings.ToLower(k.Kind) == r.PathValue("kind") {
				id.Kind = k.Kind
			}
		}
		file := r.PathValue("file")
		if id.Kind == "" {
			http.NotFound(w, r)
			return
		}
		f, a, err := eng.Artifact(r.Context(), id, file)
		switch {
		case err == nil:
			defer f.Close()
			w.Header().Set("Content-Type", "application/gzip")
			w.Header().Set("ETag", strconv.Quote(a.Digest))
			http.ServeContent(w, r, "", time.Time{}, f)
		case r.Context().Err() != nil: // nobody waits for an answer
		case errors.Is(err, engine.ErrNoArtifact):
			if published := ctl.Artifact(id); published == "" || file != archive.LatestName && published != archive.Path(id)+"/"+file {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Connection", "close")
			unavailable(w, "another replica has it")
		default:
			log.Warn("artifact cannot be served", "source", id, "file", file, "error", err)
			unavailable(w, "it cannot be made at the moment")
		}
	})
}

func unavailable(w http.ResponseWriter, why string) {
	w.Header().Set("Retry-After", strconv.Itoa(tryAgain))
	http.Error(w, why, http.StatusServiceUnavailable)
}
