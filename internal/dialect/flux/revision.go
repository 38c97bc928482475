package flux

import (
	"strings"

	"plumb.dev/plumb/internal/app"
)

// FormatRevision writes a revision as Flux does: main@sha1:<40 hex digits>, or
// sha1:<40 hex digits> where a commit was asked for by its id alone. It
// returns "" for the zero revision.
func FormatRevision(r app.Revision) string {
	if r.IsZero() {
		return ""
	}
	algorithm := "sha1"
	if len(r.Commit) == 64 {
		algorithm = "sha256"
	}
	id := algorithm + ":" + r.Commit
	if r.Ref == "" {
		return id
	}
	return r.Ref + "@" + id
}

// ParseRevision reads what FormatRevision writes, and the form of old
// versions of Flux, main/<commit>. Text that is neither is the zero revision.
func ParseRevision(s string) app.Revision {
	if at := strings.LastIndex(s, "@"); at >= 0 || strings.HasPrefix(s, "sha1:") || strings.HasPrefix(s, "sha256:") {
		_, commit, ok := strings.Cut(s[at+1:], ":")
		if !ok || !isHex(commit) {
			return app.Revision{}
		}
		return app.Revision{Ref: s[:max(at, 0)], Commit: commit}
	}
	slash := strings.LastIndex(s, "/")
	if commit := s[slash+1:]; slash > 0 && isHex(commit) {
		return app.Revision{Ref: s[:slash], Commit: commit}
	}
	return app.Revision{}
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef") == ""
}
