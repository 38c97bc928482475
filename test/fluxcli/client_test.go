package fluxcli

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// pollEvery is the time between two reads of a command that waits; the real
// one takes two seconds. commandTimeout is how long a command waits at most.
const (
	pollEvery      = 200 * time.Millisecond
	commandTimeout = 90 * time.Second
)

// client makes the requests of the flux command in its default namespace, or
// another one. What commands print is collected, with the marks of the real
// one: ► does, ◎ waits, ✔ done, ✗ failed.
type client struct {
	t         *testing.T
	dynamic   dynamic.Interface
	core      kubernetes.Interface
	namespace string
	timeout   time.Duration
	out       strings.Builder
}

func newClient(t *testing.T, config *rest.Config) *client {
	t.Helper()
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, dynamic: dyn, core: core, namespace: "flux-system", timeout: commandTimeout}
}

// in is the command with -n.
func (c *client) in(namespace string) *client {
	return &client{t: c.t, dynamic: c.dynamic, core: c.core, namespace: namespace, timeout: c.timeout}
}

// with is the client of a subtest.
func (c *client) with(t *testing.T) *client {
	return &client{t: t, dynamic: c.dynamic, core: c.core, namespace: c.namespace, timeout: c.timeout}
}

func (c *client) printf(format string, args ...any) { fmt.Fprintf(&c.out, format+"\n", args...) }

// printed is what has been printed since the last call.
func (c *client) printed() string {
	defer c.out.Reset()
	return c.out.String()
}

// get reads an object as the typed client of the command does: what does not
// fit the Go type is an error.
func (c *client) get(k kind, name string) (object, *unstructured.Unstructured, error) {
	u, err := c.dynamic.Resource(k.resource).Namespace(c.namespace).Get(c.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	o, err := k.decode(u)
	return o, u, err
}

// list reads all objects of a kind; namespace "" means all.
func (c *client) list(k kind, namespace string, options metav1.ListOptions) ([]object, error) {
	list, err := c.dynamic.Resource(k.resource).Namespace(namespace).List(c.t.Context(), options)
	if err != nil {
		return nil, err
	}
	var out []object
	for i := range list.Items {
		o, err := k.decode(&list.Items[i])
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

func (k kind) decode(u *unstructured.Unstructured) (object, error) {
	data, err := u.MarshalJSON()
	if err != nil {
		return nil, err
	}
	o := k.typed()
	if err := json.Unmarshal(data, o); err != nil {
		return nil, fmt.Errorf("%s/%s does not fit the type of the command: %w", k.name, u.GetName(), err)
	}
	return o, nil
}

func (c *client) patch(k kind, name, patch string) error {
	_, err := c.dynamic.Resource(k.resource).Namespace(c.namespace).Patch(c.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// poll reads an object until done says so or fails, at once and then again and
// again.
func (c *client) poll(k kind, name string, done func(object, *status.Result) (bool, error)) (last object, err error) {
	err = wait.PollUntilContextTimeout(c.t.Context(), pollEvery, c.timeout, true, func(context.Context) (bool, error) {
		o, u, err := c.get(k, name)
		if err != nil {
			return false, err
		}
		last = o
		result, err := status.Compute(u)
		if err != nil {
			return false, err
		}
		return done(o, result)
	})
	return last, err
}

// objectReady is what `create` and `resume` wait for.
func objectReady(k kind) func(object, *status.Result) (bool, error) {
	return func(o object, result *status.Result) (bool, error) {
		observed := k.observed(o)
		ready := apimeta.FindStatusCondition(o.GetConditions(), fluxmeta.ReadyCondition)
		switch {
		case observed < 1 || ready == nil:
			return false, nil
		case ready.ObservedGeneration != 0 && ready.ObservedGeneration != o.GetGeneration(),
			ready.ObservedGeneration == 0 && observed != o.GetGeneration():
			return false, nil
		case result.Status == status.CurrentStatus:
			return true, nil
		case result.Status == status.InProgressStatus:
			return false, nil
		}
		return false, fmt.Errorf("%s", result.Message)
	}
}

var hexSHA = regexp.MustCompile(`[a-f0-9]{40}`)

// short is a text as tables show it: of a commit, eight digits.
func short(s string) string {
	return hexSHA.ReplaceAllStringFunc(s, func(sha string) string { return sha[:8] })
}

func title(b bool) string {
	if b {
		return "True"
	}
	return "False"
}
