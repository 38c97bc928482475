package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// defaultTimeout is how long commands wait if they are not told.
const defaultTimeout = 5 * time.Minute

// waiting is what an object says to someone who waits for it.
type waiting struct {
	over     bool
	failed   *Error // over, and not well
	progress string // what is going on, one line
	// unheard: nobody has taken the request up yet.
	unheard bool
}

// errOver ends following.
var errOver = errors.New("over")

// await follows one object until judge says that it is over, and returns its
// last state. Progress goes to stderr, each line once. If timeout passes the
// error says what was waited for.
func (c *cluster) await(ctx context.Context, t target, timeout time.Duration, stderr io.Writer,
	judge func(*unstructured.Unstructured) waiting,
) (*unstructured.Unstructured, error) {
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var last waiting
	said := ""
	current := t.object
	look := func(u *unstructured.Unstructured, gone bool) error {
		if u.GetUID() != t.object.GetUID() {
			return nil
		}
		if gone {
			return notFound("%s was deleted", t)
		}
		current, last = u, judge(u)
		if last.failed != nil {
			return last.failed
		}
		if last.over {
			return errOver
		}
		if last.progress != said && last.progress != "" {
			said = last.progress
			fmt.Fprintf(stderr, "%s: %s\n", t, oneLine(said))
		}
		return nil
	}
	from := c.at(t.kind.resource, t.object.GetNamespace())
	opts := metav1.ListOptions{FieldSelector: "metadata.name=" + t.object.GetName()}
	err := look(t.object, false)
	if err == nil {
		err = follow(within, from, opts, snapshot{items: []*unstructured.Unstructured{t.object}}, look)
	}
	switch {
	case err == errOver:
		return current, nil
	case ctx.Err() == nil && within.Err() != nil && last.unheard:
		return current, fail(ExitTimeout, "%s: nobody answered within %s", t, timeout).
			hint("is Plumb running? plumb events %s tells what it did", t)
	case ctx.Err() == nil && within.Err() != nil:
		return current, fail(ExitTimeout, "%s: not done after %s: %s", t, timeout, oneLine(last.progress)).
			hint("--timeout waits longer; plumb tree %s shows what is not healthy", t)
	}
	return current, err
}

// judgeApp waits for the answer to a request, and then for the app to be well.
func judgeApp(t target) func(*unstructured.Unstructured) waiting {
	return func(u *unstructured.Unstructured) waiting {
		v := t.kind.app(u)
		if v.Asked {
			return waiting{progress: "waiting to be taken up", unheard: true}
		}
		return judgeState(t, v.State, v.Message)
	}
}

// judgeSource does so for a source.
func judgeSource(t target) func(*unstructured.Unstructured) waiting {
	return func(u *unstructured.Unstructured) waiting {
		v := t.kind.source(u)
		if v.Asked {
			return waiting{progress: "waiting to be taken up", unheard: true}
		}
		return judgeState(t, v.State, v.Message)
	}
}

func judgeState(t target, state app.State, message string) waiting {
	switch state {
	case app.StateReady, app.StateDiffers:
		return waiting{over: true}
	case app.StateFailed:
		return waiting{failed: no("%s: %s", t, orDash(message)).hint("plumb events %s tells more", t)}
	}
	return waiting{progress: message}
}
