package flux

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/app"
)

// defaultRetryInterval is of the strategy RetryOnFailure.
const defaultRetryInterval = 5 * time.Minute

func installPolicy(spec helmReleaseSpec) app.InstallPolicy {
	in := spec.Install
	if in == nil {
		in = &installSpec{}
	}
	p := app.InstallPolicy{
		ActionPolicy: actionPolicy(in.Timeout, in.DisableWait, in.DisableWaitForJobs, in.DisableHooks),
		CRDs:         crdPolicy(in.CRDs, app.CRDsCreate), ServerSide: app.ServerSideOn,
		CreateNamespace: in.CreateNamespace, Replace: in.Replace, DisableOpenAPIValidation: in.DisableOpenAPIValidation,
		DisableSchemaValidation: in.DisableSchemaValidation, DisableTakeOwnership: in.DisableTakeOwnership,
		RetryInterval: retryInterval(in.Strategy),
		Remediation:   app.Remediation{Uninstall: true, IgnoreTestFailures: ignoresTests(spec.Test)},
	}
	if in.SkipCRDs && in.CRDs == "" {
		p.CRDs = app.CRDsSkip
	}
	if in.ServerSideApply != nil && !*in.ServerSideApply {
		p.ServerSide = app.ServerSideOff
	}
	if r := in.Remediation; r != nil {
		p.Remediation.Retries = r.Retries
		setBool(&p.Remediation.IgnoreTestFailures, r.IgnoreTestFailures)
		setBool(&p.Remediation.Last, r.RemediateLastFailure)
	}
	return p
}

func upgradePolicy(spec helmReleaseSpec) app.UpgradePolicy {
	up := spec.Upgrade
	if up == nil {
		up = &upgradeSpec{}
	}
	p := app.UpgradePolicy{
		ActionPolicy: actionPolicy(up.Timeout, up.DisableWait, up.DisableWaitForJobs, up.DisableHooks),
		CRDs:         crdPolicy(up.CRDs, app.CRDsSkip), ServerSide: serverSide(up.ServerSideApply),
		PreserveValues: up.PreserveValues, Force: up.Force, CleanupOnFail: up.CleanupOnFail,
		DisableOpenAPIValidation: up.DisableOpenAPIValidation, DisableSchemaValidation: up.DisableSchemaValidation,
		DisableTakeOwnership: up.DisableTakeOwnership, InPlace: up.ChartNameChangeStrategy == "InPlaceUpdate",
		RetryInterval: retryInterval(up.Strategy),
		Remediation:   app.Remediation{IgnoreTestFailures: ignoresTests(spec.Test)},
	}
	if r := up.Remediation; r != nil {
		p.Remediation.Retries, p.Remediation.Last = r.Retries, r.Retries > 0
		p.Remediation.Uninstall = r.Strategy == "uninstall"
		setBool(&p.Remediation.IgnoreTestFailures, r.IgnoreTestFailures)
		setBool(&p.Remediation.Last, r.RemediateLastFailure)
	}
	return p
}

func testPolicy(t *testSpec) app.TestPolicy {
	if t == nil {
		return app.TestPolicy{}
	}
	p := app.TestPolicy{Enable: t.Enable, Timeout: span(t.Timeout), IgnoreFailures: t.IgnoreFailures}
	for _, f := range t.Filters {
		p.Filters = append(p.Filters, app.TestFilter{Name: f.Name, Exclude: f.Exclude})
	}
	return p
}

func rollbackPolicy(r *rollbackSpec) app.RollbackPolicy {
	if r == nil {
		return app.RollbackPolicy{}
	}
	return app.RollbackPolicy{ActionPolicy: actionPolicy(r.Timeout, r.DisableWait, r.DisableWaitForJobs, r.DisableHooks),
		ServerSide: serverSide(r.ServerSideApply), Force: r.Force, CleanupOnFail: r.CleanupOnFail}
}

func uninstallPolicy(u *uninstallSpec) app.UninstallPolicy {
	if u == nil {
		return app.UninstallPolicy{Propagation: app.Background}
	}
	p := app.UninstallPolicy{ActionPolicy: actionPolicy(u.Timeout, u.DisableWait, false, u.DisableHooks),
		KeepHistory: u.KeepHistory, Propagation: app.Background}
	switch u.DeletionPropagation {
	case "foreground":
		p.Propagation = app.Foreground
	case "orphan":
		p.Propagation = app.Orphan
	}
	return p
}

func actionPolicy(timeout *metav1.Duration, noWait, noJobs, noHooks bool) app.ActionPolicy {
	return app.ActionPolicy{Timeout: span(timeout), DisableWait: noWait, DisableWaitForJobs: noJobs, DisableHooks: noHooks}
}

func span(d *metav1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.Duration
}

