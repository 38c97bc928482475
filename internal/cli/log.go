package cli

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"plumb.dev/plumb/internal/app"
)

// logger writes lines of text for people, or lines of JSON with the keys that
// Flux' controllers use, and so `flux logs` reads.
func logger(out io.Writer, format, level string) (*slog.Logger, error) {
	var opts slog.HandlerOptions
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usage("--log-level %s: no such level", level).hint("possible: debug, info, warn or error")
	}
	opts.Level = l
	switch format {
	case "json":
		opts.ReplaceAttr = asControllers
		return slog.New(slog.NewJSONHandler(out, &opts)), nil
	case "text":
		return slog.New(slog.NewTextHandler(out, &opts)), nil
	}
	return nil, usage("--log-format %s is not possible", format).hint("possible: json or text")
}

// asControllers renames what slog and the engine call things: the time is ts,
// the level is small, and an app or a source is told by controllerKind,
// namespace and name.
func asControllers(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.TimeKey:
		if a.Value.Kind() == slog.KindTime {
			return slog.String("ts", a.Value.Time().UTC().Format("2006-01-02T15:04:05.000Z07:00"))
		}
	case slog.LevelKey:
		if level, ok := a.Value.Any().(slog.Level); ok {
			return slog.String(slog.LevelKey, strings.ToLower(level.String()))
		}
	case "ts", slog.MessageKey, "error", "logger", "controllerKind", "namespace", "name":
		// One that is no text, of a library, would be taken for a broken log.
		if a.Value.Kind() != slog.KindString {
			return slog.String(a.Key, fmt.Sprint(a.Value.Any()))
		}
	}
	switch id := a.Value.Any().(type) {
	case app.ID:
		return resource(id.Kind, id.Namespace, id.Name)
	case app.SourceID:
		if id.Kind != "" { // otherwise it is no resource
			return resource(id.Kind, id.Namespace, id.Name)
		}
		return slog.String(a.Key, id.String())
	}
	return a
}

// resource is an attribute that stands for three.
func resource(kind, namespace, name string) slog.Attr {
	return slog.Group("", "controllerKind", kind, "namespace", namespace, "name", name)
}
