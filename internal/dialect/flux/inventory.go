package flux

import (
	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// recorded is what a status says was delivered. status.inventory decides
// which objects those are, for it is what Flux and its tools read and write;
// the digests come from status.plumb.objects, for objects that are there too.
// Entries that make no sense are left out and named.
func recorded(status map[string]any) ([]app.Record, []app.Warning) {
	var warnings []app.Warning
	digests := map[object.Ref]app.Record{}
	for _, line := range list(status, "plumb", "objects") {
		text, _ := line.(string)
		r, err := app.ParseRecord(text)
		if err != nil {
			warnings = append(warnings, app.Warning{Field: "status.plumb.objects", Message: err.Error()})
			continue
		}
		digests[r.Ref] = r
	}
	var out []app.Record
	for _, item := range list(status, "inventory", "entries") {
		entry, _ := item.(map[string]any)
		id, _ := entry["id"].(string)
		version, _ := entry["v"].(string)
		ref, err := app.ParseRef(id)
		if err != nil {
			warnings = append(warnings, app.Warning{Field: "status.inventory", Message: err.Error()})
			continue
		}
		r, ok := digests[ref]
		if !ok {
			r = app.Record{Ref: ref}
		}
		r.Version = version
		out = append(out, r)
	}
	return out, warnings
}
