package argo

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"plumb.dev/plumb/internal/app"
)

// defaultRetries is how often an automated sync is retried where the resource
// has no retry section.
const defaultRetries = 5

// policy translates syncPolicy.
func (d *decoder) policy(res resource) {
	p := app.Policy{
		Mode:        app.ModeManual,
		HealthRules: app.HealthByKind,
		HealBackoff: app.Backoff{Initial: 2 * time.Second, Factor: 3, Max: 300 * time.Second},
		Retry:       app.Backoff{Initial: 5 * time.Second, Factor: 2, Max: 3 * time.Minute},

		Order:           app.Order{First: kindOrder()},
		WaveAnnotations: []string{annotationWave, annotationHelmWeight},
		PruneFirst:      true,
		Propagation:     app.Foreground,
		Switches:        switches(),
	}
	policy := syncPolicySpec{}
	if res.Spec.SyncPolicy != nil {
		policy = *res.Spec.SyncPolicy
	}
	if a := policy.Automated; a.on() {
		p.Mode, p.Prune, p.AllowEmpty = app.ModeOnChange, a.Prune, a.AllowEmpty
		if a.SelfHeal {
			p.Mode = app.ModeEnforce
		}
		p.RetryLimit = defaultRetries
	}
	if policy.Retry != nil {
		d.retry(&p, "spec.syncPolicy.retry", *policy.Retry)
	}
	if op := res.Operation; op != nil && op.Retry != nil && op.Retry.Limit != 0 && p.Mode == app.ModeManual {
		d.warn("operation.retry", "not supported by this version of Plumb: a sync that was asked for is tried once")
	}
	if meta := policy.ManagedNamespaceMetadata; meta != nil {
		p.NamespaceLabels, p.NamespaceAnnotations = meta.Labels, meta.Annotations
	}
	d.options(&p, syncOptions(res))
	if policy.ManagedNamespaceMetadata != nil && !p.CreateNamespace {
		d.warn("spec.syncPolicy.managedNamespaceMetadata", "has no effect without the sync option CreateNamespace=true")
	}
	p.Ignore = d.ignore(res.Spec.IgnoreDifferences)
	d.spec.Policy = p
}

// on reports whether syncs happen by themselves: presence is enough.
func (a *automatedSpec) on() bool { return a != nil && (a.Enabled == nil || *a.Enabled) }

// retry reads a retry section. The waits are the ones the resource states; the
// first is backoff.duration.
func (d *decoder) retry(p *app.Policy, field string, r retrySpec) {
	p.RetryLimit = int(max(-1, min(r.Limit, 1<<30)))
	if r.Backoff == nil {
		return
	}
	read := func(name, text string, into *time.Duration) {
		if text == "" {
			return
		}
		wait, err := parseWait(text)
		if err != nil {
			d.warn(field+".backoff."+name, "%v; %s is used", err, *into)
			return
		}
		*into = wait
	}
	read("duration", r.Backoff.Duration, &p.Retry.Initial)
	read("maxDuration", r.Backoff.MaxDuration, &p.Retry.Max)
	if f := r.Backoff.Factor; f != nil && *f > 0 {
		p.Retry.Factor = float64(*f)
	}
}

// parseWait reads a duration; a bare number is seconds.
func parseWait(text string) (time.Duration, error) {
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, nil
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 {
		return 0, fmt.Errorf("%q is not a duration such as 5s or 3m", text)
	}
	return wait, nil
}

// syncOptions are those that count now: a sync that was asked for with options
// of its own goes by these alone.
func syncOptions(res resource) []string {
	if op := res.Operation; op != nil && op.Sync != nil && len(op.Sync.SyncOptions) > 0 {
		return op.Sync.SyncOptions
	}
	if res.Spec.SyncPolicy == nil {
		return nil
	}
	return res.Spec.SyncPolicy.SyncOptions
}

// options applies sync options, which are matched exactly.
func (d *decoder) options(p *app.Policy, options []string) {
	const field = "spec.syncPolicy.syncOptions"
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		if name == "PrunePropagationPolicy" {
			switch value {
			case "foreground":
				p.Propagation = app.Foreground
			case "background":
				p.Propagation = app.Background
			case "orphan":
				p.Propagation = app.Orphan
			default:
				d.warn(field, "%s: want foreground, background or orphan; foreground is used", option)
			}
			continue
		}
		switch option {
		case "CreateNamespace=true":
			p.CreateNamespace = true
		case "PruneLast=true":
			p.PruneLast, p.PruneFirst = true, false
		case "Replace=true":
			p.Replace = true
		case "ApplyOutOfSyncOnly=true":
			p.OnlyDrift = true
		case "SkipDryRunOnMissingResource=true":
			p.SkipDryRun = true
		case "Prune=false":
			p.Prune = false
		case "Prune=confirm":
			p.Prune = false
			d.warn(field, "Prune=confirm is not supported by this version of Plumb: nothing is pruned automatically")
		case "Delete=confirm":
			d.warn(field, "Delete=confirm is not supported by this version of Plumb: objects stay when the Application is deleted")
		case "Validate=false":
			d.warn(field, "Validate=false has no effect: the API server validates every object")
		case "FailOnSharedResource=true":
			d.warn(field, "FailOnSharedResource=true is not supported by this version of Plumb")
		case "ServerSideApply=true", // always so
			"RespectIgnoreDifferences=true", // ignored fields are never applied
			"Delete=false",                  // read with the finalizers
			"ClientSideApplyMigration=false", "ClientSideApplyMigration=true",
			"CreateNamespace=false", "PruneLast=false", "Replace=false", "ServerSideApply=false", "ApplyOutOfSyncOnly=false",
			"SkipDryRunOnMissingResource=false", "RespectIgnoreDifferences=false", "FailOnSharedResource=false",
			"Prune=true", "Delete=true", "Validate=true":
		default:
			d.warn(field, "%q is unknown, it has no effect", option)
		}
	}
}

// ignore translates ignoreDifferences.
func (d *decoder) ignore(rules []ignoreSpec) []app.IgnoreRule {
	var out []app.IgnoreRule
	for i, r := range rules {
		field := fmt.Sprintf("spec.ignoreDifferences[%d]", i)
		if r.Kind == "" {
			d.invalid(app.ReasonInvalidSpec, "%s.kind is required", field)
		}
		if len(r.JQPathExpressions) > 0 {
			d.warn(field+".jqPathExpressions", "not supported by this version of Plumb, the expressions have no effect; use jsonPointers or managedFieldsManagers")
		}
		rule := app.IgnoreRule{Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, Managers: r.ManagedFieldsManagers}
		for _, pointer := range r.JSONPointers {
			if !strings.HasPrefix(pointer, "/") {
				d.warn(field+".jsonPointers", "%q does not begin with a slash, it has no effect", pointer)
				continue
			}
			rule.Pointers = append(rule.Pointers, pointer)
		}
		if len(rule.Pointers)+len(rule.Managers) > 0 {
			out = append(out, rule)
		}
	}
	return out
}