func setBool(to, from *bool) {
	if from != nil {
		*to = *from
	}
}

func ignoresTests(t *testSpec) bool { return t != nil && t.IgnoreFailures }

func retryInterval(s *releaseStrategy) time.Duration {
	switch {
	case s == nil || s.Name != "RetryOnFailure":
		return 0
	case span(s.RetryInterval) > 0:
		return s.RetryInterval.Duration
	}
	return defaultRetryInterval
}

func crdPolicy(policy string, otherwise app.CRDPolicy) app.CRDPolicy {
	switch policy {
	case "Skip":
		return app.CRDsSkip
	case "Create":
		return app.CRDsCreate
	case "CreateReplace":
		return app.CRDsCreateReplace
	}
	return otherwise
}

func serverSide(choice string) app.ServerSide {
	switch choice {
	case "enabled":
		return app.ServerSideOn
	case "disabled":
		return app.ServerSideOff
	}
	return app.ServerSideAuto
}

// postRenderers reads spec.postRenderers; what old versions hold as YAML
// becomes text.
func postRenderers(specs []postRenderer) ([]app.PostRenderer, *app.Failure) {
	var out []app.PostRenderer
	for i, spec := range specs {
		k := spec.Kustomize
		if k == nil {
			continue
		}
		var p app.PostRenderer
		for _, one := range k.Patches {
			p.Patches = append(p.Patches, app.Patch{Patch: one.Patch, Target: one.Target.app()})
		}
		for j, one := range k.PatchesStrategicMerge {
			text, f := inlinePatch(one, "postRenderers."+indexed("kustomize.patchesStrategicMerge", i), j)
			if f != nil {
				return nil, f
			}
			p.Patches = append(p.Patches, app.Patch{Patch: text})
		}
		for j, one := range k.PatchesJSON6902 {
			text, f := inlinePatch(one.Patch, "postRenderers."+indexed("kustomize.patchesJson6902", i), j)
			if f != nil {
				return nil, f
			}
			p.Patches = append(p.Patches, app.Patch{Patch: text, Target: one.Target.app()})
		}
		for _, one := range k.Images {
			p.Images = append(p.Images, app.Image{Name: one.Name, NewName: one.NewName, NewTag: one.NewTag, Digest: one.Digest})
		}
		if len(p.Patches)+len(p.Images) > 0 {
			out = append(out, p)
		}
	}
	return out, nil
}

// postRenderersDigest identifies post-renderers as Flux does, so that a release
// that it made is taken for up to date.
func postRenderersDigest(all []app.PostRenderer) string {
	if len(all) == 0 {
		return ""
	}
	type target struct {
		Group              string `json:"group,omitempty"`
		Version            string `json:"version,omitempty"`
		Kind               string `json:"kind,omitempty"`
		Name               string `json:"name,omitempty"`
		Namespace          string `json:"namespace,omitempty"`
		AnnotationSelector string `json:"annotationSelector,omitempty"`
		LabelSelector      string `json:"labelSelector,omitempty"`
	}
	type patch struct {
		Patch  string  `json:"patch"`
		Target *target `json:"target,omitempty"`
	}
	type image struct {
		Name    string `json:"name"`
		NewName string `json:"newName,omitempty"`
		NewTag  string `json:"newTag,omitempty"`
		Digest  string `json:"digest,omitempty"`
	}
	type kustomize struct {
		Patches []patch `json:"patches,omitempty"`
		Images  []image `json:"images,omitempty"`
	}
	type renderer struct {
		Kustomize *kustomize `json:"kustomize,omitempty"`
	}
	var list []renderer
	for _, p := range all {
		k := &kustomize{}
		for _, one := range p.Patches {
			q := patch{Patch: one.Patch}
			if t := one.Target; t != nil {
				q.Target = &target{t.Group, t.Version, t.Kind, t.Name, t.Namespace, t.AnnotationSelector, t.LabelSelector}
			}
			k.Patches = append(k.Patches, q)
		}
		for _, one := range p.Images {
			k.Images = append(k.Images, image(one))
		}
		list = append(list, renderer{k})
	}
	return digestOf(list)
}

// metadataDigest identifies common metadata as Flux does.
func metadataDigest(labels, annotations map[string]string) string {
	if len(labels)+len(annotations) == 0 {
		return ""
	}
	return digestOf(struct {
		Annotations map[string]string `json:"annotations,omitempty"`
		Labels      map[string]string `json:"labels,omitempty"`
	}{annotations, labels})
}

func digestOf(value any) string {
	sum := sha256.New()
	if err := json.NewEncoder(sum).Encode(value); err != nil {
		return "" // plain data always marshals
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

func indexed(field string, i int) string { return strconv.Itoa(i) + "." + field }
