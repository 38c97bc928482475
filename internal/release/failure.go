package release

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/storage/driver"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// failure says why an action failed, without what is secret.
func (s *session) failure(err error) *app.Failure {
	f := &app.Failure{Stage: app.StageApply, Reason: reasonOf(err)}
	var known *app.Failure
	if errors.As(err, &known) {
		f.Stage, f.Reason, f.Retry, f.Hint = known.Stage, known.Reason, known.Retry, known.Hint
	} else if f.Reason == app.ReasonInternal {
		text := err.Error()
		switch {
		case strings.Contains(text, "pre-") && strings.Contains(text, "hook") || strings.Contains(text, "failed post-") || strings.Contains(text, "failed pre-"):
			f.Stage, f.Reason = app.StageHealth, app.ReasonHook
		case strings.Contains(text, "no matches for"):
			f.Reason = app.ReasonKindUnknown
		case strings.Contains(text, "failed to create typed patch object"), strings.Contains(text, "failed to convert new object"),
			strings.Contains(text, "error validating"):
			f.Reason = app.ReasonInvalidObject
		case strings.Contains(text, "cannot be imported into the current release"):
			f.Reason = app.ReasonConflict
		case strings.Contains(text, "not ready. status:"), strings.Contains(text, "still exists. status:"):
			f.Stage, f.Reason = app.StageHealth, app.ReasonUnhealthy
		case strings.Contains(text, "post render"), !s.rendered.Load() && s.result.Action.Delivers():
			f.Stage, f.Reason = app.StageRender, app.ReasonBuild
		}
	}
	if known == nil && f.Reason == app.ReasonTimeout { // of a wait: requests have shorter ones
		f.Stage = app.StageHealth
	}
	f.Err = errors.New(shorten(s.secrets.clean(strings.TrimSpace(err.Error())), 3000))
	return f
}

// shorten takes out the middle of a text that is too long: templates that
// include each other tell the whole way.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	head, tail := text[:most/2], text[len(text)-most/2:]
	return strings.ToValidUTF8(head, "") + " … " + strings.ToValidUTF8(tail, "")
}

// reasonOf finds the reason that an error itself tells of.
func reasonOf(err error) app.Reason {
	switch {
	case errors.Is(err, errUnrendered):
		return app.ReasonBuild
	case errors.Is(err, errNotOurs), errors.Is(err, driver.ErrReleaseExists), errors.Is(err, driver.ErrNoDeployedReleases), apierrors.IsConflict(err):
		return app.ReasonConflict
	case apierrors.IsForbidden(err):
		return app.ReasonForbidden
	case apierrors.IsNotFound(err) && notFound(err) == "namespaces":
		return app.ReasonNamespaceMissing
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return app.ReasonInvalidObject
	case meta.IsNoMatchError(err):
		return app.ReasonKindUnknown
	case errors.Is(err, context.Canceled):
		return app.ReasonTerminated
	case errors.Is(err, context.DeadlineExceeded):
		return app.ReasonTimeout
	}
	return app.ReasonInternal
}

// notFound is the sort of thing that an API server did not find.
func notFound(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil {
		return status.Status().Details.Kind
	}
	return ""
}

// scrubber takes secrets out of texts: those that values are composed of, and
// what API servers quote from a Secret.
type scrubber struct{ secrets []string }

// shortSecret is what is not looked for: it would be found everywhere.
const shortSecret = 4

// Secrets are the texts of what was fetched that must not be told.
func Secrets(from []Fetched) []string { return newScrubber(from).secrets }

func newScrubber(from []Fetched) scrubber {
	var s scrubber
	for _, f := range from {
		if f.Missing || f.From.Ref.Kind != "Secret" {
			continue
		}
		s.add(string(f.Data))
		var values map[string]any
		if f.From.TargetPath == "" && yaml.Unmarshal(f.Data, &values) == nil {
			s.leaves(values)
		}
	}
	slices.SortFunc(s.secrets, func(a, b string) int { return len(b) - len(a) })
	return s
}

func (s *scrubber) leaves(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, w := range v {
			s.leaves(w)
		}
	case []any:
		for _, w := range v {
			s.leaves(w)
		}
	case string:
		s.add(v)
	}
}

func (s *scrubber) add(secret string) {
	for _, text := range []string{secret, strings.TrimSpace(secret)} {
		if len(text) < shortSecret || text == "true" || text == "false" {
			continue
		}
		s.secrets = append(s.secrets, text, base64.StdEncoding.EncodeToString([]byte(text)))
	}
	for line := range strings.Lines(secret) { // as an error shows it
		if line = strings.TrimSpace(line); len(line) >= 4*shortSecret {
			s.secrets = append(s.secrets, line)
		}
	}
}

// clean gives text without secrets.
func (s scrubber) clean(text string) string {
	for _, secret := range s.secrets {
		text = strings.ReplaceAll(text, secret, "<redacted>")
	}
	if strings.Contains(text, "Kind=Secret") {
		text = object.RedactError(object.Ref{Kind: "Secret"}, text)
	}
	return text
}
