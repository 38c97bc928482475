package release

import (
	"bytes"
	"fmt"
	"time"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/kube"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/resource"

	"plumb.dev/plumb/internal/app"
)

// crdWait is how long definitions may take until they are served.
const crdWait = time.Minute

// applyCRDs brings the definitions in the crds directories of a chart and its
// dependencies, before the rest is rendered, which may ask what is served. Other
// kinds have no place there and are passed over.
func (s *session) applyCRDs(c *chart.Chart, policy app.CRDPolicy, serverSide bool, wait kube.WaitStrategy) error {
	if policy == app.CRDsSkip {
		return nil
	}
	var all kube.ResourceList
	for _, file := range c.CRDObjects() {
		built, err := s.config.KubeClient.Build(bytes.NewReader(file.File.Data), false)
		if err != nil {
			return app.Fail(app.StageRender, app.ReasonBuild, "the definitions in %s cannot be read: %w", file.Filename, err)
		}
		for _, info := range built {
			if gk := info.Mapping.GroupVersionKind.GroupKind(); gk.Group != "apiextensions.k8s.io" || gk.Kind != "CustomResourceDefinition" {
				s.config.Logger().Warn("only definitions belong into crds, left out", "file", file.Filename, "kind", gk.Kind, "name", info.Name)
				continue
			}
			if err := addLabels(info, s.r.Origin); err != nil {
				return err
			}
			all = append(all, info)
		}
	}
	var written kube.ResourceList
	for _, info := range all {
		done, err := s.applyCRD(info, policy, serverSide)
		if err != nil {
			return app.Fail(app.StageApply, reasonOf(err), "definition %s from the chart's crds: %w", info.Name, err)
		}
		if done {
			written = append(written, info)
		}
	}
	if len(written) == 0 {
		return nil
	}
	waiter, err := s.waiter(wait)
	if err == nil {
		err = waiter.Wait(written, crdWait)
	}
	if err != nil {
		return app.Fail(app.StageApply, app.ReasonTimeout, "waiting until the definitions from the chart's crds are served: %w", err)
	}
	s.conn.catalog.discovery.Invalidate()
	if mapper, ok := s.conn.catalog.mapper.(meta.ResettableRESTMapper); ok {
		mapper.Reset()
	}
	return nil
}

func (s *session) applyCRD(info *resource.Info, policy app.CRDPolicy, serverSide bool) (written bool, err error) {
	_, err = resource.NewHelper(info.Client, info.Mapping).Get(info.Namespace, info.Name)
	one := kube.ResourceList{info}
	switch {
	case apierrors.IsNotFound(err):
		_, err = s.config.KubeClient.Create(one, kube.ClientCreateOptionServerSideApply(serverSide, serverSide))
		return err == nil, err
	case err != nil || policy == app.CRDsCreate:
		return false, err
	}
	_, err = s.config.KubeClient.Update(one, one,
		kube.ClientUpdateOptionServerSideApply(serverSide, serverSide),
		kube.ClientUpdateOptionForceReplace(!serverSide))
	return err == nil, err
}

func (s *session) waiter(strategy kube.WaitStrategy) (kube.Waiter, error) {
	client, ok := s.config.KubeClient.(kube.InterfaceWaitOptions)
	if !ok {
		return nil, fmt.Errorf("%T takes no options to wait with", s.config.KubeClient)
	}
	return client.GetWaiterWithOptions(strategy, s.waitOptions()...)
}

func addLabels(info *resource.Info, labels map[string]string) error {
	object, err := meta.Accessor(info.Object)
	if err != nil {
		return err
	}
	all := object.GetLabels()
	if all == nil {
		all = map[string]string{}
	}
	for k, v := range labels {
		all[k] = v
	}
	object.SetLabels(all)
	return nil
}
