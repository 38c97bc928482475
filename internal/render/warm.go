package render

import (
	"context"
	"embed"
	"fmt"

	"plumb.dev/plumb/internal/app"
)

//go:embed warm
var warmTree embed.FS

// Warm builds something small, so that what the first build of a process pays
// for (the parsing of Kustomize's schema above all) is paid.
func Warm(ctx context.Context) error {
	if _, err := Render(ctx, warmTree, app.Render{Path: "warm/overlay"}); err != nil {
		return fmt.Errorf("build the built-in overlay: %w", err)
	}
	return nil
}
