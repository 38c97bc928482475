package faults

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/sandbox/faultproxy"
	"plumb.dev/plumb/test/internal/world"
)

// TestAhead kills the engine after it has delivered a commit and before the
// status of the source names that one. Until Git can be asked again, nobody
// goes back to the commit that the status names; what Git says is followed,
// also if that is the older one.
func TestAhead(t *testing.T) {
	s := begin(t)
	pin := world.Flux + "-pin-0"
	within := func(name string, f func()) {
		t.Run(name, func(t *testing.T) {
			s.T = t
			defer func() { s.T = s.root }()
			f()
		})
	}

	within("git does not answer", func() {
		before := s.Head()
		head := s.deliveredAhead("ahead-1")
		s.StopEngine()
		s.named(before)
		s.api.Clear()
		back := s.front.set(answers(429, "text/plain", "slowly"))
		s.BeginEngine()
		s.says(kustomization("could not be fetched since the start.*" + before + ".*" + head + ".*HTTP 429"))
		s.stays("ahead-1")
		back()
		s.EngineReady()
		s.Tell()
		s.Converged(head)
		s.named(head)
		s.stays("ahead-1")
	})

	within("the source is suspended", func() {
		before := s.Head()
		head := s.deliveredAhead("ahead-2")
		s.suspend(true)
		s.StopEngine()
		s.named(before)
		s.api.Clear()
		s.StartEngine()
		s.says(kustomization("not been looked at since the start.*" + before + ".*" + head))
		s.stays("ahead-2")
		s.suspend(false)
		s.Converged(head)
		s.named(head)
		s.stays("ahead-2")
	})

	within("in the middle of a commit", func() {
		before := s.Head()
		s.named(before)
		s.api.Set(s.unnamed(), faultproxy.Fault{Do: faultproxy.Hang(), Match: func(r *http.Request) bool {
			return delivering(r) && strings.HasSuffix(r.URL.Path, "-held")
		}})
		for _, name := range []string{"ahead-middle", "held"} {
			s.Files[world.Flux][world.Flux+"-"+name] = s.Value()
		}
		head := s.Push()
		s.Tell()
		s.Eventually("half of it is there", func(ctx context.Context) error {
			_, err := s.Core.CoreV1().ConfigMaps(s.Namespace).Get(ctx, world.Flux+"-ahead-middle", metav1.GetOptions{})
			return err
		})
		s.StopEngine()
		s.api.Clear()
		back := s.front.set(answers(429, "text/plain", "slowly"))
		s.BeginEngine()
		s.says(kustomization("could not be fetched since the start.*" + before + ".*" + head))
		s.stays("ahead-middle")
		back()
		s.EngineReady()
		s.Tell()
		s.Converged(head)
		s.stays("ahead-middle")
	})

	within("git goes back meanwhile", func() {
		before := s.Head()
		s.deliveredAhead("ahead-3")
		s.suspend(true)
		s.StopEngine()
		s.api.Clear()
		delete(s.Files[world.Flux], world.Flux+"-ahead-3")
		s.Files[world.Flux][pin] = s.previous
		s.Repo.Git("reset", "--quiet", "--hard", before)
		s.Note(before)
		s.Repo.Git("push", "--quiet", "--force", "origin", "HEAD")
		s.StartEngine()
		s.says(kustomization("not been looked at since the start"))
		s.stays("ahead-3")
		s.suspend(false)
		s.Converged(before)
		s.Compare()
	})
	within("of a chart", func() {
		helmReleases := schema.GroupVersionResource{Group: "helm.toolkit.fluxcd.io", Version: "v2", Resource: "helmreleases"}
		objects, err := object.Decode("release.yaml", []byte(`{apiVersion: helm.toolkit.fluxcd.io/v2, kind: HelmRelease, metadata: {name: charted}, spec: {interval: 1h, chart: {spec: {chart: chart, sourceRef: {kind: GitRepository, name: fleet}}}}}`))
		s.must(err)
		released := func(version string) {
			s.Repo.Write(map[string]string{
				"chart/Chart.yaml":                     "apiVersion: v2\nname: chart\nversion: " + version + "\n",
				"chart/templates/" + version + ".yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: charted-" + version + "}\n",
			})
			s.Push()
			s.Tell()
			s.says(saying{helmReleases, "charted", "Ready=True: Helm .* chart@" + version})
		}
		_, err = s.Dynamic.Resource(helmReleases).Namespace(s.Namespace).Create(s.T.Context(), objects[0].Unstructured(), metav1.CreateOptions{})
		s.must(err)
		released("1.0.0")
		s.named(s.Head())
		s.says(saying{schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "helmcharts"}, s.Namespace + "-charted", "version '1.0.0'"})
		s.api.Set(s.unnamed())
		released("2.0.0")
		s.suspend(true)
		s.StopEngine()
		s.api.Clear()
		s.StartEngine()
		s.says(saying{helmReleases, "charted", "has not been looked at since the start.*was newer"})
		s.suspend(false)
		s.says(saying{helmReleases, "charted", "Ready=True: Helm .* chart@2.0.0"})
		for _, e := range s.Audit(0) {
			if e.Verb == "delete" && e.ObjectRef.Name == "charted-2.0.0" {
				s.T.Error("the chart of before was installed again")
			}
		}
		s.must(s.Dynamic.Resource(helmReleases).Namespace(s.Namespace).Delete(s.T.Context(), "charted", metav1.DeleteOptions{}))
		s.Eventually("the release is gone", func(ctx context.Context) error {
			if _, err := s.Get(ctx, helmReleases, "charted"); !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is there: %w", err)
			}
			return nil
		})
	})
	s.Converged(s.Commit(s.random))
	s.Claims()
	s.Compare()
}

