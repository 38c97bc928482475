package flux

import (
	"cmp"
	"slices"
	"time"
	"unicode/utf8"
)

// The conditions that this package sets. Ready and Healthy are as their names
// say, and so is SourceVerified; of the others, which are abnormal when true, none is ever left at
// another value than True.
const (
	condReady             = "Ready"
	condHealthy           = "Healthy"
	condReconciling       = "Reconciling"
	condStalled           = "Stalled"
	condBuildFailed       = "BuildFailed"
	condFetchFailed       = "FetchFailed"
	condArtifactOutdated  = "ArtifactOutdated"
	condArtifactInStorage = "ArtifactInStorage"
	condStorageFailed     = "StorageOperationFailed"
	condSourceVerified    = "SourceVerified"
	condIncludeMissing    = "IncludeUnavailable"
)

// maxMessage is the longest message that the schema of a condition permits.
const maxMessage = 32768

// conditionSet is status.conditions in the making.
type conditionSet struct {
	at         time.Time
	generation int64
	items      map[string]map[string]any
}

func readConditions(status map[string]any, at time.Time, generation int64) *conditionSet {
	c := &conditionSet{at: at, generation: generation, items: map[string]map[string]any{}}
	for _, item := range list(status, "conditions") {
		if m, ok := item.(map[string]any); ok {
			if kind := text(m, "type"); kind != "" {
				c.items[kind] = m
			}
		}
	}
	return c
}

// set gives a condition its state. The time of its last transition stays as
// long as its status does.
func (c *conditionSet) set(kind, status, reason, message string) {
	since := stamp(c.at)
	if old, ok := c.items[kind]; ok && text(old, "status") == status && text(old, "lastTransitionTime") != "" {
		since = text(old, "lastTransitionTime")
	}
	c.items[kind] = map[string]any{
		"type":               kind,
		"status":             status,
		"reason":             reason,
		"message":            clip(message, maxMessage),
		"observedGeneration": c.generation,
		"lastTransitionTime": since,
	}
}

// stall writes whether a failure is one that nothing but another spec ends, and
// reports it. A status that is stalled is of this generation.
func (c *conditionSet) stall(means outcome, message string, status map[string]any, generation int64) bool {
	if !means.stalled {
		c.drop(condStalled)
		return false
	}
	c.set(condStalled, "True", means.reason, message)
	c.drop(condReconciling)
	status["observedGeneration"] = generation
	return true
}

func (c *conditionSet) drop(kinds ...string) {
	for _, k := range kinds {
		delete(c.items, k)
	}
}

func (c *conditionSet) has(kind, status string) bool {
	item, ok := c.items[kind]
	return ok && text(item, "status") == status
}

func (c *conditionSet) message(kind string) string { return text(c.items[kind], "message") }
func (c *conditionSet) reason(kind string) string  { return text(c.items[kind], "reason") }

// encode lists Ready first and the others by name.
func (c *conditionSet) encode() []any {
	kinds := sortedKeys(c.items)
	slices.SortStableFunc(kinds, func(a, b string) int {
		rank := func(k string) int {
			if k == condReady {
				return 0
			}
			return 1
		}
		return cmp.Compare(rank(a), rank(b))
	})
	out := make([]any, 0, len(kinds))
	for _, k := range kinds {
		out = append(out, c.items[k])
	}
	return out
}

// stamp is a time as Kubernetes writes it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// clip shortens s to at most n bytes, on the boundary of a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const ellipsis = "…"
	cut := n - len(ellipsis)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + ellipsis
}
