package cli

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestShellWord(t *testing.T) {
	for path, want := range map[string]string{
		"/home/me/.plumb/kubernetes/kubeconfig": "/home/me/.plumb/kubernetes/kubeconfig",
		"/home/me too/x":                        "'/home/me too/x'",
		"/it's":                                 `'/it'\''s'`,
		"/$HOME":                                "'/$HOME'",
	} {
		if got := shellWord(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

// What a repository can put into an event must not reach the terminal as more
// than text.
func TestLiveEvents(t *testing.T) {
	var out strings.Builder
	l := &liveEvents{out: &out, color: true}
	at := time.Date(2026, 5, 1, 12, 30, 15, 0, time.Local)
	l.event(corev1.Event{
		InvolvedObject: corev1.ObjectReference{Kind: "Kustomization", Name: "shop"}, Type: corev1.EventTypeWarning,
		Reason: "BuildFailed", Message: "a\x1b[2Jb\nsecond line\n", LastTimestamp: metav1.NewTime(at),
	})
	l.now = func() time.Time { return at }
	l.notice("the engine has ended")
	want := "12:30:15  \x1b[33mKustomization/shop\x1b[0m  BuildFailed a [2Jb\n          second line\n" +
		"12:30:15  \x1b[33mplumb\x1b[0m  the engine has ended\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