// deliveredAhead lets the engine deliver a commit that adds an object, and its
// source's status not name that commit. The engine is to be killed before
// s.api.Clear.
func (s *suite) deliveredAhead(name string) (head string) {
	s.T.Helper()
	pin := world.Flux + "-pin-0"
	s.named(s.Head())
	s.api.Set(s.unnamed())
	s.previous = s.Files[world.Flux][pin]
	s.Files[world.Flux][pin] = s.Value()
	s.Files[world.Flux][world.Flux+"-"+name] = s.Value()
	head = s.Push()
	s.Tell()
	s.Converged(head)
	return head
}

// unnamed is the fault that statuses of sources cannot be written.
func (s *suite) unnamed() faultproxy.Fault {
	return faultproxy.Fault{Do: faultproxy.Answer(500, 0), Match: func(r *http.Request) bool {
		return r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/source.toolkit.fluxcd.io/") && strings.HasSuffix(r.URL.Path, "/status")
	}}
}

// named waits until the source's status names a commit.
func (s *suite) named(commit string) {
	s.T.Helper()
	s.Eventually("the status of the source names "+commit, func(ctx context.Context) error {
		u, err := s.Get(ctx, world.GitRepositories, world.Source)
		if err != nil {
			return err
		}
		if got, _, _ := unstructured.NestedString(u.Object, "status", "artifact", "revision"); !strings.HasSuffix(got, commit) {
			return fmt.Errorf("it names %q", got)
		}
		return nil
	})
}

// stays fails the test if an object that the Kustomization delivered has ever
// been deleted.
func (s *suite) stays(name string) {
	s.T.Helper()
	name = world.Flux + "-" + name
	if _, err := s.Core.CoreV1().ConfigMaps(s.Namespace).Get(s.T.Context(), name, metav1.GetOptions{}); err != nil {
		s.T.Error(err)
	}
	for _, e := range s.Audit(0) {
		if e.Verb == "delete" && e.ObjectRef.Name == name {
			s.T.Errorf("%s was deleted:\n%s", name, s.Story(name))
		}
	}
}

// suspend suspends the source, or resumes it.
func (s *suite) suspend(yes bool) {
	s.T.Helper()
	_, err := s.Dynamic.Resource(world.GitRepositories).Namespace(s.Namespace).Patch(s.T.Context(), world.Source, types.MergePatchType,
		fmt.Appendf(nil, `{"spec":{"suspend":%t}}`, yes), metav1.PatchOptions{})
	s.must(err)
}
