package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"

	"plumb.dev/plumb/api"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// fixture is a namespace in a real cluster, and a user of it.
type fixture struct {
	t         *testing.T
	env       Environment
	namespace string
	cluster   *cluster
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	running := sandboxtest.Cluster(t)
	f := &fixture{t: t, env: Environment{Kubeconfig: running.Kubeconfig}, namespace: sandboxtest.Namespace(t, running)}
	p := &program{env: f.env}
	var err error
	if f.cluster, err = p.connect(); err != nil {
		t.Fatal(err)
	}
	return f
}

// install brings Plumb's kinds into the cluster, once.
func (f *fixture) install() *fixture {
	f.t.Helper()
	for _, u := range f.decode(string(api.CRDs())) {
		resource, err := f.resourceOf(u)
		if err != nil {
			f.t.Fatal(err)
		}
		_, err = f.cluster.Resource(resource).Create(f.t.Context(), u, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			f.t.Fatal(err)
		}
	}
	for _, k := range kinds() {
		sandboxtest.Eventually(f.t, func(ctx context.Context) error {
			_, err := list(ctx, f.cluster.at(k.resource, f.namespace), metav1.ListOptions{})
			return err
		})
	}
	return f
}

func (f *fixture) decode(text string) []*unstructured.Unstructured {
	f.t.Helper()
	objects, err := object.Decode("fixture", []byte(strings.ReplaceAll(text, "$NS", f.namespace)))
	if err != nil {
		f.t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for _, o := range objects {
		out = append(out, o.Unstructured())
	}
	return out
}

// create creates objects in the namespace, with the statuses that they have.
func (f *fixture) create(text string) {
	f.t.Helper()
	for _, u := range f.decode(text) {
		resource, err := f.resourceOf(u)
		if err != nil {
			f.t.Fatal(err)
		}
		status := u.Object["status"]
		client := f.cluster.Resource(resource).Namespace(f.namespace)
		created, err := client.Create(f.t.Context(), u, metav1.CreateOptions{})
		if err != nil {
			f.t.Fatal(err)
		}
		if status != nil && u.GetKind() != "Application" {
			created.Object["status"] = status
			if _, err := client.UpdateStatus(f.t.Context(), created, metav1.UpdateOptions{}); err != nil {
				f.t.Fatal(err)
			}
		}
	}
}

// run runs a command as the cluster's administrator.
func (f *fixture) run(args ...string) result {
	f.t.Helper()
	ctx, cancel := context.WithTimeoutCause(f.t.Context(), sandboxtest.Patience, errors.New("the command hangs"))
	defer cancel()
	return run(ctx, f.env, args...)
}

// get reads a custom resource by what a user writes for it.
func (f *fixture) get(name string) *unstructured.Unstructured {
	f.t.Helper()
	found, err := f.cluster.find(f.t.Context(), name, f.namespace)
	if err != nil {
		f.t.Fatal(err)
	}
	return found.object
}

// answer plays the engine for one custom resource until stop is called:
// whenever asked is true it merges what reply gives, into the status
// subresource if there is one.
func (f *fixture) answer(name string, asked func(*unstructured.Unstructured) bool, reply func(*unstructured.Unstructured) map[string]any) (stop func()) {
	f.t.Helper()
	t, err := f.cluster.find(f.t.Context(), name, f.namespace)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	stopped := make(chan struct{})
	client := f.cluster.Resource(t.kind.resource).Namespace(f.namespace)
	go func() {
		defer close(stopped)
		opts := metav1.ListOptions{FieldSelector: "metadata.name=" + t.object.GetName()}
		_ = follow(ctx, client, opts, snapshot{}, func(u *unstructured.Unstructured, _ bool) error {
			if !asked(u) {
				return nil
			}
			body, err := json.Marshal(reply(u))
			if err != nil {
				return err
			}
			var sub []string
			if t.kind.name != "Application" {
				sub = []string{"status"}
			}
			_, err = client.Patch(ctx, u.GetName(), types.MergePatchType, body, metav1.PatchOptions{}, sub...)
			return err
		})
	}()
	return func() {
		cancel()
		<-stopped
	}
}

// stranger is the environment of a user without rights.
func (f *fixture) stranger() Environment {
	f.t.Helper()
	config, err := clientcmd.LoadFromFile(f.env.Kubeconfig)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, user := range config.AuthInfos {
		user.Impersonate = "stranger"
	}
	path := f.t.TempDir() + "/kubeconfig"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		f.t.Fatal(err)
	}
	return Environment{Kubeconfig: path}
}

// lines is a writer that can be waited on.
type lines struct{ sandboxtest.Output }

// until waits for a text to be written.
func (l *lines) until(t *testing.T, text string) {
	t.Helper()
	sandboxtest.Eventually(t, func(context.Context) error {
		if s := l.String(); !strings.Contains(s, text) {
			return fmt.Errorf("no %q in:\n%s", text, s)
		}
		return nil
	})
}

// watching runs a command that does not end by itself, or not at once. Its
// exit code comes on ended; stop interrupts it first.
func (f *fixture) watching(args ...string) (out *lines, ended <-chan int, stop func() int) {
	out = &lines{}
	ctx, cancel := context.WithCancel(f.t.Context())
	f.t.Cleanup(cancel)
	code := make(chan int, 1)
	go func() {
		code <- Run(ctx, Root(BuildInfo{}, f.env), args, strings.NewReader(""), out, io.Discard)
	}()
	return out, code, func() int {
		cancel()
		return <-code
	}
}

func (f *fixture) resourceOf(u *unstructured.Unstructured) (schema.GroupVersionResource, error) {
	mapper, err := f.cluster.mapper()
	if err != nil {
		return schema.GroupVersionResource{}, err
	}
	gvk := u.GroupVersionKind()
	mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return schema.GroupVersionResource{}, err
	}
	return mapping.Resource, nil
}

// untilAsked waits for a request on a resource of Flux.
func (f *fixture) untilAsked(name string) {
	f.t.Helper()
	sandboxtest.Eventually(f.t, func(context.Context) error {
		if !asked(f.get(name)) {
			return fmt.Errorf("%s: nothing was asked for", name)
		}
		return nil
	})
}
