package release

import (
	"errors"

	"helm.sh/helm/v4/pkg/kube"
	"k8s.io/kubectl/pkg/validation"
	"sigs.k8s.io/yaml"
)

// factory is Helm's, but for a look that costs half of an action's time, and
// some megabytes each: which kinds the API server validates strictly, read out
// of its OpenAPI documents. Every API server since Kubernetes 1.25 does so for
// all kinds, and is told to by each write.
type factory struct{ kube.Factory }

func (factory) Validator(string) (validation.Schema, error) { return kinds{}, nil }

// kinds is what is left to look at before the API server does.
type kinds struct{}

func (kinds) ValidateBytes(data []byte) error {
	var of struct{ APIVersion, Kind string }
	switch err := yaml.Unmarshal(data, &of); {
	case err != nil:
		return err
	case of.Kind == "":
		return errors.New("kind not set")
	case of.APIVersion == "":
		return errors.New("apiVersion not set")
	}
	return nil
}
