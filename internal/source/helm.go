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
	up := &helmchart.Upstream{Chart: *src.HelmChart, From: from.Source.ID, Revision: from.Revision, Files: from.Files, Client: s.helm}
	if from.Source.HelmRepository != nil {
		if from.Source.Static() {
			return nil, app.Fail(app.StageFetch, app.ReasonUnsupported, "%s: charts of OCI registries are not supported yet", from.Source.URL)
		}
		repo, err := s.helm.Repository(from.Source.URL, from.Source.Auth, from.Source.HelmRepository.PassCredentials)
		if err != nil {
			return nil, err
		}
		up.Repository = repo
	}
	return up, nil
}
