package flux

// The merge patches by which a user's commands ask something of a Kustomization
// or a source.

// RefreshPatch asks for a run. The token must differ from the one before. What
// is cached is never trusted blindly, so that hard makes no difference.
func RefreshPatch(token string, hard bool) map[string]any {
	return map[string]any{"metadata": map[string]any{"annotations": map[string]any{RequestedAt: token}}}
}

// SuspendPatch suspends or resumes.
func SuspendPatch(on bool) map[string]any {
	var suspend any // null takes the field away
	if on {
		suspend = true
	}
	return map[string]any{"spec": map[string]any{"suspend": suspend}}
}
