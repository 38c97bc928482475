// Package install writes the manifests that put Plumb into a cluster: its
// custom resource definitions, its identity, and its Deployment. It must not
// talk to a cluster, nor know what the custom resources mean.
package install

import (
	"bytes"
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/util/validation"

	"plumb.dev/plumb/api"
)

// Options say what to install. The zero value installs the default image into
// plumb-system.
type Options struct {
	Namespace string // "" is plumb-system
	Image     string // "" is plumb:<version>
	Version   string // of Plumb, for labels and the default image; "" is dev
	// DialectNamespaces adds the namespaces argocd and flux-system, which
	// manifests written for Argo CD and Flux expect to exist.
	DialectNamespaces bool
}

func dialectNamespaces() []string { return []string{"argocd", "flux-system"} }

// values are what the template is filled with.
type values struct {
	Options
	Shared bool     // others may be in the namespace too, or have made it: it is left as it is
	Others []string // namespaces to make besides
}

//go:embed plumb.yaml.tmpl
var manifests string

// imageName permits what a reference to an image may hold, and so nothing that
// has a meaning in YAML.
var imageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@-]*$`)

// Manifests gives one YAML stream for `kubectl apply --server-side -f -`, in
// an order in which each object finds what it needs. The definitions come first,
// before the namespaces: given to `kubectl delete`, they are what goes first, and
// a Plumb that still runs takes the end of the custom resources for what it is,
// and not for an order to delete what they delivered. Options that no cluster
// would take are an error.
func Manifests(opts Options) ([]byte, error) {
	if opts.Namespace == "" {
		opts.Namespace = "plumb-system"
	}
	if opts.Version == "" {
		opts.Version = "dev"
	}
	// Build metadata (v1.2.3+dirty) fits neither a label nor an image tag.
	opts.Version = strings.ReplaceAll(opts.Version, "+", "-")
	if opts.Image == "" {
		opts.Image = "plumb:" + opts.Version
	}
	if problems := validation.IsDNS1123Label(opts.Namespace); len(problems) > 0 {
		return nil, fmt.Errorf("namespace %q: %s", opts.Namespace, strings.Join(problems, ", "))
	}
	if problems := validation.IsValidLabelValue(opts.Version); len(problems) > 0 {
		return nil, fmt.Errorf("version %q: %s", opts.Version, strings.Join(problems, ", "))
	}
	if !imageName.MatchString(opts.Image) {
		return nil, fmt.Errorf("image %q is not the name of a container image, such as registry.example.org/plumb:v1", opts.Image)
	}
	t, err := template.New("plumb.yaml").Option("missingkey=error").Parse(manifests)
	if err != nil {
		return nil, err
	}
	data := values{Options: opts, Shared: slices.Contains(dialectNamespaces(), opts.Namespace)}
	if opts.DialectNamespaces {
		data.Others = slices.DeleteFunc(dialectNamespaces(), func(n string) bool { return n == opts.Namespace })
	}
	var namespaces, workload bytes.Buffer
	if err := t.ExecuteTemplate(&namespaces, "namespaces", data); err != nil {
		return nil, err
	}
	if err := t.ExecuteTemplate(&workload, "workload", data); err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{
		bytes.TrimSpace(api.CRDs()),
		bytes.TrimSpace(namespaces.Bytes()),
		bytes.TrimSpace(workload.Bytes()),
		nil,
	}, []byte("\n")), nil
}
