package controller

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"plumb.dev/plumb/internal/app"
)

// maxMessage is the length of an event's message that the API server permits,
// in bytes.
const maxMessage = 1024

// startEvents begins to write events. Equal ones are counted, as everywhere in
// Kubernetes; the limits are wide enough for a busy app.
func (c *Controller) startEvents() {
	c.events = record.NewBroadcasterWithCorrelatorOptions(record.CorrelatorOptions{BurstSize: 500, QPS: 1})
	c.events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: c.core.CoreV1().Events("")})
	c.recorder = c.events.NewRecorder(runtime.NewScheme(), corev1.EventSource{Component: fieldManager})
}

// emit writes events about u.
func (c *Controller) emit(u *unstructured.Unstructured, events []app.Event) {
	ref := &corev1.ObjectReference{APIVersion: u.GetAPIVersion(), Kind: u.GetKind(), Namespace: u.GetNamespace(),
		Name: u.GetName(), UID: u.GetUID(), ResourceVersion: u.GetResourceVersion()}
	for _, e := range condense(events) {
		kind := corev1.EventTypeNormal
		if e.Warning {
			kind = corev1.EventTypeWarning
		}
		message := e.Message
		if len(message) > maxMessage {
			message = message[:maxMessage-4] + " …"
		}
		c.recorder.AnnotatedEventf(ref, e.Annotations, kind, e.Reason, "%s", message)
	}
}

// condense makes one event of those of a report that are no warnings, a line
// each, as far as one can hold them: every event is a request. Its reason is
// that of the first that leads, or else of the first.
func condense(events []app.Event) []app.Event {
	var out []app.Event
	one := -1 // the event that takes in others
	for _, e := range events {
		if e.Warning {
			out = append(out, e)
			continue
		}
		if one < 0 || len(out[one].Message)+1+len(e.Message) > maxMessage {
			out, one = append(out, e), len(out)
			continue
		}
		into := &out[one]
		into.Message += "\n" + e.Message
		if e.Leads && !into.Leads {
			into.Reason, into.Leads = e.Reason, true
		}
		into.Annotations = maps.Clone(into.Annotations)
		for k, v := range e.Annotations {
			if into.Annotations == nil {
				into.Annotations = map[string]string{}
			}
			into.Annotations[k] = v
		}
	}
	return out
}
