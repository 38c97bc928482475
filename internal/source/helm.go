package source

import (
	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/helmchart"
)

func (s *Store) helmIndex(src app.Source, _ []Part) (Upstream, error) {
	if src.Static() {
		return nil, app.Fail(app.StageFetch, app.ReasonUnsupported, "%s: a HelmRepository of type oci has nothing of its own", src.ID)
	}
	repo, err := s.helm.Repository(src.URL, src.Auth, src.HelmRepository.PassCredentials)
	if err != nil {
		return nil, err
	}
	return repo.Index(importName(src)), nil
}

func (s *Store) helmChart(src app.Source, parts []Part) (Upstream, error) {
	if len(parts) != 1 {
		return nil, app.Fail(app.StageFetch, app.ReasonInternal, "%s: a chart is made of one source, not of %d", src.ID, len(parts))
	}
	from := parts[0]
	up := &helmchart.Upstream{Chart: *src.HelmChart, From: from.Source, Revision: from.Revision, Files: from.Files,
		Repositories: s.helm, Registries: s.oci}
	if from.Source.HelmRepository != nil && !from.Source.Static() {
		repo, err := s.helm.Repository(from.Source.URL, from.Source.Auth, from.Source.HelmRepository.PassCredentials)
		if err != nil {
			return nil, err
		}
		up.Repository = repo
	}
	if src.HelmChart.Verify != nil && !from.Source.Static() {
		return nil, app.Fail(app.StageSpec, app.ReasonUnsupported, "spec.verify: only charts of OCI registries have signatures that can be verified").
			WithHint("use a HelmRepository of type oci, or remove verify to deliver charts without checking their signature")
	}
	return up, nil
}
