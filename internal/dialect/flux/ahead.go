package flux

import "plumb.dev/plumb/internal/app"

// encodeAhead notes what is ahead of the status of its source.
func encodeAhead(a app.Ahead, status map[string]any) {
	if a == (app.Ahead{}) {
		if plumb := section(status, "plumb"); plumb != nil {
			delete(plumb, "ahead")
			if len(plumb) == 0 {
				delete(status, "plumb")
			}
		}
		return
	}
	orSet(status, "plumb")["ahead"] = map[string]any{"revision": a.Revision, "of": a.Of}
}

func decodeAhead(status map[string]any) app.Ahead {
	m := section(status, "plumb", "ahead")
	return app.Ahead{Revision: text(m, "revision"), Of: text(m, "of")}
}
