package webhook

import (
	"errors"
	"net/http"
)

// Handler answers push events and passes them to notify, which must not
// block: an event is acknowledged when it has been taken, not when it has been
// acted on. Secrets are asked for at each event, so that they can change.
func Handler(secrets func() Secrets, notify func(Push)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "push events are sent by POST", http.StatusMethodNotAllowed)
			return
		}
		push, err := Parse(r, secrets())
		switch {
		case err == nil:
			notify(push)
			w.WriteHeader(http.StatusAccepted)
		case errors.Is(err, ErrIgnored):
			w.WriteHeader(http.StatusNoContent)
		case errors.Is(err, ErrSignature):
			http.Error(w, err.Error(), http.StatusUnauthorized)
		case errors.Is(err, ErrTooLarge):
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		default:
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
}
