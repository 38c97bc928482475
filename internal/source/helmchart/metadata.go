package helmchart

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/Masterminds/semver/v3"
	"sigs.k8s.io/yaml"
)

const (
	metadataFile = "Chart.yaml"
	valuesFile   = "values.yaml"
)

// metadata is what is needed of Chart.yaml.
type metadata struct {
	APIVersion   string       `json:"apiVersion"`
	Name         string       `json:"name"`
	Version      string       `json:"version"`
	Dependencies []dependency `json:"dependencies"`
}

// dependency is a chart that another contains.
type dependency struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Repository string `json:"repository"`
}

func readMetadata(data []byte) (metadata, error) {
	var m metadata
	if err := yaml.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%s: %w", metadataFile, err)
	}
	if m.Name == "" || path.Base(m.Name) != m.Name || m.Name == "." || m.Name == ".." {
		return m, fmt.Errorf("%s: %q is no name of a chart", metadataFile, m.Name)
	}
	if _, err := semver.NewVersion(m.Version); err != nil {
		return m, fmt.Errorf("%s: version %q: %w", metadataFile, m.Version, err)
	}
	return m, nil
}

func (f Files) metadata() (metadata, error) {
	data, ok := f[metadataFile]
	if !ok {
		return metadata{}, fmt.Errorf("%s is missing: %w", metadataFile, fs.ErrNotExist)
	}
	return readMetadata(data)
}

// withBuild is a version with build metadata in place of what it had.
func withBuild(version, build string) (string, error) {
	if build == "" {
		return version, nil
	}
	v, err := semver.NewVersion(version)
	if err != nil {
		return "", fmt.Errorf("version %q: %w", version, err)
	}
	changed, err := v.SetMetadata(build)
	if err != nil {
		return "", fmt.Errorf("version %q with %q: %w", version, build, err)
	}
	return changed.String(), nil
}

// setVersion writes the version into Chart.yaml.
func (f Files) setVersion(version string) error {
	var all map[string]any
	if err := yaml.Unmarshal(f[metadataFile], &all); err != nil {
		return err
	}
	if all["version"] == version {
		return nil
	}
	all["version"] = version
	data, err := yaml.Marshal(all)
	if err != nil {
		return err
	}
	f[metadataFile] = data
	return nil
}

// mergeValues makes values.yaml of files; read gives what is in one. A later
// one is laid over those before, mapping by mapping.
func (f Files) mergeValues(names []string, ignoreMissing bool, read func(name string) ([]byte, error)) error {
	merged := map[string]any{}
	for _, name := range names {
		data, err := read(name)
		if errors.Is(err, fs.ErrNotExist) {
			if ignoreMissing {
				continue
			}
			return fmt.Errorf("no values file found at path '%s'", name)
		}
		if err != nil {
			return fmt.Errorf("values file %s: %w", name, err)
		}
		var values map[string]any
		if err := yaml.Unmarshal(data, &values); err != nil {
			return fmt.Errorf("values file %s: %w", name, err)
		}
		lay(merged, values)
	}
	data, err := yaml.Marshal(merged)
	if err != nil {
		return err
	}
	f[valuesFile] = data
	return nil
}

// lay merges over into under.
func lay(under, over map[string]any) {
	for key, value := range over {
		below, is := under[key].(map[string]any)
		above, too := value.(map[string]any)
		if is && too {
			lay(below, above)
			continue
		}
		under[key] = value
	}
}
